//! The policy of this boot: the image's bundle, or the reason why there is none.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use aios_policy::{Bundle, read_key};
use aios_wire::policy::PolicyView;

/// More than a bundle can have; what is longer is refused by its own check.
const READ_LIMIT: u64 = 2 * 1024 * 1024;

/// Rules to ask, or nothing but denials.
pub(crate) enum Policy {
    Loaded(Box<Bundle>),
    /// With the reason for people.
    None(String),
}

impl Policy {
    /// Reads and checks the bundle. It cannot fail: without a usable bundle everything is denied.
    pub(crate) fn load(bundle: &Path, key: &Path) -> Self {
        match open(bundle, key) {
            Ok(bundle) => Self::Loaded(Box::new(bundle)),
            Err(reason) => Self::None(reason),
        }
    }

    /// The rules, if there are any.
    pub(crate) fn bundle(&self) -> Option<&Bundle> {
        match self {
            Self::Loaded(bundle) => Some(bundle),
            Self::None(_) => None,
        }
    }

    /// What approvals and records name this policy by.
    pub(crate) fn epoch(&self) -> &str {
        self.bundle().map_or("none", Bundle::epoch)
    }

    /// Why everything is denied.
    pub(crate) fn why_none(&self) -> Option<&str> {
        match self {
            Self::Loaded(_) => None,
            Self::None(reason) => Some(reason),
        }
    }

    /// For people who ask.
    pub(crate) fn view(&self) -> PolicyView {
        match self {
            Self::Loaded(bundle) => {
                PolicyView { epoch: bundle.epoch().into(), signer: bundle.signer().into(), text: bundle.text() }
            }
            Self::None(reason) => {
                PolicyView { epoch: self.epoch().into(), signer: String::new(), text: reason.clone() }
            }
        }
    }
}

fn open(bundle: &Path, key: &Path) -> Result<Bundle, String> {
    let chain = |what: &Path, error: &dyn std::error::Error| {
        format!("cannot use {}: {}", what.display(), aios_daemon::error_chain(error))
    };
    let key_text = read(key).map_err(|error| chain(key, &error))?;
    let signer = read_key(&String::from_utf8_lossy(&key_text)).map_err(|error| chain(key, &error))?;
    let bytes = read(bundle).map_err(|error| chain(bundle, &error))?;
    Bundle::open(&bytes, &signer).map_err(|error| chain(bundle, &error))
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(READ_LIMIT).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_that_cannot_be_used_leaves_a_policy_that_denies_and_says_why() {
        let folder = tempfile::tempdir().expect("a folder");
        let (bundle, key) = (folder.path().join("default.bundle"), folder.path().join("policy.pub"));
        let missing = Policy::load(&bundle, &key);
        assert!(missing.why_none().is_some_and(|reason| reason.contains("policy.pub")), "{:?}", missing.why_none());
        assert_eq!((missing.epoch(), missing.view().signer.as_str()), ("none", ""));

        let public: String = aios_policy::public_key(&[1; 32]).iter().map(|byte| format!("{byte:02x}")).collect();
        std::fs::write(&key, format!("{public}\n")).expect("written");
        std::fs::write(&bundle, "nonsense").expect("written");
        let broken = Policy::load(&bundle, &key);
        assert!(broken.why_none().is_some_and(|reason| reason.contains("not a policy bundle")));
    }
}
