//! A file tree of its own: only the listed mounts, everything else gone.
//!
//! Runs in the new program's mount namespace. Sources are cloned before anything is covered, so a source may lie below
//! the place where the new tree is put together.

use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use aios_ids::Digest;
use rustix::fs::{CWD, FileType, Gid, Mode, OFlags, Uid};
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount, mount_change, mount_remount,
    move_mount, open_tree, unmount,
};

use crate::sandbox::{Allow, Identity, Mount};

/// Where the new tree grows before it becomes the root. Every machine of ours has it, and covering it hides nothing
/// that a program of its own view could see.
const SITE: &str = "/tmp";

const DEVICES: [&str; 5] = ["null", "zero", "full", "random", "urandom"];

/// A program that is copied has at most so many bytes.
const CHECKED_LIMIT: u64 = 8 << 20;

/// What a mount is made from, taken while the machine's tree is in view.
enum Source {
    None,
    Tree(OwnedFd),
    Bytes(Vec<u8>),
}

/// What went wrong, on what.
type Failure = (String, io::Error);

/// Replaces the calling process's root by a tree of `mounts`.
pub(crate) fn enter(mounts: &[Mount], identity: &Identity) -> Result<(), Failure> {
    let on = |path: &Path| {
        let path = path.display().to_string();
        move |error: rustix::io::Errno| (path, io::Error::from(error))
    };
    mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE).map_err(on(Path::new("/")))?;

    let mut sources = Vec::new();
    for item in mounts {
        sources.push(match item {
            Mount::Bind { from, .. } => {
                Source::Tree(clone_tree(from).map_err(|error| (from.display().to_string(), error))?)
            }
            Mount::Checked { from, sha256, .. } => {
                Source::Bytes(checked(from, sha256).map_err(|error| (from.display().to_string(), error))?)
            }
            _ => Source::None,
        });
    }
    let devices = open_tree(CWD, "/dev", OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)
        .map_err(on(Path::new("/dev")))?;

    mount("tmpfs", SITE, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, c"mode=0755,size=256k")
        .map_err(on(Path::new(SITE)))?;
    for (item, source) in mounts.iter().zip(sources) {
        match (item, source) {
            (Mount::Bind { at, allow, .. }, Source::Tree(source)) => place(&source, at, *allow),
            (Mount::Checked { at, .. }, Source::Bytes(bytes)) => content(at, &bytes),
            (Mount::Content { at, bytes }, _) => content(at, bytes.bytes()),
            (Mount::Memory { at, bytes, mode }, _) => memory(at, *bytes, *mode, identity),
            (Mount::Proc, _) => proc(),
            (Mount::Devices, _) => device_nodes(&devices),
            (Mount::Link { at, to }, _) => link(at, to),
            (Mount::Bind { .. } | Mount::Checked { .. }, _) => Err(io::ErrorKind::InvalidInput.into()),
        }
        .map_err(|error| (format!("{item:?}"), error))?;
    }
    drop(devices);

    rustix::process::chdir(SITE).map_err(on(Path::new(SITE)))?;
    // The old root lands on top of the new one and is taken off at once: no folder for it is needed.
    rustix::process::pivot_root(".", ".").map_err(on(Path::new("pivot_root")))?;
    unmount(".", UnmountFlags::DETACH).map_err(on(Path::new("the old root")))?;
    rustix::process::chdir("/").map_err(on(Path::new("/")))?;
    mount_remount("/", MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV, c"")
        .map_err(on(Path::new("/")))
}

fn clone_tree(from: &Path) -> io::Result<OwnedFd> {
    Ok(open_tree(CWD, from, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)?)
}

/// Reads a file that has to have a digest.
fn checked(from: &Path, sha256: &Digest) -> io::Result<Vec<u8>> {
    let wrong = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    // What is no file must not be waited for.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = std::fs::File::from(rustix::fs::open(from, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(wrong("it is no file".into()));
    }
    let mut bytes = Vec::new();
    file.take(CHECKED_LIMIT + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > CHECKED_LIMIT {
        return Err(wrong(format!("it has more than {CHECKED_LIMIT} bytes")));
    }
    match Digest::of(&bytes) {
        found if found == *sha256 => Ok(bytes),
        found => Err(wrong(format!("it is damaged: it has the digest {found} and must have {sha256}"))),
    }
}

