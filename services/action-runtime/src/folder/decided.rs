//! Changing a file only if it is the one that was decided about, although others write in the folder too.
//!
//! The kernel has no "replace if". It exchanges two names in one step: so the new file takes the old one's place, what came
//! out is looked at, and if it is another file it goes back. Whoever replaces or removes the file meanwhile has done so as
//! if this had never been tried. Only a power cut in between leaves the new content, and the old one beside it.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;

use aios_action::Target;
use aios_ids::Digest;
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::{BENEATH, KEPT};

/// What was found in the file's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// What was decided about; it is done.
    AsDecided,
    /// Something else, which is there as before.
    Changed,
}

/// How often others may come in between before it is left to a person.
const ROUNDS: usize = 64;

/// Puts the file `prepared` in the place of `name`. The name `prepared` is gone afterwards.
pub(super) fn replace(parent: &OwnedFd, prepared: &str, name: &str, decided: Option<Target>) -> io::Result<Found> {
    let discard = || rustix::fs::unlinkat(parent, prepared, AtFlags::empty());
    let found = match decided {
        None => rustix::fs::renameat(parent, prepared, parent, name),
        Some(Target::Sha256(digest)) => {
            let ours = Held::open(parent, prepared)?;
            match exchange(parent, prepared, name) {
                Ok(()) if has_content(parent, prepared, &digest)? => {}
                Ok(()) => {
                    put_back(parent, prepared, name, ours)?;
                    return Ok(Found::Changed);
                }
                Err(error) => {
                    discard()?;
                    return if error == Errno::NOENT { Ok(Found::Changed) } else { Err(error.into()) };
                }
            }
            discard()
        }
        Some(Target::Absent) => rustix::fs::renameat_with(parent, prepared, parent, name, RenameFlags::NOREPLACE),
        Some(Target::Unreadable) => Err(Errno::EXIST),
    };
    match found {
        Ok(()) => Ok(Found::AsDecided),
        Err(error) => {
            discard()?;
            if error == Errno::EXIST { Ok(Found::Changed) } else { Err(error.into()) }
        }
    }
}

/// Removes the file, which has the name `aside` for a moment.
pub(super) fn remove(parent: &OwnedFd, name: &str, aside: &str, decided: &Digest) -> io::Result<Found> {
    match rustix::fs::renameat_with(parent, name, parent, aside, RenameFlags::NOREPLACE) {
        Err(Errno::NOENT) => return Ok(Found::Changed),
        moved => moved?,
    }
    if has_content(parent, aside, decided)? {
        rustix::fs::unlinkat(parent, aside, AtFlags::empty())?;
        return Ok(Found::AsDecided);
    }
    match rustix::fs::renameat_with(parent, aside, parent, name, RenameFlags::NOREPLACE) {
        // Somebody wrote the file anew, which would have replaced this one.
        Err(Errno::EXIST) => rustix::fs::unlinkat(parent, aside, AtFlags::empty())?,
        back => back?,
    }
    Ok(Found::Changed)
}

/// Whether a file of this content has the name.
pub(super) fn has_content(parent: &OwnedFd, name: &str, decided: &Digest) -> io::Result<bool> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOFOLLOW;
    let file = match rustix::fs::openat2(parent, name, flags, Mode::empty(), BENEATH) {
        Ok(file) => File::from(file),
        // A link, a socket, or what nobody may read.
        Err(Errno::LOOP | Errno::NXIO | Errno::ACCESS) => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    if !file.metadata()?.is_file() {
        return Ok(false);
    }
    let mut content = Vec::new();
    file.take(KEPT + 1).read_to_end(&mut content)?;
    Ok(content.len() as u64 <= KEPT && Digest::of(&content) == *decided)
}

/// Gives the place back to what is called `prepared` now, until what comes out is what was put in: then nobody has
/// changed anything in between.
fn put_back(parent: &OwnedFd, prepared: &str, name: &str, mut put: Held) -> io::Result<()> {
    for _ in 0..ROUNDS {
        let back = Held::open(parent, prepared)?;
        match exchange(parent, prepared, name) {
            // Somebody removed what is there; they would have removed this one.
            Err(Errno::NOENT) => return Ok(rustix::fs::unlinkat(parent, prepared, AtFlags::empty())?),
            exchanged => exchanged?,
        }
        if Held::open(parent, prepared)?.is(&put) {
            return Ok(rustix::fs::unlinkat(parent, prepared, AtFlags::empty())?);
        }
        put = back;
    }
    Err(io::Error::other(format!("others replace it all the time; one of their versions is in {prepared}")))
}

fn exchange(parent: &OwnedFd, one: &str, other: &str) -> rustix::io::Result<()> {
    rustix::fs::renameat_with(parent, one, parent, other, RenameFlags::EXCHANGE)
}

/// A file that is held, so that no other one can get its number.
struct Held {
    device: u64,
    inode: u64,
    _file: OwnedFd,
}

impl Held {
    fn open(parent: &OwnedFd, name: &str) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(parent, name, flags, Mode::empty())?;
        let status = rustix::fs::fstat(&file)?;
        Ok(Self { device: status.st_dev, inode: status.st_ino, _file: file })
    }

    fn is(&self, other: &Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }
}
