//! Unpredictable bytes that one start leaves for the next.
//!
//! A seed is good once: it is replaced on the disk before it is counted, so that a start that is cut off does not leave it
//! for a second one.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use aios_linux::entropy::{SEED, credit};

const PLACE: &str = "/aios/system/seed";

/// Gives the last start's seed to the kernel and leaves a new one. The first start has none.
pub(crate) fn spend() -> io::Result<()> {
    spend_at(Path::new(PLACE), credit)
}

/// Leaves a new seed.
pub(crate) fn leave() -> io::Result<()> {
    leave_at(Path::new(PLACE))
}

fn spend_at(place: &Path, credit: impl FnOnce(&[u8; SEED]) -> io::Result<()>) -> io::Result<()> {
    let mut seed = [0; SEED];
    let found = File::open(place).and_then(|mut file| file.read_exact(&mut seed));
    leave_at(place)?;
    match found {
        Ok(()) => credit(&seed),
        // None yet, or one that was cut off: it is replaced and counts for nothing.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof) => Ok(()),
        Err(error) => Err(error),
    }
}

fn leave_at(place: &Path) -> io::Result<()> {
    let mut seed = [0; SEED];
    let mut filled = 0;
    while filled < SEED {
        filled += rustix::rand::getrandom(&mut seed[filled..], rustix::rand::GetRandomFlags::empty())?;
    }
    let new = place.with_extension("new");
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(&seed)?;
    file.sync_all()?;
    fs::rename(&new, place)?;
    File::open(place.parent().unwrap_or(Path::new("/")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_spent_once_and_was_replaced_before() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = folder.path().join("seed");
        spend_at(&place, |_| panic!("there is none yet")).expect("the first start");
        let mut spent = Vec::new();
        for _ in 0..3 {
            let before = fs::read(&place).expect("a seed");
            spend_at(&place, |seed| {
                assert_eq!(seed[..], before);
                assert_ne!(fs::read(&place).expect("a seed"), before, "it is still there when it is counted");
                spent.push(seed.to_vec());
                Ok(())
            })
            .expect("spent");
        }
        assert!(spent[0] != spent[1] && spent[1] != spent[2]);
        fs::write(&place, "short").expect("written");
        spend_at(&place, |_| panic!("it was cut off")).expect("replaced");
        assert_eq!(fs::metadata(&place).expect("there").len(), SEED as u64);
    }
}
