//! The policy in force: the image's bundle, or one that an operator loaded.
//!
//! The evidence log says which one was loaded last, and that record is the moment in which it came into force; the file
//! on the disk is only its text. So a file that nobody loaded decides nothing, an older one decides nothing any more, and
//! a lost one is noticed.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use aios_policy::{Bundle, Choice, Epoch, NotNewer, SIZE_LIMIT, choose, may_follow, read_key};
use aios_store::{ReplaceError, replace};
use aios_wire::policy::{PolicyOrigin, PolicyView};

/// A bundle's file is for its keeper alone.
const MODE: u32 = 0o600;

/// How the names of loaded bundles end; they begin with the epoch.
const ENDING: &str = ".bundle";

/// Rules to ask, or nothing but denials.
pub(crate) enum Policy {
    Loaded(Arc<Bundle>, PolicyOrigin),
    /// The image's rules, for people only, because the newest ones are not there.
    Behind {
        bundle: Arc<Bundle>,
        missing: String,
    },
    /// With the reason for people.
    None(String),
}

impl Policy {
    /// The rules, if there are any.
    pub(crate) fn bundle(&self) -> Option<&Bundle> {
        match self {
            Self::Loaded(bundle, _) | Self::Behind { bundle, .. } => Some(bundle),
            Self::None(_) => None,
        }
    }

    /// What approvals and records name this policy by.
    pub(crate) fn epoch(&self) -> &str {
        self.bundle().map_or("none", Bundle::epoch)
    }

    /// What a person has to know of it, if anything.
    pub(crate) fn note(&self) -> Option<&str> {
        match self {
            Self::Loaded(..) => None,
            Self::Behind { missing: note, .. } | Self::None(note) => Some(note),
        }
    }

    /// For people who ask.
    pub(crate) fn view(&self) -> PolicyView {
        let origin = match self {
            Self::Loaded(_, origin) => *origin,
            Self::Behind { .. } | Self::None(_) => PolicyOrigin::Image,
        };
        let bundle = self.bundle();
        PolicyView {
            epoch: self.epoch().into(),
            digest: bundle.map(Bundle::digest),
            signer: bundle.map(Bundle::signer).unwrap_or_default().into(),
            origin,
            note: self.note().unwrap_or_default().into(),
            text: bundle.map_or_else(|| self.note().unwrap_or_default().into(), Bundle::text),
        }
    }
}

/// What the image brings: its bundle and the key that signs bundles.
pub(crate) struct Image {
    bundle: Result<Arc<Bundle>, String>,
    key: Result<[u8; 32], String>,
}

impl Image {
    /// Reads and checks the image's bundle. It cannot fail: without a usable bundle everything is denied.
    pub(crate) fn read(bundle: &Path, key: &Path) -> Self {
        let chain = |what: &Path, error: &dyn std::error::Error| {
            format!("cannot use {}: {}", what.display(), aios_daemon::error_chain(error))
        };
        let found = read(key)
            .map_err(|error| chain(key, &error))
            .and_then(|text| read_key(&String::from_utf8_lossy(&text)).map_err(|error| chain(key, &error)));
        let opened = found.clone().and_then(|signer| {
            let bytes = read(bundle).map_err(|error| chain(bundle, &error))?;
            Bundle::open(&bytes, &signer).map(Arc::new).map_err(|error| chain(bundle, &error))
        });
        Self { bundle: opened, key: found }
    }

    fn epoch(&self) -> Option<&Epoch> {
        self.bundle.as_ref().ok().map(|bundle| bundle.exact_epoch())
    }
}

