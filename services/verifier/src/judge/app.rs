//! Which app is in use, as the object store tells, and what its program's bytes are.

use aios_action::app::Manifest;
use aios_ids::Digest;
use aios_wire::objects::AppVersion;
use serde_json::json;

use super::Judgement;

/// The app is in use with this manifest, and the bytes of its program are the ones that the manifest names.
pub(super) fn installed(wanted: &Manifest, found: Option<AppVersion>, program: Digest) -> Judgement {
    let manifest = found.as_ref().map(|found| found.manifest_sha256);
    let (held, text) = match manifest {
        Some(digest) if digest != wanted.digest() => {
            (false, format!("{} is in use with the manifest {digest} and not {}", wanted.name, wanted.digest()))
        }
        Some(_) if program != wanted.program.sha256 => (
            false,
            format!("the program of {} has the digest {program} and not {}", wanted.name, wanted.program.sha256),
        ),
        Some(digest) => {
            (true, format!("{} is in use with the manifest {digest} and the program {program}", wanted.name))
        }
        None => (false, format!("no version of {} is in use", wanted.name)),
    };
    let version = found.map(|found| found.version);
    Judgement { held, observed: json!({"version": version, "manifest": manifest, "program": program}), text }
}

/// No version is in use.
pub(super) fn removed(found: Option<AppVersion>) -> Judgement {
    let version = found.map(|found| found.version);
    let text = match version {
        Some(version) => format!("version {version} is still in use"),
        None => "no version is in use".to_owned(),
    };
    Judgement { held: version.is_none(), observed: json!({"version": version}), text }
}

/// The version that was asked for is in use.
pub(super) fn rolled_back(wanted: u64, found: Option<AppVersion>) -> Judgement {
    let version = found.map(|found| found.version);
    let text = match version {
        Some(version) => format!("version {version} is in use"),
        None => "no version is in use".to_owned(),
    };
    Judgement { held: version == Some(wanted), observed: json!({"version": version}), text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let example = aios_action::find("app.install").expect("in the catalogue").example();
        Manifest::parse(example["manifest"].as_str().expect("text")).expect("right")
    }

    fn version(manifest_sha256: Digest) -> AppVersion {
        AppVersion {
            name: "greeter".parse().expect("a name"),
            version: 2,
            manifest: String::new(),
            manifest_sha256,
            program_sha256: Digest::of(b""),
            size: 0,
            at_ms: 0,
        }
    }

    #[test]
    fn the_bytes_count_and_not_what_the_list_says_of_them() {
        let wanted = manifest();
        let program = wanted.program.sha256;
        assert!(installed(&wanted, Some(version(wanted.digest())), program).held);
        assert!(!installed(&wanted, Some(version(wanted.digest())), Digest::of(b"other")).held);
        assert!(!installed(&wanted, Some(version(Digest::of(b"other"))), program).held);
        assert!(!installed(&wanted, None, program).held);
    }

    #[test]
    fn the_version_in_use_decides() {
        let in_use = || Some(version(Digest::of(b"")));
        assert!(removed(None).held && !removed(in_use()).held);
        assert!(rolled_back(2, in_use()).held && !rolled_back(1, in_use()).held && !rolled_back(2, None).held);
    }
}
