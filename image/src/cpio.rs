//! Initial RAM file systems: the `newc` archive that the kernel unpacks before it starts `/init`.
//!
//! Written by hand so that equal input gives equal bytes on every machine: no times, no inode numbers of the host, owner
//! root everywhere. It only writes; the kernel is the reader. Nothing here touches a file system.
//!
//! Rule to remember: the kernel drops an entry whose folder it has not seen yet, without a word. Hence an entry without
//! its folder is an error here.

use std::collections::BTreeSet;

/// The kernel refuses longer names.
const NAME_LIMIT: usize = 4096;

const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;
const CHARACTER: u32 = 0o020_000;

/// An archive being written.
#[derive(Debug, Default)]
pub struct Archive {
    bytes: Vec<u8>,
    paths: BTreeSet<String>,
}

/// Why an entry cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CpioError {
    /// Absolute, empty, too long, or with `.`, `..`, empty parts or NUL.
    #[error("{path:?} is no path for an archive: it must be relative, without `.`, `..`, empty parts and NUL")]
    Path {
        /// As given.
        path: String,
    },
    /// Twice the same path.
    #[error("{path} is already in the archive")]
    Twice {
        /// As given.
        path: String,
    },
    /// The kernel would drop the entry.
    #[error("{path} comes before its folder")]
    NoFolder {
        /// As given.
        path: String,
    },
    /// The format's sizes have 32 bits.
    #[error("{path} has {size} bytes; a file in the archive has less than 4 GiB")]
    Size {
        /// As given.
        path: String,
        /// Of its content.
        size: usize,
    },
}

impl Archive {
    /// An empty archive.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a folder.
    pub fn directory(&mut self, path: &str, mode: u32) -> Result<(), CpioError> {
        self.entry(path, DIRECTORY | mode, (0, 0), &[])
    }

    /// Adds a file.
    pub fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> Result<(), CpioError> {
        self.entry(path, REGULAR | mode, (0, 0), content)
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, path: &str, target: &str) -> Result<(), CpioError> {
        self.entry(path, SYMLINK | 0o777, (0, 0), target.as_bytes())
    }

    /// Adds a character device.
    pub fn character_device(&mut self, path: &str, mode: u32, major: u32, minor: u32) -> Result<(), CpioError> {
        self.entry(path, CHARACTER | mode, (major, minor), &[])
    }

    /// The whole archive, with its end mark.
    pub fn finish(mut self) -> Vec<u8> {
        self.write(0, "TRAILER!!!", 0, (0, 0), &[], 0);
        self.bytes
    }

    fn entry(&mut self, path: &str, mode: u32, device: (u32, u32), content: &[u8]) -> Result<(), CpioError> {
        check_path(path)?;
        if self.paths.contains(path) {
            return Err(CpioError::Twice { path: path.to_owned() });
        }
        if path.rsplit_once('/').is_some_and(|(folder, _)| !self.paths.contains(folder)) {
            return Err(CpioError::NoFolder { path: path.to_owned() });
        }
        let Ok(size) = u32::try_from(content.len()) else {
            return Err(CpioError::Size { path: path.to_owned(), size: content.len() });
        };
        self.paths.insert(path.to_owned());
        // Inode numbers only have to differ: equal ones would make hard links.
        let inode = self.paths.len() as u32;
        self.write(inode, path, mode, device, content, size);
        Ok(())
    }

    fn write(&mut self, inode: u32, name: &str, mode: u32, device: (u32, u32), content: &[u8], size: u32) {
        let links = if mode & DIRECTORY != 0 && mode & REGULAR == 0 { 2 } else { 1 };
        let name_size = name.len() as u32 + 1;
        self.bytes.extend_from_slice(b"070701");
        for field in [inode, mode, 0, 0, links, 0, size, 0, 0, device.0, device.1, name_size, 0] {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

fn check_path(path: &str) -> Result<(), CpioError> {
    let parts_hold =
        path.split('/').all(|part| !part.is_empty() && part != "." && part != ".." && !part.contains('\0'));
    if parts_hold && path.len() < NAME_LIMIT && path != "TRAILER!!!" {
        Ok(())
    } else {
        Err(CpioError::Path { path: path.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Name, mode, device and content.
    type Entry = (String, u32, (u32, u32), Vec<u8>);

    /// The entries, read the way `init/initramfs.c` does.
    fn read(mut bytes: &[u8]) -> Vec<Entry> {
        let mut entries = Vec::new();
        loop {
            assert_eq!(&bytes[..6], b"070701");
            let field = |index: usize| {
                let text = std::str::from_utf8(&bytes[6 + index * 8..14 + index * 8]).expect("digits");
                u32::from_str_radix(text, 16).expect("hexadecimal")
            };
            let (mode, size, name_size) = (field(1), field(6) as usize, field(11) as usize);
            let device = (field(9), field(10));
            let name = String::from_utf8(bytes[110..110 + name_size - 1].to_vec()).expect("text");
            assert_eq!(bytes[110 + name_size - 1], 0);
            let content_at = (110 + name_size).next_multiple_of(4);
            let content = bytes[content_at..content_at + size].to_vec();
            if name == "TRAILER!!!" {
                assert!(bytes.len() - content_at < 4);
                return entries;
            }
            entries.push((name, mode, device, content));
            bytes = &bytes[(content_at + size).next_multiple_of(4)..];
        }
    }

    #[test]
    fn entries_come_back_in_order() {
        let mut archive = Archive::new();
        archive.directory("dev", 0o755).expect("first");
        archive.character_device("dev/console", 0o600, 5, 1).expect("second");
        archive.file("init", 0o755, b"\x7fELF").expect("third");
        archive.link("sbin", "usr/bin").expect("fourth");
        assert_eq!(
            read(&archive.finish()),
            [
                ("dev".to_owned(), 0o040_755, (0, 0), vec![]),
                ("dev/console".to_owned(), 0o020_600, (5, 1), vec![]),
                ("init".to_owned(), 0o100_755, (0, 0), b"\x7fELF".to_vec()),
                ("sbin".to_owned(), 0o120_777, (0, 0), b"usr/bin".to_vec()),
            ]
        );
    }

    #[test]
    fn what_the_kernel_would_drop_is_refused() {
        let mut archive = Archive::new();
        archive.file("init", 0o755, b"").expect("first");
        let twice = archive.file("init", 0o755, b"");
        assert_eq!(twice, Err(CpioError::Twice { path: "init".to_owned() }));
        let orphan = archive.file("dev/console", 0o600, b"");
        assert_eq!(orphan, Err(CpioError::NoFolder { path: "dev/console".to_owned() }));
        for path in ["", "/init", "a/../b", "a//b", "a/", ".", "a\0b", "TRAILER!!!"] {
            assert_eq!(archive.file(path, 0, b""), Err(CpioError::Path { path: path.to_owned() }));
        }
    }

    proptest! {
        #[test]
        fn any_content_comes_back(contents in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..8)) {
            let mut archive = Archive::new();
            for (number, content) in contents.iter().enumerate() {
                archive.file(&format!("{}", 10_u64.pow(number as u32)), 0o644, content).expect("distinct names");
            }
            let read: Vec<_> = read(&archive.finish()).into_iter().map(|(_, _, _, content)| content).collect();
            prop_assert_eq!(read, contents);
        }

        #[test]
        fn no_path_panics(path in ".*") {
            let _ = Archive::new().file(&path, 0o644, b"");
        }
    }
}
