//! Secrets at rest: one file each, sealed under the vault's key ([`crate::key`]).
//!
//! A file is replaced whole or not at all, so a power cut leaves the secret as it was before or as it is after. What a
//! crash leaves beside is removed at the next start.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aios_fetch::{Binding, SecretValue};
use aios_ids::{ActionId, UnitName};
use aios_linux::tpm::Chip;
use aios_store::ReplaceError;
use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305, XNonce};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::key::{self, Bytes, Keeper, Place, Secrets};

/// A file begins with it; another form has another line.
const FORM: &[u8] = b"aios.secret.v1\n";

/// Bytes that make two seals of the same secret different.
const NONCE: usize = 24;

/// Bytes that say whether anything was changed.
const TAG: usize = 16;

/// No sealed secret is longer.
const LIMIT: u64 = 32 * 1024;

/// What a file's name ends with.
const SUFFIX: &str = ".sealed";

/// So many secrets are kept.
const SECRETS: usize = 256;

/// A secret as it is used.
#[derive(Debug)]
pub struct Secret {
    /// What it is called.
    pub name: UnitName,
    /// Its characters.
    pub value: SecretValue,
    /// Where it goes.
    pub about: About,
}

/// What anybody may know of a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    /// Where it goes.
    pub binding: Binding,
    /// The action that put it.
    pub action: ActionId,
}

