//! Doing what a plan says.
//!
//! The old table goes first and the new one comes last, with the release between, so a disk whose installation was cut
//! off has no table and counts as empty: the installation can simply be started again. The data partition, which the
//! kernel has to mount, is filled after that; everything is then read back from the disk. Its file system stays at the
//! template's size: PID 1 grows it at the first start, which takes a privilege that this program does not need.
//!
//! The header of an encrypted data partition is written before the table, too; its file system can only be written once
//! the kernel has the partition and its key ([`crate::encryption`]).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use aios_image::data::{DataError, SeedFile, Template};
use aios_image::disk::{self, DiskError, Payload};
use aios_image::gpt::{GptError, Write};
use aios_image::layout::{Part, Place};
use aios_image::medium::Medium as _;
use aios_image::second_reader::{self, SecondReaderError};
use rustix::mount::{MountFlags, UnmountFlags};

use crate::encryption::{DataDevice, EncryptionError, Keys};
use crate::plan::Plan;

/// How long the kernel may take to show a partition.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// The installation stopped. The disk is not bootable; starting again begins from the beginning.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// A device or file.
    #[error("cannot {doing} '{}'", path.display())]
    File {
        /// The step.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The release.
    #[error(transparent)]
    Release(#[from] DiskError),
    /// The table.
    #[error(transparent)]
    Table(#[from] GptError),
    /// The table, as another reader sees it.
    #[error(transparent)]
    TableReadBack(#[from] SecondReaderError),
    /// The data partition's file system.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The kernel does not show a partition.
    #[error("the kernel does not show partition {number} of /dev/{disk} after {} seconds", PATIENCE.as_secs())]
    Partition {
        /// The disk.
        disk: String,
        /// The partition's number.
        number: usize,
    },
    /// The data partition's encryption.
    #[error(transparent)]
    Encryption(#[from] EncryptionError),
    /// A first file reads back with other bytes.
    #[error("'{path}' on the data partition does not read back as it was written: the disk is faulty")]
    ReadBack {
        /// The file.
        path: String,
    },
}

/// Installs. `keys` are those of data that is to be encrypted, `seed` is fresh randomness, `template` the shipped empty
/// file system, `say` gets a line for each step.
pub fn carry_out(
    plan: &Plan,
    payload: &Payload,
    template: &[u8],
    files: &[SeedFile],
    keys: Option<&Keys>,
    seed: &[u8; 32],
    mut say: impl FnMut(&str),
) -> Result<(), InstallError> {
    let template = Template::parse(template)?;
    say("checking the release");
    payload.check_root()?;
    let path = PathBuf::from(plan.disk.path());
    let on_disk = |doing| {
        let path = path.clone();
        move |source| InstallError::File { doing, path, source }
    };
    let device = open(&path).map_err(on_disk("open"))?;
    say("removing what the disk had");
    wipe(&device, plan.disk.bytes, plan.layout.place(Part::BootState)).map_err(on_disk("wipe"))?;
    say("writing the release");
    let blocks = payload.release.blocks;
    let mut last = 0;
    disk::write_release(&device, &plan.layout, payload, seed, |done| {
        let tenths = done * 10 / blocks;
        if tenths != last {
            last = tenths;
            eprintln!("  {} %", tenths * 10);
        }
    })?;
    say("preparing the data partition");
    let place = plan.layout.place(Part::Data);
    match keys {
        None => template.write(&device, place, disk::data_uuid(seed))?,
        Some(keys) => keys.write(&device, place)?,
    }
    say("writing the partition table");
    disk::table(&plan.layout, payload, seed).write(&device, plan.layout.geometry, Write::New)?;
    reread(&device).map_err(on_disk("read the new partition table of"))?;
    // Nothing can be mounted from a disk that somebody has for himself.
    drop(device);
    let partition = partition(&plan.disk.name, Part::Data.number())?;
    say("filling the data partition");
    let data = DataDevice::open(&partition, keys.map(Keys::pass_phrase))?;
    if let DataDevice::Decrypted { path, bytes } = &data {
        let device =
            OpenOptions::new().read(true).write(true).open(path).map_err(on_disk("open the encrypted data of"))?;
        template.write(&device, Place { start: 0, length: *bytes }, disk::data_uuid(seed))?;
    }
    let filled = fill(data.path(), files);
    data.close()?;
    filled?;
    say("reading everything back");
    let device = open(&path).map_err(on_disk("open"))?;
    disk::check_release(&device, &plan.layout, payload, seed)?;
    second_reader::check(&device, plan.layout.geometry, &disk::table(&plan.layout, payload, seed))?;
    drop(device);
    // By the other key this time: both have been used once before anybody relies on them.
    let data = DataDevice::open(&partition, keys.map(Keys::recovery_key))?;
    let checked = check_files(data.path(), files);
    data.close()?;
    checked
}

/// For this program alone: a disk that somebody mounts in this moment is not overwritten.
fn open(path: &Path) -> io::Result<File> {
    let exclusive = i32::try_from(rustix::fs::OFlags::EXCL.bits()).unwrap_or_default();
    OpenOptions::new().read(true).write(true).custom_flags(exclusive).open(path)
}

/// Both ends, where tables are, and what an earlier installation kept in the boot state: its evidence is not this one's.
/// Everything else that counts is written anew.
fn wipe(device: &File, bytes: u64, boot_state: Place) -> io::Result<()> {
    let zeros = vec![0; 1 << 20];
    for offset in [0, bytes - zeros.len() as u64] {
        device.write_at(offset, &zeros)?;
    }
    device.write_at(boot_state.start, &vec![0; boot_state.length as usize])?;
    device.sync()
}

/// The kernel may still be looking at the disk after the last write.
fn reread(device: &File) -> io::Result<()> {
    let end = Instant::now() + PATIENCE;
    loop {
        match aios_linux::block::reread_partitions(device) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && Instant::now() < end => {
                thread::sleep(Duration::from_millis(100));
            }
            result => return result,
        }
    }
}

/// The device file of a partition, once the kernel has made it.
fn partition(disk: &str, number: usize) -> Result<PathBuf, InstallError> {
    // A name that ends with a digit gets a `p` before the number.
    let p = if disk.ends_with(|letter: char| letter.is_ascii_digit()) { "p" } else { "" };
    let path = PathBuf::from(format!("/dev/{disk}{p}{number}"));
    let end = Instant::now() + PATIENCE;
    while !path.exists() {
        if Instant::now() > end {
            return Err(InstallError::Partition { disk: disk.to_owned(), number });
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(path)
}

/// The data partition, mounted while this lives.
struct Data(PathBuf);

impl Data {
    fn mount(partition: &Path, flags: MountFlags) -> Result<Self, InstallError> {
        let point = PathBuf::from("/run/installer/data");
        let failed = |source| InstallError::File { doing: "mount", path: partition.to_owned(), source };
        fs::create_dir_all(&point).map_err(failed)?;
        let flags = flags | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        rustix::mount::mount(partition, &point, c"ext4", flags, None).map_err(|errno| failed(errno.into()))?;
        Ok(Self(point))
    }

    /// Unmounts and says whether everything is on the disk.
    fn unmount(self) -> Result<(), InstallError> {
        let failed = |source| InstallError::File { doing: "unmount", path: self.0.clone(), source };
        rustix::mount::unmount(&self.0, UnmountFlags::empty()).map_err(|errno| failed(errno.into()))
    }
}

fn fill(partition: &Path, files: &[SeedFile]) -> Result<(), InstallError> {
    let data = Data::mount(partition, MountFlags::empty())?;
    let filled = fill_mounted(&data.0, files);
    let unmounted = data.unmount();
    filled.and(unmounted)
}

fn fill_mounted(root: &Path, files: &[SeedFile]) -> Result<(), InstallError> {
    for file in files {
        let path = root.join(&file.path);
        let failed = |source| InstallError::File { doing: "write", path: path.clone(), source };
        let folder = path.parent().unwrap_or(root);
        if let Some(above) = folder.parent() {
            fs::create_dir_all(above).map_err(failed)?;
        }
        match fs::DirBuilder::new().mode(0o700).create(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
            _ => chown(folder, Some(file.owner), Some(file.owner)).map_err(failed)?,
        }
        let mut new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(failed)?;
        new.write_all(&file.bytes).and_then(|()| new.sync_all()).map_err(failed)?;
        chown(&path, Some(file.owner), Some(file.owner)).map_err(failed)?;
    }
    Ok(())
}

/// Mounted again, so that the bytes come from the disk.
fn check_files(partition: &Path, files: &[SeedFile]) -> Result<(), InstallError> {
    let data = Data::mount(partition, MountFlags::RDONLY)?;
    let mut result = Ok(());
    for file in files {
        if fs::read(data.0.join(&file.path)).ok().as_ref() != Some(&file.bytes) {
            result = Err(InstallError::ReadBack { path: file.path.clone() });
        }
    }
    let unmounted = data.unmount();
    result.and(unmounted)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;
    use std::process::Command;

    use aios_image::layout::Layout;

    use super::*;

    #[test]
    fn nothing_of_an_earlier_installation_is_left_where_it_would_count() {
        let bytes = 2 << 30;
        let place = Layout::plan(bytes, 512).expect("large enough").place(Part::BootState);
        let disk = tempfile::tempfile().expect("a file");
        disk.set_len(bytes).expect("sparse");
        let places = [512, place.start, place.start + place.length - 1, bytes - 512];
        for offset in places {
            disk.write_all_at(b"x", offset).expect("written");
        }
        wipe(&disk, bytes, place).expect("wiped");
        for offset in places {
            let mut byte = [1];
            disk.read_exact_at(&mut byte, offset).expect("readable");
            assert_eq!(byte, [0], "at {offset}");
        }
    }

    /// A loop device that goes away with the test.
    struct LoopDevice(PathBuf);

    impl LoopDevice {
        fn over(image: &Path) -> Self {
            let output = Command::new("losetup").args(["--find", "--show"]).arg(image).output().expect("losetup runs");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            Self(String::from_utf8(output.stdout).expect("a path").trim().into())
        }
    }

    impl Drop for LoopDevice {
        fn drop(&mut self) {
            let _ = Command::new("losetup").arg("--detach").arg(&self.0).status();
        }
    }

    #[test]
    #[ignore = "needs root, a loop device and ext4"]
    fn the_data_partition_keeps_its_files() {
        const SIZE: u64 = 1 << 30;
        let folder = tempfile::tempdir().expect("a folder");
        let packed = aios_image::data::template(folder.path()).expect("e2fsprogs is installed");
        let image = folder.path().join("data");
        let file = File::options().read(true).write(true).create_new(true).open(&image).expect("a file");
        file.set_len(SIZE).expect("sparse");
        let template = Template::parse(&packed).expect("a template");
        let place = Place { start: 0, length: SIZE };
        template.write(&file, place, disk::data_uuid(&[1; 32])).expect("written");
        let device = LoopDevice::over(&image);
        let seed = |path: &str, owner| SeedFile { path: path.into(), owner, bytes: path.into() };
        let files = [
            seed("system/policy/operators.json", 102),
            seed("system/settings/settings.json", 106),
            seed("system/settings/generations/1.json", 106),
        ];
        fill(&device.0, &files).expect("filled");
        check_files(&device.0, &files).expect("read back");
        let changed = [SeedFile { bytes: b"other".to_vec(), ..files[0].clone() }];
        assert!(matches!(check_files(&device.0, &changed), Err(InstallError::ReadBack { .. })));
        let checked = Command::new("e2fsck").args(["-f", "-n"]).arg(&device.0).output().expect("e2fsck runs");
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
        let stat = Command::new("debugfs").args(["-R", "stat system/settings"]).arg(&device.0).output();
        let stat = String::from_utf8(stat.expect("debugfs runs").stdout).expect("text");
        assert!(stat.contains("Mode:  0700") && stat.contains("User:   106"), "{stat}");
    }
}