/// The loaded bundle cannot be kept; nothing changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeepError {
    #[error("cannot make the folder of loaded policies")]
    Folder(#[source] io::Error),
    #[error("the policy cannot be kept")]
    Write(#[from] ReplaceError),
}

/// Which policy decides.
pub(crate) struct InForce {
    image: Image,
    /// Where loaded bundles are.
    folder: PathBuf,
    standing: RwLock<Standing>,
}

#[derive(Clone)]
struct Standing {
    policy: Arc<Policy>,
    /// The newest that was loaded, as the log says; nobody knows before it was asked.
    newest: Option<Option<Epoch>>,
}

impl InForce {
    /// Nothing decides before [`InForce::settle`].
    pub(crate) fn new(image: Image, folder: PathBuf) -> Self {
        let why = "the evidence log has not said yet which policy is in force".to_owned();
        let standing = Standing { policy: Arc::new(Policy::None(why)), newest: None };
        Self { image, folder, standing: RwLock::new(standing) }
    }

    fn standing(&self) -> Standing {
        self.standing.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, standing: Standing) {
        *self.standing.write().unwrap_or_else(PoisonError::into_inner) = standing;
    }

    /// The policy that decides now.
    pub(crate) fn now(&self) -> Arc<Policy> {
        self.standing().policy
    }

    /// Whether it is known which policy was loaded last.
    pub(crate) fn is_settled(&self) -> bool {
        self.standing().newest.is_some()
    }

    /// Takes the log's word for which policy was loaded last.
    pub(crate) fn settle(&self, newest: Option<Epoch>) {
        let kept = newest.as_ref().map(|newest| self.kept(newest));
        let have = kept.as_ref().and_then(|kept| kept.as_ref().ok()).map(|bundle| bundle.exact_epoch());
        let policy = match (choose(self.image.epoch(), newest.as_ref(), have), &self.image.bundle, kept) {
            (Choice::Loaded, _, Some(Ok(bundle))) => Policy::Loaded(bundle, PolicyOrigin::Loaded),
            (Choice::Image, Ok(bundle), _) => Policy::Loaded(Arc::clone(bundle), PolicyOrigin::Image),
            (Choice::Image, Err(reason), _) => Policy::None(reason.clone()),
            (_, image, kept) => {
                let why = kept.and_then(Result::err).unwrap_or_else(|| "it is another one".into());
                let epoch = newest.as_ref().map_or("", Epoch::as_str);
                let missing = format!("policy {epoch} was loaded on this machine and is not there ({why})");
                match image {
                    Ok(bundle) => Policy::Behind { bundle: Arc::clone(bundle), missing },
                    Err(reason) => Policy::None(format!("{missing}; {reason}")),
                }
            }
        };
        self.set(Standing { policy: Arc::new(policy), newest: Some(newest) });
        self.clear_out();
    }

    fn kept(&self, epoch: &Epoch) -> Result<Arc<Bundle>, String> {
        let path = self.path(epoch);
        let told = |error: &dyn std::error::Error| format!("{}: {}", path.display(), aios_daemon::error_chain(error));
        let bytes = read(&path).map_err(|error| told(&error))?;
        self.open(&bytes)
    }

    fn path(&self, epoch: &Epoch) -> PathBuf {
        self.folder.join(format!("{}{ENDING}", epoch.as_str()))
    }

    /// Opens a bundle that the image's key signed.
    pub(crate) fn open(&self, bytes: &[u8]) -> Result<Arc<Bundle>, String> {
        let key = self.image.key.as_ref().map_err(Clone::clone)?;
        Bundle::open(bytes, key).map(Arc::new).map_err(|error| aios_daemon::error_chain(&error))
    }

    /// Whether this bundle may take the place of what decides now.
    pub(crate) fn may_follow(&self, offered: &Bundle) -> Result<(), NotNewer> {
        let standing = self.standing();
        let newest = standing.newest.as_ref().and_then(Option::as_ref);
        // While the newest is missing, the image's rules are not what is in force.
        let in_force = match &*standing.policy {
            Policy::Loaded(bundle, _) => bundle.epoch(),
            Policy::Behind { .. } | Policy::None(_) => "none",
        };
        may_follow(self.image.epoch(), newest, in_force, offered.exact_epoch())
    }

    /// Makes the bundle durable. It decides nothing yet: that is what the record in the log says.
    pub(crate) fn keep(&self, bundle: &Bundle, bytes: &[u8]) -> Result<(), KeepError> {
        match fs::create_dir(&self.folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(KeepError::Folder(error)),
            _ => {}
        }
        // The folder's own entry has to last as well.
        if let Some(above) = self.folder.parent() {
            File::open(above).and_then(|above| above.sync_all()).map_err(KeepError::Folder)?;
        }
        Ok(replace(&self.path(bundle.exact_epoch()), bytes, MODE)?)
    }

    /// Nobody knows any more what was loaded last, and what decides now decides until the log was asked.
    pub(crate) fn forget_the_newest(&self) {
        let policy = self.now();
        self.set(Standing { policy, newest: None });
    }

    /// From now on this bundle decides; the log has it.
    pub(crate) fn switch_to(&self, bundle: Arc<Bundle>) {
        let newest = Some(Some(bundle.exact_epoch().clone()));
        self.set(Standing { policy: Arc::new(Policy::Loaded(bundle, PolicyOrigin::Loaded)), newest });
        self.clear_out();
    }

    /// Removes what is not the newest: a bundle that was never put in force, and those from before.
    fn clear_out(&self) {
        let newest = self.standing().newest.flatten().map(|newest| self.path(&newest));
        let Ok(entries) = fs::read_dir(&self.folder) else { return };
        for path in entries.flatten().map(|entry| entry.path()) {
            if Some(&path) != newest.as_ref()
                && let Err(error) = fs::remove_file(&path)
            {
                eprintln!("a policy that decides nothing is left in {}: {error}", path.display());
            }
        }
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // One byte more than there may be: its own check says what is wrong with a longer one.
    File::open(path)?.take(SIZE_LIMIT as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
impl InForce {
    /// An image with this bundle, signed by the key of a test.
    pub(crate) fn of_test(bundle: Result<Bundle, String>, key: [u8; 32], folder: PathBuf) -> Self {
        Self::new(Image { bundle: bundle.map(Arc::new), key: Ok(key) }, folder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_that_cannot_be_used_leaves_a_policy_that_denies_and_says_why() {
        let folder = tempfile::tempdir().expect("a folder");
        let (bundle, key) = (folder.path().join("default.bundle"), folder.path().join("policy.pub"));
        let of_image = || {
            let in_force = InForce::new(Image::read(&bundle, &key), folder.path().join("bundles"));
            assert!(matches!(&*in_force.now(), Policy::None(why) if why.contains("evidence log")));
            in_force.settle(None);
            in_force.now()
        };
        let missing = of_image();
        assert!(missing.note().is_some_and(|reason| reason.contains("policy.pub")), "{:?}", missing.note());
        assert_eq!((missing.epoch(), missing.view().signer.as_str()), ("none", ""));

        let public: String = aios_policy::public_key(&[1; 32]).iter().map(|byte| format!("{byte:02x}")).collect();
        fs::write(&key, format!("{public}\n")).expect("written");
        fs::write(&bundle, "nonsense").expect("written");
        assert!(of_image().note().is_some_and(|reason| reason.contains("not a policy bundle")));
    }
}
