//! A FAT file system in a file or inside an image, read and written with mtools: USB sticks, answer volumes, the ESP.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::scenario::Failure;
use crate::vm::process::output;

/// A FAT file system.
#[derive(Debug, Clone)]
pub struct Fat {
    image: PathBuf,
    /// Where in the image it begins.
    offset: u64,
}

impl Fat {
    /// Makes a disk that is one FAT file system, without a partition table, as sticks often are.
    pub fn create(image: &Path, size: u64, label: &str) -> Result<Self, Failure> {
        let file = File::create(image).map_err(Failure::file("write", image))?;
        file.set_len(size).map_err(Failure::file("set the size of", image))?;
        let fat = Self { image: image.into(), offset: 0 };
        fat.mtool("mformat", &["-v", label, "::"])?;
        // mformat also writes a partition table whose one partition is the file system itself; no other tool does.
        file.write_all_at(&[0; 64], 446).map_err(Failure::file("write", image))?;
        Ok(fat)
    }

    /// The file system that begins at a byte of an image, such as the ESP of an ISO.
    #[must_use]
    pub fn within(image: &Path, offset: u64) -> Self {
        Self { image: image.into(), offset }
    }

    /// Makes a folder in one that is there.
    pub fn folder(&self, path: &str) -> Result<(), Failure> {
        self.mtool("mmd", &[&format!("::{path}")])?;
        Ok(())
    }

    /// Copies a file of this machine to a path such as `EFI/Linux/x.efi`, over what was there.
    pub fn put(&self, local: &Path, path: &str) -> Result<(), Failure> {
        self.mtool("mcopy", &["-o", &local.to_string_lossy(), &format!("::{path}")])?;
        Ok(())
    }

    /// Writes a file.
    pub fn write(&self, path: &str, content: &[u8]) -> Result<(), Failure> {
        let local = self.image.with_extension("file");
        fs::write(&local, content).map_err(Failure::file("write", &local))?;
        self.put(&local, path)?;
        fs::remove_file(&local).map_err(Failure::file("remove", &local))
    }

    /// Copies a file, or a folder with all it holds, to this machine.
    pub fn get(&self, path: &str, local: &Path) -> Result<(), Failure> {
        self.mtool("mcopy", &["-s", "-n", &format!("::{path}"), &local.to_string_lossy()])?;
        Ok(())
    }

    /// The paths of all files.
    pub fn files(&self) -> Result<Vec<String>, Failure> {
        let listing = self.mtool("mdir", &["-b", "-/", "::"])?;
        let listing = String::from_utf8_lossy(&listing).into_owned();
        let paths = listing.lines().filter_map(|line| line.strip_prefix("::/"));
        Ok(paths.filter(|path| !path.ends_with('/')).map(str::to_owned).collect())
    }

    fn mtool(&self, tool: &str, arguments: &[&str]) -> Result<Vec<u8>, Failure> {
        let image = format!("{}@@{}", self.image.display(), self.offset);
        let mut line = vec!["-i".into(), image.into()];
        line.extend(arguments.iter().map(Into::into));
        Ok(output(tool, "mtools", &line)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_comes_back_as_it_was_put() {
        let folder = tempfile::tempdir().expect("a folder");
        let fat = Fat::create(&folder.path().join("stick.img"), 4 << 20, "STICK").expect("mtools");
        fat.write("answers.toml", b"disk = \"only\"\n").expect("room");
        assert_eq!(fat.files().expect("a listing"), ["answers.toml"]);
        let local = folder.path().join("back");
        fat.get("answers.toml", &local).expect("the file");
        assert_eq!(fs::read(local).expect("a copy"), b"disk = \"only\"\n");
    }
}
