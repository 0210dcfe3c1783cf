//! The boot entries on the EFI system partition, changed one file at a time.
//!
//! No file that a start may use is ever overwritten: a new one gets its final name when all of it is on the disk.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::PathBuf;

use aios_slots::{Rename, UkiName};

/// The four operations that an update needs; each is durable when it returns.
pub(crate) trait Entries {
    /// The entries that are ours. Other files are left alone and not listed.
    fn list(&self) -> io::Result<Vec<UkiName>>;
    /// Takes an entry away.
    fn remove(&self, name: &UkiName) -> io::Result<()>;
    /// Adds an entry with this content.
    fn add(&self, name: &UkiName, content: &[u8]) -> io::Result<()>;
    /// Gives an entry another name.
    fn rename(&self, change: &Rename) -> io::Result<()>;
}

/// The folder `EFI/Linux` of a mounted partition.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    fn path(&self, name: &UkiName) -> PathBuf {
        self.0.join(name.to_string())
    }

    /// Waits until the folder itself is on the disk.
    fn sync(&self) -> io::Result<()> {
        File::open(&self.0)?.sync_all()
    }
}

impl Entries for Folder {
    fn list(&self) -> io::Result<Vec<UkiName>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            names.extend(entry?.file_name().to_string_lossy().parse::<UkiName>().ok());
        }
        Ok(names)
    }

    fn remove(&self, name: &UkiName) -> io::Result<()> {
        fs::remove_file(self.path(name))?;
        self.sync()
    }

    fn add(&self, name: &UkiName, content: &[u8]) -> io::Result<()> {
        // The loader looks at nothing that does not end with `.efi`. A cut leaves this file, which the next update
        // writes again.
        let unfinished = self.0.join("unfinished.new");
        let mut file = File::create(&unfinished)?;
        file.write_all(content)?;
        file.sync_all()?;
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
        drop(file);
        if fs::read(&unfinished)? != content {
            return Err(io::Error::other("the file does not read back as it was written: the disk is faulty"));
        }
        fs::rename(&unfinished, self.path(name))?;
        self.sync()
    }

    fn rename(&self, change: &Rename) -> io::Result<()> {
        fs::rename(self.path(&change.from), self.path(&change.to))?;
        self.sync()
    }
}
