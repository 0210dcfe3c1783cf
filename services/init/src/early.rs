//! The initial RAM file system: find the root that the command line names, verify it, move there.
//!
//! The root is known by its hash alone. On an installed disk the hash is in the partitions' ids; on our medium it is in
//! two files, and so it is in a kernel image that carries its own root. A disk is used only if the boot loader came from it, or, when the firmware does not say where the loader
//! came from, if no medium of ours is there: an installed disk must not be taken over by a live start.

use std::fs::{self, Permissions};
use std::io::{self, Read as _, Seek as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aios_linux::{extent, loopdev, verity};
use aios_slots::Slot;
use aios_verity::{BLOCK, root_partuuid, target_parameters, tree_partuuid};
use aios_wire::init::Origin;
use rustix::fs::Mode;
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_move, unmount};

use crate::blocks::{self, Block};
use crate::cmdline::{self, CommandLine};
use crate::failure::{Failure, at};
use crate::measure::Words;
use crate::{clock, efi, last_words, memory, terminals, watchdog};

/// Devices may take so long to appear.
const PATIENCE_MS: u64 = 10_000;
/// A disk is not taken before a medium of ours had so long to appear, if the firmware does not say which is meant.
const MEDIUM_FIRST_MS: u64 = 2_000;
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(10);

const NEW_ROOT: &str = "/sysroot";
/// Where the loader's stub puts `.pcrsig` and `.pcrpkey` of the kernel image, and where they stay.
const STUB: &str = "/.extra";
const POLICIES: &str = "/run/aios-tpm";
/// Where a medium of ours stays mounted; it moves along with `/run`.
const MEDIUM: &str = "/run/medium";

/// The root of a kernel image that starts alone, and its hash tree: files of this very file system.
const OWN_ROOT: &str = "/aios/root.erofs";
const OWN_TREE: &str = "/aios/root.verity";

/// A place that claims to hold the root.
struct Candidate {
    /// The partition or the medium.
    device: PathBuf,
    data: PathBuf,
    tree: PathBuf,
    origin: Origin,
}

/// What the start before the root leaves for the rest.
pub(crate) struct Early {
    pub(crate) origin: Origin,
    pub(crate) words: Words,
    /// What is worth knowing and does not stop the start.
    pub(crate) notes: Vec<String>,
}

/// Finds the root, verifies it and makes it the root of this process. The program itself goes on as it is: it came in
/// the same signed image as the root's hash, and executing the root's copy of it would only read it a second time.
pub(crate) fn find_root_and_move_there() -> Result<Early, Failure> {
    mount_kernel_views()?;
    keep_policies();
    last_words::keep();
    let watchdogs = watchdog::take();
    let mut words = Words::begin();
    memory::say_if_too_little();
    let line = fs::read_to_string("/proc/cmdline").map_err(at("read", "/proc/cmdline"))?;
    let line = cmdline::parse(&line).map_err(|error| Failure::new("the kernel command line is no good", error))?;
    let origin = find_root(&line)?;
    move_to_new_root()?;
    words.entered(&origin);
    Ok(Early { origin, words, notes: watchdogs })
}

fn mount_kernel_views() -> Result<(), Failure> {
    let plain = MountFlags::NOSUID | MountFlags::NOEXEC | MountFlags::NODEV;
    for (kind, place, flags, options) in [
        ("devtmpfs", "/dev", MountFlags::NOSUID | MountFlags::NOEXEC, c"mode=0755"),
        ("proc", "/proc", plain, c"hidepid=invisible"),
        ("sysfs", "/sys", plain, c""),
        ("tmpfs", "/run", MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC, c"mode=0755,size=32m"),
    ] {
        fs::create_dir_all(place).map_err(at("make", place))?;
        mount(kind, place, kind, flags, options).map_err(at("mount", place))?;
    }
    if Path::new(efi::VARIABLES).is_dir() {
        // Without the variables the machine still starts; it only cannot tell which disk the loader came from.
        if let Err(error) = mount("efivarfs", efi::VARIABLES, "efivarfs", plain, c"") {
            terminals::say_everywhere(&format!("init: firmware variables cannot be read: {error}"));
        }
    }
    Ok(())
}

/// Keeps what the loader's stub took out of the image for whoever seals something, in a place that stays. The folder is
/// there in any case, because it is in the view of a unit. Without the files nothing is sealed, which is said there.
fn keep_policies() {
    let kept = fs::create_dir_all(POLICIES).and_then(|()| {
        for name in ["tpm2-pcr-signature.json", "tpm2-pcr-public-key.pem"] {
            let from = Path::new(STUB).join(name);
            if from.is_file() {
                fs::copy(from, Path::new(POLICIES).join(name))?;
                fs::set_permissions(Path::new(POLICIES).join(name), Permissions::from_mode(0o444))?;
            }
        }
        Ok(())
    });
    if let Err(error) = kept {
        terminals::say_everywhere(&format!("init: the signed policies for the TPM cannot be kept: {error}"));
    }
}