/// A secret cannot be kept, read or removed.
#[derive(Debug, thiserror::Error)]
pub enum SealedError {
    /// There is none.
    #[error("there is no secret '{0}'; 'aios secret list' shows all")]
    Missing(UnitName),
    /// Not what was sealed.
    #[error(
        "the sealed file of the secret '{0}' was cut, altered, or sealed with another key; put the secret again with \
         'aios secret add', or remove it with 'aios secret remove'"
    )]
    Damaged(UnitName),
    /// The key is not whole.
    #[error("the key of the vault, {}, has not 32 bytes; every secret has to be put again after it was removed", .0.display())]
    Key(PathBuf),
    /// The TPM does not give it out.
    #[error(
        "the key of the vault cannot be had: {0}; nothing was changed, and docs/vault.md says what gives it back. To go on \
         without these secrets, remove each with 'aios secret remove' and restart the vault"
    )]
    Closed(String),
    /// Too many.
    #[error("{SECRETS} secrets are kept; remove one with 'aios secret remove'")]
    Full,
    /// The disk.
    #[error("cannot read {}", path.display())]
    Read {
        /// What.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The disk.
    #[error("cannot remove {}", path.display())]
    Remove {
        /// What.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The disk.
    #[error(transparent)]
    Write(#[from] ReplaceError),
    /// No randomness.
    #[error("the kernel gave no random bytes")]
    Random(#[from] getrandom::Error),
}

type Result<T> = std::result::Result<T, SealedError>;

/// The folder of sealed secrets. It has one writer.
#[derive(Debug, Clone)]
pub struct Sealed {
    folder: PathBuf,
    place: Arc<Place>,
}

impl Sealed {
    /// The secrets in `folder`, after what a crash left there was removed and the key was found.
    pub fn open<C: Chip>(folder: &Path, keeper: Keeper<C>) -> Result<Self> {
        aios_store::remove_temporaries(folder)
            .map_err(|source| SealedError::Read { path: folder.to_owned(), source })?;
        let secrets = if names(folder)?.is_empty() { Secrets::None } else { Secrets::Some };
        let place = Arc::new(Place::find(folder, keeper, secrets)?);
        Ok(Self { folder: folder.to_owned(), place })
    }

    /// Where the key is, for people.
    pub fn about_key(&self) -> String {
        self.place.sentence()
    }

    /// Keeps a secret, in place of one of the same name. It is durable when this returns.
    pub fn put(&self, secret: &Secret) -> Result<()> {
        let path = self.path(&secret.name);
        if !path.exists() && names(&self.folder)?.len() >= SECRETS {
            return Err(SealedError::Full);
        }
        // A power cut between the two leaves a key that nothing was sealed with.
        let key = match self.keys()?.into_iter().next() {
            Some(key) => key,
            None => self.make_key()?,
        };
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce)?;
        let plain = plain(secret);
        let bound = bound(&secret.name);
        let cipher = XChaCha20Poly1305::new(key.as_slice().into());
        let sealed = cipher
            .encrypt(XNonce::from_slice(&nonce), Payload { msg: &plain, aad: &bound })
            .expect("a secret is far shorter than what the cipher takes");
        let file = [FORM, &nonce, &sealed].concat();
        aios_store::replace(&path, &file, 0o600)?;
        Ok(())
    }

    /// The secret of this name.
    pub fn get(&self, name: &UnitName) -> Result<Secret> {
        let damaged = || SealedError::Damaged(name.clone());
        let file = self.read(&self.path(name))?.ok_or_else(|| SealedError::Missing(name.clone()))?;
        let rest = file.strip_prefix(FORM).ok_or_else(damaged)?;
        let (nonce, sealed) =
            rest.split_at_checked(NONCE).filter(|(_, sealed)| sealed.len() > TAG).ok_or_else(damaged)?;
        let bound = bound(name);
        let open = |key: &Bytes| {
            let cipher = XChaCha20Poly1305::new(key.as_slice().into());
            cipher.decrypt(XNonce::from_slice(nonce), Payload { msg: sealed, aad: &bound }).ok()
        };
        let plain = Zeroizing::new(self.keys()?.iter().find_map(open).ok_or_else(damaged)?);
        let (value, about) = parts(&plain).ok_or_else(damaged)?;
        Ok(Secret { name: name.clone(), value, about })
    }

    /// Forgets the secret of this name. One whose file is damaged goes too.
    pub fn remove(&self, name: &UnitName) -> Result<()> {
        let path = self.path(name);
        let removed = fs::remove_file(&path).and_then(|()| File::open(&self.folder)?.sync_all());
        removed.map_err(|source| match source.kind() {
            ErrorKind::NotFound => SealedError::Missing(name.clone()),
            _ => SealedError::Remove { path, source },
        })
    }

    /// Every secret, by name, with what may be known of it or why it cannot be used.
    pub fn list(&self) -> Result<Vec<(UnitName, Result<About>)>> {
        let names = names(&self.folder)?;
        Ok(names.into_iter().map(|name| (name.clone(), self.get(&name).map(|secret| secret.about))).collect())
    }

    fn path(&self, name: &UnitName) -> PathBuf {
        self.folder.join(format!("{name}{SUFFIX}"))
    }

    /// The keys that may open a secret; the first is the one that seals. None before the first secret.
    fn keys(&self) -> Result<Vec<Bytes>> {
        match self.place.as_ref() {
            Place::Beside(_) => Ok(key::beside(&self.folder)?.into_iter().collect()),
            Place::Tpm { key, older } => Ok([key].into_iter().chain(older).cloned().collect()),
            Place::Closed(why) => Err(SealedError::Closed(why.clone())),
        }
    }

    fn make_key(&self) -> Result<Bytes> {
        let key = key::random()?;
        aios_store::replace(&self.folder.join(key::BESIDE), key.as_slice(), 0o600)?;
        Ok(key)
    }

    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>> {
        let mut bytes = Vec::new();
        let read = File::open(path).and_then(|file| file.take(LIMIT).read_to_end(&mut bytes));
        match read {
            Ok(_) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(SealedError::Read { path: path.to_owned(), source }),
        }
    }
}

fn names(folder: &Path) -> Result<Vec<UnitName>> {
    let cannot = |source| SealedError::Read { path: folder.to_owned(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(cannot)? {
        let file = entry.map_err(cannot)?.file_name();
        // Nothing else writes here; a name of another form is no secret.
        names.extend(file.to_str().and_then(|name| name.strip_suffix(SUFFIX)?.parse().ok()));
    }
    names.sort();
    Ok(names)
}

/// The name is sealed too: a file that was given another name does not open.
fn bound(name: &UnitName) -> Vec<u8> {
    [FORM, name.as_str().as_bytes()].concat()
}

fn plain(secret: &Secret) -> Zeroizing<Vec<u8>> {
    let value = secret.value.expose().as_bytes();
    let about = serde_json::to_vec(&secret.about).expect("it has only text keys");
    let mut plain = Zeroizing::new(Vec::with_capacity(4 + value.len() + about.len()));
    plain.extend((value.len() as u32).to_be_bytes());
    plain.extend(value);
    plain.extend(about);
    plain
}

fn parts(plain: &[u8]) -> Option<(SecretValue, About)> {
    let (length, rest) = plain.split_first_chunk::<4>()?;
    let (value, about) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    Some((std::str::from_utf8(value).ok()?.parse().ok()?, serde_json::from_slice(about).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CANARY: &str = "canary-7d41\"\\x";

    fn secret(name: &str, value: &str) -> Secret {
        let binding = Binding::from_words(["api.example"], None).expect("a binding");
        Secret {
            name: name.parse().expect("a name"),
            value: value.parse().expect("a value"),
            about: About { binding, action: ActionId::new(7, [7; 10]) },
        }
    }

    fn sealed() -> (tempfile::TempDir, Sealed) {
        let folder = tempfile::tempdir().expect("a folder");
        let sealed = Sealed::open(folder.path(), Keeper::none("no TPM")).expect("opens");
        (folder, sealed)
    }

    #[test]
    fn a_secret_comes_back_and_stands_in_no_file() {
        let (folder, sealed) = sealed();
        sealed.put(&secret("push", CANARY)).expect("kept");
        let again = Sealed::open(folder.path(), Keeper::none("no TPM"))
            .expect("opens")
            .get(&"push".parse().expect("a name"))
            .expect("there");
        assert_eq!((again.value.expose(), again.about), (CANARY, secret("push", CANARY).about));
        for file in fs::read_dir(folder.path()).expect("a folder") {
            let bytes = fs::read(file.expect("a file").path()).expect("its content");
            assert!(!bytes.windows(6).any(|six| CANARY.as_bytes().starts_with(six)));
        }
    }

    #[test]
    fn one_is_replaced_and_removed_and_others_stay() {
        let (_folder, sealed) = sealed();
        let value =
            |name: &str| sealed.get(&name.parse().expect("a name")).map(|secret| secret.value.expose().to_owned());
        sealed.put(&secret("one", "value-one")).expect("kept");
        sealed.put(&secret("two", "value-two")).expect("kept");
        sealed.put(&secret("one", "another-one")).expect("kept");
        assert_eq!((value("one").ok(), value("two").ok()), (Some("another-one".into()), Some("value-two".into())));
        let one = "one".parse().expect("a name");
        sealed.remove(&one).expect("there");
        assert!(matches!(sealed.remove(&one), Err(SealedError::Missing(_))));
        assert!(matches!(value("one"), Err(SealedError::Missing(_))) && value("two").is_ok());
        assert_eq!(sealed.list().expect("a list").len(), 1);
    }

    #[test]
    fn any_change_of_a_file_is_refused_by_name_and_the_others_are_used() {
        let (folder, sealed) = sealed();
        sealed.put(&secret("bad", CANARY)).expect("kept");
        sealed.put(&secret("good", CANARY)).expect("kept");
        let path = folder.path().join("bad.sealed");
        let whole = fs::read(&path).expect("its content");
        let refused = || {
            let list = sealed.list().expect("a list");
            let texts: Vec<String> =
                list.iter().filter_map(|(_, about)| Some(about.as_ref().err()?.to_string())).collect();
            assert!(sealed.get(&"good".parse().expect("a name")).is_ok());
            texts.len() == 1 && texts[0].contains("'bad'")
        };
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).expect("written");
            assert!(refused(), "cut to {length}");
        }
        for place in 0..whole.len() {
            let mut altered = whole.clone();
            altered[place] ^= 1;
            fs::write(&path, &altered).expect("written");
            assert!(refused(), "altered at {place}");
        }
        fs::write(&path, fs::read(folder.path().join("good.sealed")).expect("its content")).expect("written");
        assert!(refused(), "another secret's file");
        sealed.put(&secret("bad", CANARY)).expect("it is put again");
        assert!(sealed.get(&"bad".parse().expect("a name")).is_ok());
    }

    #[test]
    fn without_its_key_nothing_opens_and_a_cut_key_is_said() {
        let (folder, sealed) = sealed();
        sealed.put(&secret("push", CANARY)).expect("kept");
        let name = "push".parse().expect("a name");
        fs::write(folder.path().join(key::BESIDE), [0; 32]).expect("another key");
        assert!(matches!(sealed.get(&name), Err(SealedError::Damaged(_))));
        fs::write(folder.path().join(key::BESIDE), [0; 31]).expect("a cut key");
        assert!(matches!(sealed.get(&name), Err(SealedError::Key(_))));
        assert!(matches!(sealed.put(&secret("push", CANARY)), Err(SealedError::Key(_))));
        fs::remove_file(folder.path().join(key::BESIDE)).expect("there");
        assert!(matches!(sealed.get(&name), Err(SealedError::Damaged(_))));
    }

    #[test]
    fn what_a_power_cut_left_beside_is_not_taken_for_a_secret() {
        let (folder, sealed) = sealed();
        sealed.put(&secret("push", "value-one")).expect("kept");
        // The state before the rename: the new file is whole or in part beside the old one.
        let whole = fs::read(folder.path().join("push.sealed")).expect("its content");
        let beside = folder.path().join(".tmp-push.sealed");
        for length in [0, whole.len() / 2, whole.len()] {
            fs::write(&beside, &whole[..length]).expect("written");
            let opened = Sealed::open(folder.path(), Keeper::none("no TPM")).expect("opens");
            assert!(!beside.exists());
            let names: Vec<String> = opened.list().expect("a list").iter().map(|(name, _)| name.to_string()).collect();
            assert_eq!(names, ["push"]);
            let kept = opened.get(&"push".parse().expect("a name")).expect("as before");
            assert_eq!(kept.value.expose(), "value-one");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn no_file_and_no_opened_text_panics(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let (folder, sealed) = sealed();
            sealed.put(&secret("other", CANARY)).expect("kept");
            for file in [bytes.clone(), [FORM, &bytes].concat()] {
                fs::write(folder.path().join("push.sealed"), file).expect("written");
                prop_assert!(matches!(sealed.get(&"push".parse().expect("a name")), Err(SealedError::Damaged(_))));
            }
            let _ = parts(&bytes);
        }
    }
}
