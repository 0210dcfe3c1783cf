//! A folder as a file tree of its own: what a program is given when it may work in one folder and see nothing around it.
//!
//! A descriptor of a folder leads upwards as well: the path `..` of it is looked up in the tree of whoever opened it, and
//! what no layer refuses there (looking at sizes and times, say) works up to the machine's root. A copy of the mount that
//! begins at the folder has no `..`.

#![expect(unsafe_code, reason = "mount_setattr has no wrapper")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{OpenTreeFlags, open_tree};

/// `struct mount_attr` of `linux/mount.h`.
#[repr(C)]
struct Attributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

/// From `linux/mount.h`.
const NO_SUID: u64 = 0x2;
const NO_DEVICES: u64 = 0x4;
const NO_EXECUTION: u64 = 0x8;

/// The same folder, at the root of a tree in which nothing is executed and no device works. The caller must see the folder
/// under the path that it was opened by, and needs `CAP_SYS_ADMIN`.
pub fn alone(folder: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // A mount can be copied only in the namespace that it is in, so the folder is looked up again; what is found has to be
    // the one that was given.
    let link = format!("/proc/self/fd/{}", folder.as_raw_fd());
    let path = std::fs::read_link(link)?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
    let tree = open_tree(CWD, &path, flags)?;
    let (given, found) = (rustix::fs::fstat(folder)?, rustix::fs::fstat(&tree)?);
    if (given.st_dev, given.st_ino) != (found.st_dev, found.st_ino) {
        return Err(io::Error::other(format!("{} is another folder here", path.display())));
    }
    restrict(tree.as_fd())?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(&tree, ".", flags, Mode::empty())?)
}

fn restrict(tree: BorrowedFd<'_>) -> io::Result<()> {
    let attributes =
        Attributes { set: NO_SUID | NO_DEVICES | NO_EXECUTION, clear: 0, propagation: 0, user_namespace: 0 };
    // SAFETY: the path ends in zero and the kernel reads as many bytes of the structure as its size says.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<Attributes>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::MetadataExt;
    use std::path::PathBuf;

    use rustix::fs::AtFlags;

    use super::*;

    /// A folder in a place of its own, and a descriptor of it; copying its mount needs root.
    fn granted() -> Option<(tempfile::TempDir, PathBuf, File)> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: copying a mount needs root");
            return None;
        }
        let place = tempfile::tempdir().expect("a folder");
        let path = place.path().join("granted");
        std::fs::create_dir(&path).expect("made");
        let given = File::open(&path).expect("open");
        Some((place, path, given))
    }

    #[test]
    fn nothing_is_above_it_and_nothing_runs_in_it() {
        let Some((_place, path, given)) = granted() else { return };
        let up = |folder: BorrowedFd<'_>| rustix::fs::statat(folder, "../..", AtFlags::empty()).expect("there").st_ino;
        let own = given.metadata().expect("there").ino();
        assert_ne!(up(given.as_fd()), own, "an ordinary descriptor leads upwards");

        let alone = alone(given.as_fd()).expect("root may");
        assert_eq!(up(alone.as_fd()), own);
        let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&alone, "file", flags, Mode::from_raw_mode(0o755)).expect("it can be written");
        rustix::io::write(&file, b"#!/bin/sh\n").expect("written");
        drop(file);
        assert_eq!(std::fs::read(path.join("file")).expect("the same folder"), b"#!/bin/sh\n");
        let flags = rustix::fs::fstatvfs(&alone).expect("there").f_flag;
        assert!(flags.contains(rustix::fs::StatVfsMountFlags::NOEXEC | rustix::fs::StatVfsMountFlags::NODEV));
    }

    #[test]
    fn a_folder_that_is_not_where_it_was_is_refused() {
        let Some((place, path, given)) = granted() else { return };
        std::fs::rename(&path, place.path().join("away")).expect("moved");
        std::fs::create_dir(&path).expect("made");
        // The kernel tells where the descriptor's folder is now; a removed one is nowhere.
        assert!(alone(given.as_fd()).is_ok());
        std::fs::remove_dir(place.path().join("away")).expect("removed");
        assert!(alone(given.as_fd()).is_err());
    }
}