/// Waits for a device that holds the root and mounts it.
fn find_root(line: &CommandLine) -> Result<Origin, Failure> {
    fs::create_dir_all(NEW_ROOT).map_err(at("make", NEW_ROOT))?;
    if Path::new(OWN_ROOT).is_file() {
        // It came under the same signature as the hash. If it is damaged, no other device is what was meant.
        let [data, tree] = [OWN_ROOT, OWN_TREE].map(PathBuf::from);
        let own = Candidate { device: data.clone(), data, tree, origin: Origin::Live };
        open_root(line, &own)?;
        return Ok(own.origin);
    }
    let began = clock::now_ms();
    let loader = efi::loader_partition();
    let mut said = false;
    let mut refused: Vec<(PathBuf, String)> = Vec::new();
    loop {
        let waited = clock::now_ms() - began;
        let blocks = blocks::list();
        for candidate in candidates(line, &blocks, loader.as_deref(), waited, &mut refused) {
            if refused.iter().any(|(path, _)| *path == candidate.device) {
                continue;
            }
            match open_root(line, &candidate) {
                Ok(()) => return Ok(candidate.origin),
                Err(failure) => {
                    terminals::say_everywhere(&format!("init: {failure}"));
                    refused.push((candidate.device, failure.to_string()));
                    // If it was a medium, its place is free for the next one; if not, nothing is there.
                    let _ = unmount(MEDIUM, UnmountFlags::DETACH);
                }
            }
        }
        if waited >= PATIENCE_MS {
            return Err(not_found(line, &blocks, refused));
        }
        if !said && waited >= 1_000 {
            said = true;
            terminals::say_everywhere(&format!(
                "init: waiting up to {} s for the root {} on a partition {} or a medium of ours",
                PATIENCE_MS / 1000,
                line.root,
                root_partuuid(&line.root)
            ));
        }
        std::thread::sleep(PAUSE);
    }
}

fn not_found(line: &CommandLine, blocks: &[Block], refused: Vec<(PathBuf, String)>) -> Failure {
    let hint = "start another entry of the boot menu, or the recovery image";
    if let Some((_, reason)) = refused.into_iter().next_back() {
        return Failure::plain(format!("no device holds the root {}; the last one: {reason}", line.root)).hint(hint);
    }
    let seen: Vec<&str> = blocks.iter().map(|block| block.name.as_str()).collect();
    let seen = if seen.is_empty() { "none".to_owned() } else { seen.join(", ") };
    Failure::plain(format!("no device holds the root {} of release {}; devices: {seen}", line.root, line.version))
        .hint(hint)
}

/// Where the root may be, best first.
fn candidates(
    line: &CommandLine,
    blocks: &[Block],
    loader: Option<&str>,
    waited_ms: u64,
    refused: &mut Vec<(PathBuf, String)>,
) -> Vec<Candidate> {
    let loader_disk = loader
        .and_then(|uuid| blocks.iter().find(|block| block.part_uuid.as_deref() == Some(uuid)))
        .map(|block| block.disk.as_str());
    let slots = slots(line, blocks);
    if let Some(disk) = loader_disk {
        let own: Vec<Candidate> = slots
            .into_iter()
            .filter(|slot| matches!(&slot.origin, Origin::Disk { disk: d, .. } if d == disk))
            .collect();
        if !own.is_empty() {
            return own;
        }
        return medium(line, blocks.iter().filter(|block| block.name == disk), refused).into_iter().collect();
    }
    match medium(line, blocks.iter().filter(|block| !block.is_partition), refused) {
        Some(medium) => vec![medium],
        // A loader partition that is named but not there yet is waited for.
        None if loader.is_none() && waited_ms >= MEDIUM_FIRST_MS => slots,
        None => Vec::new(),
    }
}

/// Pairs of partitions that carry the root hash in their ids.
fn slots(line: &CommandLine, blocks: &[Block]) -> Vec<Candidate> {
    let with = |uuid: String| blocks.iter().filter(move |block| block.part_uuid.as_deref() == Some(&uuid));
    let pair = |data: &Block| {
        let tree = with(tree_partuuid(&line.root)).find(|tree| tree.disk == data.disk)?;
        let slot = Slot::of_root_partition(data.part_number?)?;
        let origin = Origin::Disk { disk: data.disk.clone(), slot: slot.to_string() };
        Some(Candidate { device: data.path(), data: data.path(), tree: tree.path(), origin })
    };
    with(root_partuuid(&line.root)).filter_map(pair).collect()
}

