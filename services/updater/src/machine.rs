//! This machine's disk and its EFI system partition, for as long as one operation needs them.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use aios_daemon::init::AskError;
use aios_image::esp::ENTRIES;
use aios_image::gpt::{Geometry, GptError};
use aios_image::layout::Part;
use aios_slots::VersionError;
use aios_wire::init::{Origin, Reply, Request, System};
use rustix::mount::{MountFlags, UnmountFlags};

use crate::apply::{Running, Target};
use crate::entries::Folder;

/// Where the EFI system partition is mounted while it is needed.
const ESP: &str = "/run/updater/esp";

/// The machine cannot be updated or looked at.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MachineError {
    #[error("this system was started from its medium, which is not updated: install it first")]
    NotInstalled,
    #[error("cannot ask PID 1 what runs")]
    Ask(#[from] AskError),
    #[error("PID 1 gave another answer than its status")]
    Answer,
    #[error("the running version cannot be read")]
    Version(#[from] VersionError),
    #[error("the running root hash cannot be read")]
    Root(#[from] aios_ids::IdError),
    #[error("cannot {doing} '{}'", path.display())]
    Device {
        doing: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("/dev/{disk} cannot be used")]
    Geometry {
        disk: String,
        #[source]
        source: GptError,
    },
}

/// What PID 1 says of the system.
pub(crate) fn system() -> Result<System, MachineError> {
    match aios_daemon::init::ask(&Request::Status)? {
        Reply::Status(system) => Ok(system),
        _ => Err(MachineError::Answer),
    }
}

/// The release that runs.
pub(crate) fn running(system: &System) -> Result<Running, MachineError> {
    Ok(Running { version: system.version.parse()?, root: system.root_hash.parse()? })
}

/// The disk that the running root is on.
pub(crate) fn disk(system: &System) -> Result<&str, MachineError> {
    match &system.origin {
        Origin::Disk { disk, .. } => Ok(disk),
        Origin::Live | Origin::Install => Err(MachineError::NotInstalled),
    }
}

/// The mounted EFI system partition; unmounted when it is dropped.
pub(crate) struct Esp(PathBuf);

impl Esp {
    /// Mounts the one of `disk`, for root alone and without execution.
    pub(crate) fn mount(disk: &str) -> Result<Self, MachineError> {
        let device = partition(disk, Part::Esp.number());
        let failed = |source| MachineError::Device { doing: "mount", path: device.clone(), source };
        fs::create_dir_all(ESP).map_err(failed)?;
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        rustix::mount::mount(&device, ESP, c"vfat", flags, c"umask=0077").map_err(|errno| failed(errno.into()))?;
        Ok(Self(PathBuf::from(ESP)))
    }

    /// Its boot entries.
    pub(crate) fn entries(&self) -> Folder {
        Folder(self.0.join(ENTRIES))
    }
}

impl Drop for Esp {
    fn drop(&mut self) {
        // Everything was synchronised file by file; a partition that stays mounted is only mounted again later.
        let _ = rustix::mount::unmount(&self.0, UnmountFlags::DETACH);
    }
}

/// The disk opened for an update, with its mounted entries.
pub(crate) fn target(disk: &str, esp: &Esp) -> Result<Target<File, Folder>, MachineError> {
    let path = Path::new("/dev").join(disk);
    let failed = |doing| {
        let path = path.clone();
        move |source| MachineError::Device { doing, path, source }
    };
    let file = File::options().read(true).write(true).open(&path).map_err(failed("open"))?;
    let attribute = |name: &str| fs::read_to_string(Path::new("/sys/block").join(disk).join(name));
    // The kernel counts in sectors of 512 bytes whatever the disk's own are.
    let bytes = attribute("size").map_err(failed("measure"))?.trim().parse::<u64>().unwrap_or(0) * 512;
    let sector = attribute("queue/logical_block_size").map_err(failed("measure"))?.trim().parse().unwrap_or(0);
    let geometry =
        Geometry::of(bytes, sector).map_err(|source| MachineError::Geometry { disk: disk.to_owned(), source })?;
    Ok(Target { disk: file, geometry, entries: esp.entries() })
}

/// The device file of a partition.
fn partition(disk: &str, number: usize) -> PathBuf {
    // A name that ends with a digit gets a `p` before the number.
    let p = if disk.ends_with(|letter: char| letter.is_ascii_digit()) { "p" } else { "" };
    PathBuf::from(format!("/dev/{disk}{p}{number}"))
}
