//! Boot entries on the EFI system partition, and `rollback`: the newest release's tries are spent, so that the boot
//! loader starts the one before it. The rules are those of [`aios_slots`]; this only carries them out.

use std::fs;
use std::io;
use std::path::Path;

use aios_image::esp::ENTRIES;
use aios_image::layout::Part;
use aios_slots::{UkiName, loader_choice};

use crate::blocks::{self, Block};
use crate::failure::{Failure, at};
use crate::volume::{Access, Mounted};

/// A boot entry with the name that its file has, in whatever case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) file: String,
    pub(crate) name: UkiName,
}

/// The boot entries of ours below a mounted EFI system partition, by name.
pub(crate) fn entries(esp: &Path) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for file in fs::read_dir(esp.join(ENTRIES))? {
        let file = file?.file_name().to_string_lossy().into_owned();
        // Others' files are not touched.
        if let Ok(name) = file.parse() {
            entries.push(Entry { file, name });
        }
    }
    entries.sort_by(|a, b| a.file.cmp(&b.file));
    Ok(entries)
}

/// What the loader would start by itself.
pub(crate) fn next(entries: &[Entry]) -> Option<UkiName> {
    loader_choice(&names(entries)).cloned()
}

fn names(entries: &[Entry]) -> Vec<UkiName> {
    entries.iter().map(|entry| entry.name.clone()).collect()
}

/// Goes back on the machine's disk of ours, or on the one that is named.
pub(crate) fn run(disk: Option<&str>) -> Result<(), Failure> {
    let device = esp(disk)?;
    let mounted = Mounted::open(&device, Access::Write)?;
    let told = go_back(mounted.path());
    mounted.close()?;
    println!("on {}: {}", device.display(), told?);
    Ok(())
}

fn go_back(esp: &Path) -> Result<String, Failure> {
    let folder = esp.join(ENTRIES);
    let found = entries(esp).map_err(at("read", &folder))?;
    let rename = aios_slots::rollback(&names(&found)).map_err(|error| {
        Failure::new("the boot loader cannot be sent back", &error).hint("'status' lists the boot entries")
    })?;
    let current = found.iter().find(|entry| entry.name == rename.from);
    let current = current.ok_or_else(|| Failure::plain(format!("{} is no longer there", rename.from)))?;
    let to = rename.to.to_string();
    fs::rename(folder.join(&current.file), folder.join(&to)).map_err(at("rename", folder.join(&current.file)))?;
    let next = next(&entries(esp).map_err(at("read", &folder))?);
    let next = next.map_or("no release".to_owned(), |name| format!("version {}", name.version));
    Ok(format!("{} is now {to}, and {next} starts next", current.file))
}

/// The EFI system partition of the disk that is meant.
fn esp(disk: Option<&str>) -> Result<std::path::PathBuf, Failure> {
    let blocks = blocks::list();
    let ours = |block: &&Block| block.number.is_none() && block.partitions().is_ok_and(|found| found.is_ours);
    let disks: Vec<&Block> = match disk {
        Some(disk) => blocks.iter().filter(|block| block.path() == Path::new(disk)).filter(ours).collect(),
        None => blocks.iter().filter(ours).collect(),
    };
    let disk = match disks.as_slice() {
        [] => {
            let what = disk.map_or("no disk here is".to_owned(), |disk| format!("{disk} is not"));
            return Err(Failure::plain(format!("{what} an AIOS disk with a readable partition table"))
                .hint("'status' lists the disks; name one as /dev/NAME"));
        }
        [one] => one,
        several => {
            let names: Vec<_> = several.iter().map(|disk| disk.path().display().to_string()).collect();
            return Err(Failure::plain(format!("several disks have AIOS on them: {}", names.join(", ")))
                .hint("name one: rollback DISK"));
        }
    };
    let partition = blocks::partition(&blocks, &disk.name, Part::Esp);
    let partition = partition.ok_or_else(|| {
        Failure::plain(format!("the kernel does not see the EFI system partition of {}", disk.path().display()))
            .hint("the first copy of its partition table is damaged; the installer or another machine can repair it")
    })?;
    Ok(partition.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn esp_with(files: &[&str]) -> tempfile::TempDir {
        let esp = tempfile::tempdir().expect("a folder");
        fs::create_dir_all(esp.path().join(ENTRIES)).expect("made");
        for file in files {
            fs::write(esp.path().join(ENTRIES).join(file), file).expect("written");
        }
        esp
    }

    #[test]
    fn the_newer_release_is_spent_and_the_older_one_starts() {
        let esp = esp_with(&["aios_1.0.efi", "AIOS_1.1+2-1.EFI", "other.efi"]);
        let told = go_back(esp.path()).expect("possible");
        assert_eq!(told, "AIOS_1.1+2-1.EFI is now aios_1.1+0-3.efi, and version 1.0 starts next");
        let files: Vec<_> = entries(esp.path()).expect("readable").into_iter().map(|entry| entry.file).collect();
        assert_eq!(files, ["aios_1.0.efi", "aios_1.1+0-3.efi"]);
        let moved = fs::read_to_string(esp.path().join(ENTRIES).join("aios_1.1+0-3.efi")).expect("there");
        assert_eq!(moved, "AIOS_1.1+2-1.EFI", "the file itself is the same");
    }

    #[test]
    fn the_only_release_is_not_given_up() {
        let esp = esp_with(&["aios_1.0.efi", "aios_1.1+0-3.efi"]);
        let why = go_back(esp.path()).expect_err("nothing to go back to").to_string();
        assert!(why.contains("no other release"), "{why}");
        assert_eq!(entries(esp.path()).expect("readable").len(), 2);
    }
}