/// The first of `blocks` that is a medium of ours, mounted.
fn medium<'a>(
    line: &CommandLine,
    blocks: impl Iterator<Item = &'a Block>,
    refused: &mut Vec<(PathBuf, String)>,
) -> Option<Candidate> {
    for block in blocks {
        let device = block.path();
        if refused.iter().any(|(path, _)| *path == device) || !is_iso9660(&device).unwrap_or(false) {
            continue;
        }
        match mount_medium(line, &device) {
            Ok(candidate) => return Some(candidate),
            Err(failure) => refused.push((device, failure.to_string())),
        }
    }
    None
}

fn mount_medium(line: &CommandLine, device: &Path) -> Result<Candidate, Failure> {
    fs::create_dir_all(MEDIUM).map_err(at("make", MEDIUM))?;
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount(device, MEDIUM, "iso9660", flags, c"").map_err(at("mount", device))?;
    let (data, tree) = (Path::new(MEDIUM).join("aios/root.erofs"), Path::new(MEDIUM).join("aios/root.verity"));
    let bytes = fs::metadata(&data).map(|data| data.len());
    if !matches!(bytes, Ok(bytes) if bytes >= line.blocks * BLOCK as u64) || !tree.is_file() {
        let _ = unmount(MEDIUM, UnmountFlags::DETACH);
        return Err(Failure::plain(format!("{} is a disc without a root of {} blocks", device.display(), line.blocks)));
    }
    let origin = match efi::chosen_entry() {
        Some(entry) if entry.starts_with("install") => Origin::Install,
        _ => Origin::Live,
    };
    Ok(Candidate { device: device.to_owned(), data, tree, origin })
}

/// The volume descriptor of a disc is in its 17th sector of 2048 bytes.
fn is_iso9660(device: &Path) -> io::Result<bool> {
    let mut file = fs::File::open(device)?;
    file.seek(io::SeekFrom::Start(16 * 2048))?;
    let mut descriptor = [0; 6];
    file.read_exact(&mut descriptor)?;
    Ok(&descriptor == b"\x01CD001")
}

/// Puts the root under dm-verity and mounts it.
fn open_root(line: &CommandLine, candidate: &Candidate) -> Result<(), Failure> {
    // Loop devices that nothing uses any more go by themselves when these are dropped.
    let mut loops = Vec::new();
    let mut device = |path: &PathBuf| match path.starts_with("/dev") {
        true => Ok(path.clone()),
        false => {
            // Straight from the medium's device, where that can be: through the medium's file system every block that is
            // read stays in memory a second time.
            let attached = match extent::of(path).map_err(at("find", path))? {
                Some(part) if candidate.device.starts_with("/dev") => loopdev::attach_part(&candidate.device, part),
                _ => loopdev::attach(path),
            };
            let attached = attached.map_err(at("make a block device of", path))?;
            let device = attached.path.clone();
            loops.push(attached);
            Ok(device)
        }
    };
    let (data, tree) = (device(&candidate.data)?, device(&candidate.tree)?);
    let parameters =
        target_parameters(&data.display().to_string(), &tree.display().to_string(), line.blocks, &line.root);
    let sectors = line.blocks * (BLOCK as u64 / 512);
    let name = "aios-root";
    let root = verity::open(name, sectors, &parameters)
        .map_err(|error| Failure::new(format!("cannot verify {}", candidate.data.display()), error))?;
    let flags = MountFlags::RDONLY | MountFlags::NODEV | MountFlags::NOSUID;
    mount(&root.path, NEW_ROOT, "erofs", flags, c"").map_err(|error| {
        let _ = verity::remove(name);
        let what = format!("the root on {} does not have the hash {}", candidate.data.display(), line.root);
        Failure::new(what, error)
    })
}

/// Moves all mounts to the new root and makes it the root.
fn move_to_new_root() -> Result<(), Failure> {
    for place in ["/dev", "/proc", "/sys", "/run"] {
        let target = format!("{NEW_ROOT}{place}");
        mount_move(place, &target).map_err(at("move the mount", place))?;
    }
    // The archive's memory is given back; nothing of it is needed any more.
    let _ = rustix::fs::unlink("/init");
    rustix::process::chdir(NEW_ROOT).map_err(at("enter", NEW_ROOT))?;
    mount_move(".", "/").map_err(at("move the root to", "/"))?;
    rustix::process::chroot(".").map_err(at("change the root to", NEW_ROOT))?;
    rustix::process::chdir("/").map_err(at("enter", "/"))?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    Ok(())
}
