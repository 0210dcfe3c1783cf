//! Contents, by their digests.

use aios_ids::Digest;
use serde_json::json;

use super::{Judgement, Read, Snapshot};

/// The content is the one that was asked for.
pub(super) fn same(wanted: Digest, found: Option<Digest>, what: &str) -> Judgement {
    let text = match found {
        Some(found) if found == wanted => format!("{what} has the digest {found}"),
        Some(found) => format!("{what} has the digest {found} and not {wanted}"),
        None => format!("{what} is not there"),
    };
    Judgement { held: found == Some(wanted), observed: json!({"sha256": found}), text }
}

/// The same for several.
pub(super) fn all_same(found: &[(&str, Digest, Digest)]) -> Judgement {
    let other: Vec<&str> =
        found.iter().filter(|(_, wanted, found)| wanted != found).map(|(name, _, _)| *name).collect();
    let text = match other.is_empty() {
        true => format!("all {} objects have their contents", found.len()),
        false => format!("another content than was asked for: {}", other.join(", ")),
    };
    let seen: Vec<_> = found.iter().map(|(name, _, found)| json!({"name": name, "sha256": found})).collect();
    Judgement { held: other.is_empty() && !found.is_empty(), observed: json!({"objects": seen}), text }
}

/// The content is the one that was worked out before the effect.
pub(super) fn as_foreseen(before: &Snapshot, found: Option<Digest>, what: &str) -> Judgement {
    match before {
        Snapshot::Content { sha256: Some(wanted) } => same(*wanted, found, what),
        _ => Judgement::blind(what),
    }
}

/// What was handed over is what the file holds.
pub(super) fn read(handed_over: Option<Read>, found: Option<Digest>) -> Judgement {
    match handed_over {
        Some(read) => same(read.sha256, found, "the file"),
        None => Judgement { held: false, observed: json!({"sha256": found}), text: "nothing was read".into() },
    }
}

/// The content is at the new path and nothing is at the old one.
pub(super) fn moved(before: &Snapshot, old: Option<Digest>, new: Option<Digest>) -> Judgement {
    let Snapshot::Content { sha256: Some(wanted) } = before else { return Judgement::blind("the file") };
    let judgement = same(*wanted, new, "the file at its new path");
    match old {
        None => judgement,
        Some(_) => Judgement { held: false, text: "there is still a file at the old path".into(), ..judgement },
    }
}

/// There was a file, and there is none.
pub(super) fn deleted(before: &Snapshot, found: Option<Digest>) -> Judgement {
    let (held, text) = match (before, found) {
        (Snapshot::Content { sha256: Some(digest) }, None) => {
            (true, format!("the file with the digest {digest} is gone"))
        }
        (Snapshot::Content { .. }, None) => (false, "there was no file before, either".to_owned()),
        (_, Some(_)) => (false, "the file is still there".to_owned()),
        (_, None) => (false, "nobody looked at the file before".to_owned()),
    };
    Judgement { held, observed: json!({"sha256": found}), text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_or_another_does_not_hold() {
        let [one, two] = [b"one", b"two"].map(|content| Digest::of(content));
        let before = Snapshot::Content { sha256: Some(one) };
        let nothing = Snapshot::Content { sha256: None };
        assert!(same(one, Some(one), "the file").held);
        assert!(!same(one, Some(two), "the file").held && !same(one, None, "the file").held);
        assert!(as_foreseen(&before, Some(one), "the file").held);
        assert!(!as_foreseen(&before, Some(two), "the file").held);
        assert!(!as_foreseen(&nothing, None, "the file").held && !as_foreseen(&Snapshot::Nothing, Some(one), "x").held);
        assert!(read(Some(Read { sha256: one, size: 3 }), Some(one)).held);
        assert!(!read(Some(Read { sha256: one, size: 3 }), Some(two)).held && !read(None, Some(one)).held);
        assert!(moved(&before, None, Some(one)).held);
        assert!(!moved(&before, Some(one), Some(one)).held && !moved(&before, None, Some(two)).held);
        assert!(!moved(&before, None, None).held && !moved(&Snapshot::Nothing, None, Some(one)).held);
        assert!(deleted(&before, None).held);
        assert!(!deleted(&before, Some(one)).held && !deleted(&nothing, None).held);
        assert!(!deleted(&Snapshot::Nothing, None).held);
        assert!(all_same(&[("a", one, one), ("b", two, two)]).held);
        assert!(!all_same(&[("a", one, one), ("b", two, one)]).held && !all_same(&[]).held);
    }
}
