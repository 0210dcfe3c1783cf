//! `cargo xtask keys rotate NAME`: a new key in place of an old one, and what follows from it.

use std::fs;

use super::{Keys, Name, Purpose, make};
use crate::error::{Error, OnFile, Result};
use crate::signer::Signer;

/// Where replaced keys are kept.
const OLD: &str = "old";

impl Keys {
    pub(super) fn rotate(&self, word: &str) -> Result<()> {
        let known = Name::ALL.map(Name::word).join(", ");
        let Some(name) = Name::ALL.into_iter().find(|name| name.word() == word) else {
            return Err(Error::refused(format!("there is no key {word}"), format!("the keys are {known}")));
        };
        if self.purpose() == Purpose::Release || matches!(self.signer, Signer::Program(_)) {
            return Err(Error::refused(
                format!("key {word} is not one that was made here"),
                "make the new one where the old one was made, and put its public half into the key folder",
            ));
        }
        let files = [format!("{word}.key"), name.public_file()];
        let old =
            (1..).map(|number| self.folder.join(OLD).join(format!("{word}-{number}"))).find(|path| !path.exists());
        let old = old.expect("numbers do not end");
        fs::create_dir_all(&old).on("make", &old)?;
        for file in &files {
            let from = self.folder.join(file);
            fs::rename(&from, old.join(file)).on("move", &from)?;
        }
        make::key(&self.folder, name)?;
        println!("key {word} is new; the old one is in {}", old.display());
        println!("{}", what_follows(name));
        Ok(())
    }
}

fn what_follows(name: Name) -> &'static str {
    match name {
        Name::Platform | Name::Exchange => {
            "Images do not change. Machines with the old key enrolled keep it until somebody enrols the new one in their\n\
             firmware's setup. Virtual machines get it with the next build."
        }
        Name::Programs => {
            "What is built from now on starts only where the new certificate is enrolled, in the firmware's db or as a\n\
             machine owner key (EFI/aios/aios.cer on the medium). Enrol it before such a machine is updated: its old image\n\
             starts as long as the old certificate stays enrolled, and also after it if nobody removes it or puts it into\n\
             dbx."
        }
        Name::PcrInstalled | Name::PcrLive | Name::PcrRecovery => {
            "What a TPM sealed for the old key does not open under images built from now on. Seal it anew for the new key\n\
             while an old image still runs."
        }
        Name::Release => {
            "Installed machines know the old key only and refuse releases that the new one signs. Sign one more release\n\
             with the old key (it is kept; put it back beside the new release.pub's image) or install them again. Publish\n\
             the new public key before the first sums signed with it."
        }
        Name::Policy => {
            "Machines take policy bundles of the new key once they run an image built from now on, which carries its public\n\
             half and a bundle signed with it. A bundle that was loaded later and signed with the old key is refused then:\n\
             sign it anew."
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn made(folder: &tempfile::TempDir) -> (PathBuf, Keys) {
        let place = folder.path().join("keys");
        let keys = Keys::open_at(place.clone(), Signer::Files(place.clone())).expect("made");
        (place, keys)
    }

    #[test]
    fn the_old_key_is_kept_and_the_new_one_signs() {
        let folder = tempfile::tempdir().expect("a folder");
        let (place, keys) = made(&folder);
        let read = |file: &str| fs::read(place.join(file)).expect(file);
        let before = (read("release.pub"), read("pcr-live.pem"), read("db.pem"));
        for name in ["release", "pcr-live", "db"] {
            keys.rotate(name).expect(name);
        }
        keys.rotate("release").expect("once more");
        let again = Keys::open_at(place.clone(), Signer::Files(place.clone())).expect("opened");
        for name in [Name::Release, Name::PcrLive, Name::Programs] {
            again.sign(name, b"bytes").expect("the new halves belong together");
        }
        assert_eq!(read("old/release-1/release.pub"), before.0);
        assert!(place.join("old/release-2/release.key").is_file());
        assert_eq!((read("old/pcr-live-1/pcr-live.pem"), read("old/db-1/db.pem")), (before.1, before.2.clone()));
        assert_ne!(read("db.pem"), before.2);
    }

    #[test]
    fn keys_of_others_and_unknown_ones_are_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let (place, keys) = made(&folder);
        let error = keys.rotate("nothing").expect_err("unknown");
        assert!(error.hint().is_some_and(|hint| hint.contains("pcr-recovery")), "{error}");
        fs::remove_file(place.join(super::super::MARK)).expect("not for development any more");
        assert!(keys.rotate("release").is_err());
        assert!(!place.join(OLD).exists());
    }
}
