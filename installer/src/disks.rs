//! The disks of this machine, as the kernel describes them, and what is on each.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use aios_image::gpt::{Geometry, Table};

/// How much of a disk's beginning and end has to be zeros for it to count as empty.
const EDGE: usize = 1 << 20;

/// Kinds of block devices that no system is installed on.
const NOT_DISKS: [&str; 8] = ["loop", "ram", "zram", "dm-", "sr", "fd", "md", "nbd"];

/// One disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// The kernel's name, such as `vda`.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// Bytes in its sectors.
    pub sector: u32,
    /// The maker's number, when it has one.
    pub serial: Option<String>,
    /// The maker's name for it, or nothing.
    pub model: String,
    /// Whether it refuses writes.
    pub read_only: bool,
    /// Who uses it.
    pub in_use: Option<String>,
    /// Whether the running system came from it.
    pub is_medium: bool,
    /// What is on it.
    pub content: Content,
}

/// What is on a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Zeros at both ends.
    Empty,
    /// In words.
    Something(String),
}

/// The disks cannot be listed.
#[derive(Debug, thiserror::Error)]
#[error("cannot read '{}'", path.display())]
pub struct DisksError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl Disk {
    /// Its device file.
    pub fn path(&self) -> String {
        format!("/dev/{}", self.name)
    }
}

impl fmt::Display for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} MiB", self.path(), self.bytes >> 20)?;
        if !self.model.is_empty() {
            write!(f, ", {}", self.model)?;
        }
        if let Some(serial) = &self.serial {
            write!(f, ", serial {serial}")?;
        }
        f.write_str(")")
    }
}

/// Every disk, in the order of names. `medium` is the device that the running system came from.
pub fn find(medium: Option<&str>) -> Result<Vec<Disk>, DisksError> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let system = Path::new("/sys/block");
    let at = |source| DisksError { path: system.to_owned(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(system).map_err(at)? {
        let name = entry.map_err(at)?.file_name().to_string_lossy().into_owned();
        if !NOT_DISKS.iter().any(|kind| name.starts_with(kind)) {
            names.push(name);
        }
    }
    names.sort();
    let describe = |name: String| describe(system, &name, &mounts, medium);
    Ok(names.into_iter().map(describe).filter(|disk| disk.bytes > 0).collect())
}

fn describe(system: &Path, name: &str, mounts: &str, medium: Option<&str>) -> Disk {
    let folder = system.join(name);
    let text = |attribute: &str| fs::read_to_string(folder.join(attribute)).unwrap_or_default().trim().to_owned();
    // The kernel counts in sectors of 512 bytes whatever the disk's own are.
    let bytes = text("size").parse::<u64>().unwrap_or(0) * 512;
    // No guess: a table for sectors of another size is one that firmware does not find. A layout refuses zero.
    let sector = text("queue/logical_block_size").parse().unwrap_or(0);
    let serial = [text("serial"), text("device/serial")].into_iter().find(|serial| !serial.is_empty());
    let partitions = partitions(&folder, name);
    let is_medium = medium.is_some_and(|medium| medium == name || partitions.iter().any(|part| part == medium));
    Disk {
        name: name.to_owned(),
        bytes,
        sector,
        serial,
        model: text("device/model"),
        read_only: text("ro") == "1",
        in_use: user(&folder, name, &partitions, mounts),
        is_medium,
        content: content(&Path::new("/dev").join(name), bytes, sector),
    }
}

fn partitions(folder: &Path, name: &str) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|entry| entry.starts_with(name)).collect()
}

/// What keeps the disk from being taken: a mount, or a device made of it.
fn user(folder: &Path, name: &str, partitions: &[String], mounts: &str) -> Option<String> {
    let mut places = vec![(name.to_owned(), folder.to_owned())];
    places.extend(partitions.iter().map(|part| (part.clone(), folder.join(part))));
    for (name, place) in places {
        let number = fs::read_to_string(place.join("dev")).unwrap_or_default();
        if let Some(point) = mount_point(mounts, number.trim()) {
            return Some(format!("/dev/{name} is mounted on {point}"));
        }
        let holder = fs::read_dir(place.join("holders")).into_iter().flatten().flatten().next();
        if let Some(holder) = holder {
            return Some(format!("/dev/{name} is part of {}", holder.file_name().to_string_lossy()));
        }
    }
    None
}

/// Where the device with this `major:minor` is mounted, from `mountinfo`.
fn mount_point<'a>(mounts: &'a str, number: &str) -> Option<&'a str> {
    let mut lines = mounts.lines().map(|line| line.split(' '));
    lines.find_map(|mut fields| if fields.nth(2) == Some(number) { fields.nth(1) } else { None })
}

fn content(device: &Path, bytes: u64, sector: u32) -> Content {
    match examine(device, bytes, sector) {
        Ok(content) => content,
        // A disk that cannot be read is never taken for an empty one.
        Err(error) => Content::Something(format!("something that cannot be read: {error}")),
    }
}

fn examine(device: &Path, bytes: u64, sector: u32) -> io::Result<Content> {
    let file = File::open(device)?;
    if let Ok(table) = Geometry::of(bytes, sector).and_then(|geometry| Table::read(&file, geometry)) {
        let names: Vec<&str> = table.entries.iter().flatten().map(|entry| entry.name.as_str()).collect();
        let named = names.iter().map(|name| name.escape_default().to_string()).collect::<Vec<_>>().join(", ");
        return Ok(Content::Something(format!("{} partitions: {named}", names.len())));
    }
    let mut edge = vec![0; EDGE.min(usize::try_from(bytes).unwrap_or(EDGE))];
    for offset in [0, bytes - edge.len() as u64] {
        file.read_exact_at(&mut edge, offset)?;
        if edge.iter().any(|byte| *byte != 0) {
            return Ok(Content::Something("data without a partition table".to_owned()));
        }
    }
    Ok(Content::Empty)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_found_by_its_device_number() {
        let mounts = "22 1 0:20 / /proc rw - proc proc rw\n41 1 254:7 / /aios rw,nosuid - ext4 /dev/vda7 rw\n";
        assert_eq!(mount_point(mounts, "254:7"), Some("/aios"));
        assert_eq!(mount_point(mounts, "254:70"), None);
        assert_eq!(mount_point("", "254:7"), None);
    }

    #[test]
    fn only_zeros_at_both_ends_are_empty() {
        let image = tempfile::NamedTempFile::new().expect("a file");
        image.as_file().set_len(8 << 20).expect("sparse");
        let look = || examine(image.path(), 8 << 20, 512).expect("readable");
        assert_eq!(look(), Content::Empty);
        image.as_file().write_all_at(b"x", (8 << 20) - 1).expect("written");
        assert_eq!(look(), Content::Something("data without a partition table".into()));
    }

    #[test]
    fn an_unreadable_disk_is_not_empty() {
        assert!(matches!(content(Path::new("/nonexistent"), 1 << 30, 512), Content::Something(_)));
    }
}
