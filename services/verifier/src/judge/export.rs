//! An export of the evidence log, checked as a stranger would check it, and against the log of this machine.

use aios_daemon::error_chain;
use aios_evidence::{
    Bundle, Checkpoint, KeySource, Kind, Line, ResourcePath, VerifierKey, split_bundle, tiles_of, verify_export,
};
use aios_ids::Digest;
use serde_json::json;

use super::Judgement;

/// The files verify under the key that signed `head`, the log's own newest one, and one of their records is the intent of
/// this action: so they are of this log, and not from before.
pub(super) fn exported(action: &str, sha256: Digest, files: &Result<Bundle, String>, head: &str) -> Judgement {
    let checked = files.as_ref().map_err(Clone::clone).and_then(|files| check(action, files, head));
    let (held, records, text) = match checked {
        Ok(records) => {
            (true, Some(records), format!("the object holds {records} records that verify, digest {sha256}"))
        }
        Err(why) => (false, None, format!("the object is no export of this log for this action: {why}")),
    };
    Judgement { held, observed: json!({"sha256": sha256, "records": records}), text }
}

fn check(action: &str, files: &Bundle, head: &str) -> Result<u64, String> {
    let read = |path: &str| files.read(path);
    let report = verify_export(&read, KeySource::Export).map_err(|fault| error_chain(&fault))?;
    let key = String::from_utf8_lossy(&read("key")?).trim_end().parse::<VerifierKey>();
    let key = key.map_err(|error| error_chain(&error))?;
    let now = Checkpoint::open(head.as_bytes(), &key);
    let now = now.map_err(|error| format!("it is of another log: {}", error_chain(&error)))?;
    if report.size > now.size {
        return Err(format!("it has {} records and the log {}", report.size, now.size));
    }
    let bundles = tiles_of(report.size).filter(|path| matches!(path, ResourcePath::Entries { .. }));
    for path in bundles {
        if has_intent(&read(&path.to_string())?, action) {
            return Ok(report.size);
        }
    }
    Err("the intent of the action is not in it".to_owned())
}

/// Whether one of the entries is the intent of this action.
fn has_intent(bundle: &[u8], action: &str) -> bool {
    let mut rest = bundle;
    while let Some((entry, after)) = split_bundle(rest).filter(|_| !rest.is_empty()) {
        rest = after;
        // An id has the same letters between its quotation marks as elsewhere.
        let is_it = |line: Line<'_>| line.parts.kind == Kind::Intent && line.parts.action.as_str() == action;
        if Line::parse(entry).is_ok_and(is_it) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use aios_evidence::{Clock, Record, SigningKey, Tree, encode_bundle_entry, leaf_hash};

    use super::*;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(&[seed; 64], |_| "example.internal/log".into()).expect("a good name")
    }

    fn record(index: u64, kind: Kind, action: &str, key: &SigningKey) -> String {
        let keys = json!({"key": key.public().ed25519_line(), "key_ml_dsa": key.public().ml_dsa_line()});
        let record = Record {
            index,
            kind,
            writer: "service:action-runtime".into(),
            subject: "operator:ada".into(),
            action: action.into(),
            digest: None,
            epoch: "none".into(),
            boot: "b".into(),
            at_ms: index,
            wall: 0,
            clock: Clock::Local,
            payload: keys.as_object().expect("an object").clone(),
        };
        record.encode().expect("short")
    }

    /// A log in which so many actions were begun: its head and its export.
    fn log(seed: u8, actions: u64) -> (String, Bundle) {
        let key = key(seed);
        let mut lines = vec![record(0, Kind::Boot, "", &key)];
        lines.extend((1..=actions).map(|index| record(index, Kind::Intent, &format!("act_{index}"), &key)));
        let mut tree = Tree::default();
        lines.iter().for_each(|line| tree.push(leaf_hash(line.as_bytes())));
        let size = tree.size();
        let head = Checkpoint { origin: key.public().name().into(), size, root: tree.root() }.sign(&key);
        let mut files = Bundle::default();
        let mut put = |path: &str, bytes: &[u8]| files.add_line(&Bundle::line(path, bytes)).expect("a line");
        put("checkpoint", head.as_bytes());
        put("key", format!("{}\n", key.public()).as_bytes());
        for path in tiles_of(size) {
            let mut bytes = Vec::new();
            match path {
                ResourcePath::Entries { tile } => {
                    let first = tile.index as usize * 256;
                    let entries = &lines[first..first + tile.width as usize];
                    entries.iter().for_each(|line| encode_bundle_entry(line.as_bytes(), &mut bytes));
                }
                ResourcePath::Hashes { level, tile } => {
                    bytes = ResourcePath::hashes(level, tile, &tree, size).expect("in the tree");
                }
                ResourcePath::Checkpoint | ResourcePath::Key => {}
            }
            put(&path.to_string(), &bytes);
        }
        (head, files)
    }

    #[test]
    fn only_a_whole_export_of_this_log_that_knows_of_the_action_holds() {
        let held = |action: &str, files: Result<Bundle, String>, head: &str| {
            let judgement = exported(action, Digest::of(b"x"), &files, head);
            (judgement.held, judgement.text)
        };
        let (head, _) = log(7, 400);
        let (older_head, _) = log(7, 3);
        // Records of both tiles are found, and what was appended since the export is no matter.
        for (action, actions) in [("act_3", 3), ("act_399", 400), ("act_1", 400)] {
            assert!(held(action, Ok(log(7, actions).1), &head).0, "{action}");
        }
        for (action, files, head, words) in [
            ("act_4", Ok(log(7, 3).1), &head, "intent"),
            ("act_3", Ok(log(8, 3).1), &head, "another log"),
            ("act_3", Ok(log(7, 4).1), &older_head, "5 records and the log 4"),
            ("act_3", Ok(Bundle::default()), &head, "cannot read key"),
            ("act_3", Err("line 1 is no file".to_owned()), &head, "line 1"),
        ] {
            let (held, text) = held(action, files, head);
            assert!(!held && text.contains(words), "{text}");
        }
    }
}
