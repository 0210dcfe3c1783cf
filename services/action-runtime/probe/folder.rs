//! Tries to get out of the folder that a program was given to work in, and to make more of it than a place for files.
//!
//! Without such a folder each is `EBADF`.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::OnceLock;

use aios_linux::attempt;
use rustix::fs::{AtFlags, Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;

/// The names on the way up that are tried.
const UP: [&str; 3] = ["..", "../..", "../../../../../.."];

static GIVEN: OnceLock<OwnedFd> = OnceLock::new();

/// Says that there is a folder.
pub(crate) fn give(folder: OwnedFd) {
    let _ = GIVEN.set(folder);
}

fn given() -> io::Result<&'static OwnedFd> {
    GIVEN.get().ok_or_else(|| Errno::BADF.into())
}

/// Makes `attempt` on every name that leads out of the folder. A name that leads back to it is `EXDEV`: the tree ends.
fn above(attempt: impl Fn(&OwnedFd, &str) -> Result<(), Errno>) -> io::Result<()> {
    let folder = given()?;
    let own = rustix::fs::fstat(folder)?;
    let mut last = Errno::XDEV;
    for name in UP {
        match rustix::fs::statat(folder, name, AtFlags::empty()) {
            Ok(status) if (status.st_dev, status.st_ino) == (own.st_dev, own.st_ino) => {}
            Ok(_) => match attempt(folder, name) {
                Ok(()) => return Ok(()),
                Err(error) => last = error,
            },
            Err(error) => last = error,
        }
    }
    Err(last.into())
}

pub(crate) fn look_up() -> io::Result<()> {
    above(|_, _| Ok(()))
}

pub(crate) fn open_up() -> io::Result<()> {
    above(|folder, name| {
        rustix::fs::openat(folder, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).map(drop)
    })
}

pub(crate) fn touch_up() -> io::Result<()> {
    above(|folder, name| {
        let status = rustix::fs::statat(folder, name, AtFlags::empty())?;
        let time = |seconds, nanoseconds: u64| Timespec { tv_sec: seconds, tv_nsec: nanoseconds.cast_signed() };
        // The times it has anyway.
        let times = Timestamps {
            last_access: time(status.st_atime, status.st_atime_nsec),
            last_modification: time(status.st_mtime, status.st_mtime_nsec),
        };
        rustix::fs::utimensat(folder, name, &times, AtFlags::empty())
    })
}

pub(crate) fn link_out() -> io::Result<()> {
    let folder = given()?;
    const LINK: &str = ".aios-probe-link";
    rustix::fs::symlinkat("/usr/share/aios/peers.toml", folder, LINK)?;
    let read = rustix::fs::openat(folder, LINK, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    rustix::fs::unlinkat(folder, LINK, AtFlags::empty())?;
    Ok(read.map(drop)?)
}

pub(crate) fn execute_in_it() -> io::Result<()> {
    let folder = given()?;
    const FILE: &str = ".aios-probe-file";
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(folder, FILE, flags, Mode::from_raw_mode(0o700))?;
    let written = rustix::io::write(&file, attempt::NO_PROGRAM);
    drop(file);
    let before = std::env::current_dir();
    let executed = rustix::process::fchdir(folder)
        .map_err(io::Error::from)
        .and_then(|()| attempt::execute_file(c"./.aios-probe-file"));
    before.and_then(std::env::set_current_dir)?;
    rustix::fs::unlinkat(folder, FILE, AtFlags::empty())?;
    written?;
    executed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ordinary_folder_is_seen_to_lead_up() {
        let missing = look_up().expect_err("no folder was given");
        assert_eq!(Errno::from_io_error(&missing), Some(Errno::BADF));
        let place = tempfile::tempdir().expect("a folder");
        give(std::fs::File::open(place.path()).expect("open").into());
        assert!(look_up().is_ok() && open_up().is_ok() && touch_up().is_ok());
        assert!(execute_in_it().is_ok() || !is_executable(place.path()));
        assert!(std::fs::read_dir(place.path()).expect("listed").next().is_none(), "nothing is left behind");
    }

    fn is_executable(path: &std::path::Path) -> bool {
        !rustix::fs::statvfs(path).expect("there").f_flag.contains(rustix::fs::StatVfsMountFlags::NOEXEC)
    }
}