/// Moves a cloned mount to its place and takes away what it must not allow.
fn place(source: &OwnedFd, at: &Path, allow: Allow) -> io::Result<()> {
    let target = site(at)?;
    match FileType::from_raw_mode(rustix::fs::fstat(source)?.st_mode) {
        FileType::Directory => std::fs::create_dir_all(&target)?,
        _ => empty_file(&target)?,
    }
    move_mount(source, "", CWD, &target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    let mut flags = MountFlags::BIND | MountFlags::NOSUID | MountFlags::NODEV;
    flags |= match allow {
        Allow::Read => MountFlags::RDONLY | MountFlags::NOEXEC,
        Allow::Execute => MountFlags::RDONLY,
        Allow::Write => MountFlags::NOEXEC,
    };
    Ok(mount_remount(&target, flags, c"")?)
}

/// Writes the file while nobody else sees its folder, and closes the folder for good.
fn content(at: &Path, bytes: &[u8]) -> io::Result<()> {
    const PAGE: usize = 4096;
    let target = site(at)?;
    let folder = target.parent().ok_or(io::ErrorKind::InvalidInput)?;
    std::fs::create_dir_all(folder)?;
    let size = bytes.len().next_multiple_of(PAGE) + PAGE;
    let options = std::ffi::CString::new(format!("mode=0755,size={size},nr_inodes=2"))?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    mount("tmpfs", folder, "tmpfs", flags, options.as_c_str())?;
    let flags_of_file = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let mut file = std::fs::File::from(rustix::fs::open(&target, flags_of_file, Mode::from_raw_mode(0o700))?);
    file.write_all(bytes)?;
    rustix::fs::fchmod(&file, Mode::from_raw_mode(0o555))?;
    drop(file);
    Ok(mount_remount(folder, flags | MountFlags::BIND | MountFlags::RDONLY, c"")?)
}

fn memory(at: &Path, bytes: u64, mode: u32, identity: &Identity) -> io::Result<()> {
    let target = site(at)?;
    std::fs::create_dir_all(&target)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let options = std::ffi::CString::new(format!("mode={mode:o},size={bytes},nr_inodes=16384"))?;
    mount("tmpfs", &target, "tmpfs", flags, options.as_c_str())?;
    rustix::fs::chown(&target, Some(Uid::from_raw(identity.uid)), Some(Gid::from_raw(identity.gid)))?;
    Ok(())
}

fn proc() -> io::Result<()> {
    let target = site(Path::new("/proc"))?;
    std::fs::create_dir_all(&target)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    Ok(mount("proc", &target, "proc", flags, c"subset=pid,hidepid=invisible")?)
}

fn device_nodes(machine: &OwnedFd) -> io::Result<()> {
    let folder = site(Path::new("/dev"))?;
    std::fs::create_dir_all(&folder)?;
    for name in DEVICES {
        let target = folder.join(name);
        empty_file(&target)?;
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let node = open_tree(machine, name, flags)?;
        move_mount(&node, "", CWD, &target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
        mount_remount(&target, MountFlags::BIND | MountFlags::NOSUID | MountFlags::NOEXEC, c"")?;
    }
    Ok(())
}

fn link(at: &Path, to: &Path) -> io::Result<()> {
    let target = site(at)?;
    if let Some(parent) = target.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::os::unix::fs::symlink(to, target)
}

fn empty_file(target: &Path) -> io::Result<()> {
    if let Some(parent) = target.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    rustix::fs::open(target, flags, Mode::from_raw_mode(0o444))?;
    Ok(())
}

/// Where a path of the new tree is while that tree is put together.
fn site(at: &Path) -> io::Result<PathBuf> {
    let inside =
        at.strip_prefix("/").map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "not an absolute path"))?;
    if inside.components().any(|part| !matches!(part, std::path::Component::Normal(_))) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "'..' in a path of the new tree"));
    }
    Ok(Path::new(SITE).join(inside))
}
