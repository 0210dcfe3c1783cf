//! `/aios`: the data of the machine, and the places of the system that live on it.
//!
//! On a live medium it is memory with a cap and gone with the boot. On an installed disk it is the ext4 partition named
//! `aios-data` on the disk of the running slot, and only there: another disk with that name is not looked at. When
//! it is encrypted, [`unlock`] asks for its pass phrase first.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use aios_wire::init::Origin;
use rustix::fs::{Gid, Mode, Uid, statvfs};
use rustix::mount::{MountFlags, mount, mount_bind, mount_remount};

use crate::failure::{Failure, at};
use crate::unit_files::Users;
use crate::{blocks, unlock};

const ROOT: &str = "/aios";
const PARTITION: &str = "aios-data";
const BOOT_STATE: &str = "aios-bootstate";
/// The home of whoever is logged in.
const HOME: &str = "/aios/system/root-home";

/// What there is to say about data that was mounted.
#[derive(Debug, Default)]
pub(crate) struct Opened {
    /// For the record, and what went wrong without stopping the start.
    pub(crate) notes: Vec<String>,
    /// How long was waited for a person to type a pass phrase.
    pub(crate) waited_ms: u64,
}

/// Mounts the data.
pub(crate) fn open(origin: &Origin, users: &Users) -> Result<Opened, Failure> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    let mut opened = Opened::default();
    match origin {
        Origin::Install => return Ok(opened),
        Origin::Live => mount("tmpfs", ROOT, "tmpfs", flags, c"mode=0755,size=40%").map_err(at("mount", ROOT))?,
        Origin::Disk { disk, .. } => {
            let blocks = blocks::list();
            let partition = blocks
                .iter()
                .find(|block| block.disk == *disk && block.part_name.as_deref() == Some(PARTITION))
                .ok_or_else(|| {
                    Failure::plain(format!("disk {disk} has no partition named {PARTITION}")).hint(RECOVERY)
                })?;
            let (mut device, mut sectors) = (partition.path(), partition.sectors);
            if let Some(unlocked) = unlock::open(partition)? {
                (device, sectors) = (unlocked.device, unlocked.sectors);
                opened.notes.push(unlocked.note);
                opened.waited_ms = unlocked.waited_ms;
            }
            mount(&device, ROOT, "ext4", flags | MountFlags::NOATIME, c"errors=remount-ro")
                .map_err(|error| at("mount the data partition", &device)(error).hint(RECOVERY))?;
            if let Err(error) = grow(sectors) {
                opened.notes.push(format!("the data file system could not grow to its partition: {error}"));
            }
        }
    }
    folders(users)?;
    Ok(opened)
}

pub(crate) const RECOVERY: &str = "start the recovery image from the boot menu";

/// The boot state partition of the running disk; none on a medium, and on a disk that has none.
pub(crate) fn boot_state(origin: &Origin) -> io::Result<Option<File>> {
    let Origin::Disk { disk, .. } = origin else { return Ok(None) };
    let blocks = blocks::list();
    let partition = blocks.iter().find(|block| block.disk == *disk && block.part_name.as_deref() == Some(BOOT_STATE));
    partition.map(|partition| File::options().read(true).write(true).open(partition.path())).transpose()
}

/// Grows the file system when its partition has room for more.
fn grow(sectors: u64) -> io::Result<()> {
    let size = statvfs(ROOT)?;
    let room = sectors.saturating_mul(512) / size.f_frsize.max(1);
    // The kernel keeps some blocks for itself; only a difference that matters is worth a try.
    if room > size.f_blocks + size.f_blocks / 8 {
        aios_linux::ext4::resize(Path::new(ROOT), room)?;
    }
    Ok(())
}

fn folders(users: &Users) -> Result<(), Failure> {
    folder("/aios/system", 0, 0, 0o755)?;
    folder("/aios/groups", 0, 0, 0o755)?;
    folder("/aios/groups/home", 0, 0, 0o755)?;
    folder("/aios/groups/home/files", 0, users.id("actions")?, 0o2770)?;
    let store = users.id("object-store")?;
    folder("/aios/store", store, store, 0o755)?;
    let operator = users.id("live")?;
    folder(HOME, operator, operator, 0o700)?;
    for (from, to) in [("/aios/store", "/nix/store"), (HOME, "/root")] {
        mount_bind(from, to).map_err(at("mount", to))?;
        let flags = MountFlags::BIND | MountFlags::NOSUID | MountFlags::NODEV;
        mount_remount(to, flags, c"").map_err(at("remount", to))?;
    }
    Ok(())
}

/// Makes a folder if it is not there, and sets its owner and mode in any case.
pub(crate) fn folder(path: &str, uid: u32, gid: u32, mode: u32) -> Result<(), Failure> {
    fs::create_dir_all(path).map_err(at("make", path))?;
    rustix::fs::chown(path, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))).map_err(at("give away", path))?;
    rustix::fs::chmod(path, Mode::from_raw_mode(mode)).map_err(at("set the mode of", path))
}
