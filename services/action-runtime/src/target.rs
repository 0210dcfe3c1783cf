//! What the file is that an action is about. It is sealed into the envelope, so what a person approves is a change of this
//! very content: when somebody else changes the file in between, the action does not begin.

use std::os::fd::AsFd;

use aios_action::{Request, Target, find};
use aios_ids::Digest;
use serde_json::Value;

use crate::folder;

/// The file is not the one that the action was decided for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "when this was decided it was about {decided}, and now {found}; look at it and submit the action again",
    decided = decided.text(),
    found = found.text()
)]
pub struct TargetChanged {
    decided: Target,
    found: Target,
}

/// What the file of `request` is now; nothing for a type that an approval of the request alone is enough for.
pub fn of<F: AsFd>(folder: impl FnOnce() -> std::io::Result<F>, request: &Request) -> Option<Target> {
    let parameter = find(&request.action_type)?.bound_file()?;
    let path = request.parameters.get(parameter).and_then(Value::as_str).unwrap_or_default();
    Some(match folder().map(|folder| folder::read(folder, path)) {
        Ok(Ok(Some(content))) => Target::Sha256(Digest::of(&content)),
        Ok(Ok(None)) => Target::Absent,
        Ok(Err(_)) | Err(_) => Target::Unreadable,
    })
}

/// Refuses what is not as it was.
pub fn check(decided: Option<Target>, found: Option<Target>) -> Result<(), TargetChanged> {
    match (decided, found) {
        (Some(decided), Some(found)) if decided != found => Err(TargetChanged { decided, found }),
        // An action that was decided before envelopes had targets has none.
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::symlink;

    use serde_json::json;

    use super::*;

    fn request(action_type: &str) -> Request {
        let Value::Object(parameters) = json!({"path": "a", "to": "b"}) else { panic!("an object") };
        Request {
            action_type: action_type.into(),
            parameters,
            reason: String::new(),
            idempotency_key: None,
            constraints: aios_action::Constraints::default(),
        }
    }

    #[test]
    fn a_file_that_changed_after_the_decision_is_noticed() {
        let place = tempfile::tempdir().expect("a folder");
        let file = place.path().join("a");
        let now = |action_type: &str| of(|| File::open(place.path()), &request(action_type));
        for action_type in ["file.write", "file.patch", "file.move", "file.delete"] {
            let _ = std::fs::remove_file(&file);
            let absent = now(action_type);
            assert_eq!(absent, Some(Target::Absent));
            std::fs::write(&file, "one").expect("written");
            let one = now(action_type);
            assert_eq!(check(one, now(action_type)), Ok(()));
            assert!(check(absent, one).is_err());
            std::fs::write(&file, "two").expect("written");
            let changed = check(one, now(action_type)).expect_err("another content").to_string();
            assert!(changed.contains(&Digest::of(b"one").to_string()), "{changed}");
            std::fs::remove_file(&file).expect("there");
            symlink("elsewhere", &file).expect("a link");
            assert_eq!(now(action_type), Some(Target::Unreadable));
            assert!(check(one, now(action_type)).is_err());
        }
        assert_eq!((now("file.read"), now("settings.set")), (None, None));
    }
}
