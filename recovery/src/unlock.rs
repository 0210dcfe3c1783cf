//! `unlock`: opens an encrypted partition with what a person types. It stays open until the machine ends, so the other
//! commands and the shell can read it; nothing is written by opening it.

use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use aios_linux::crypt;
use aios_linux::dm::MapperError;
use aios_luks::{Header, PASS_PHRASE_LIMIT, Room, VolumeKey};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use zeroize::{Zeroize as _, Zeroizing};

use crate::evidence;
use crate::failure::{Failure, at};
use crate::terminals;
use crate::volume::{Kind, kind_of};

/// What is left for everything else while a key is computed.
const RESERVE_KIB: u64 = 24 << 10;

/// Opens a partition, without a name the machine's only data partition, and says where it can be read.
pub(crate) fn run(device: Option<&str>) -> Result<(), Failure> {
    let partition = device.map_or_else(evidence::data_partition, |device| Ok(PathBuf::from(device)))?;
    let open = readable(partition.clone())?;
    if open == partition {
        println!("{} is not encrypted", partition.display());
    } else {
        println!("{} is open as {}; 'verify' and the others find it there", partition.display(), open.display());
    }
    Ok(())
}

/// Where what is on a device can be read: there, or, if it is encrypted, where it is open, for which a person is asked.
pub(crate) fn readable(device: PathBuf) -> Result<PathBuf, Failure> {
    // What cannot be looked at is told by whoever mounts it.
    if !matches!(kind_of(&device), Ok(Kind::Luks)) {
        return Ok(device);
    }
    if let Some(open) = open_already(&device)? {
        return Ok(open);
    }
    let unusable = |error: &dyn std::error::Error| {
        Failure::new(format!("the encryption of {} cannot be used", device.display()), error)
            .hint("'shell dmesg' shows what the kernel says; another system with cryptsetup may know more")
    };
    let mut disk = File::open(&device).map_err(at("open", &device))?;
    let length = disk.seek(io::SeekFrom::End(0)).map_err(at("read", &device))?;
    let read = |offset: u64, bytes: &mut [u8]| disk.read_exact_at(bytes, offset);
    let header = Header::read(&read).map_err(|error| unusable(&error))?;
    let header = header.ok_or_else(|| Failure::plain(format!("{} has no header to open it by", device.display())))?;
    let typed = ask(&format!("Pass phrase or recovery key of {}: ", device.display()))
        .map_err(|error| Failure::new("cannot ask for a pass phrase on this terminal", &error))?;
    println!("one moment");
    let room = Room { kib: aios_linux::memory::available_kib().saturating_sub(RESERVE_KIB) };
    let key: Option<VolumeKey> = header.unlock(&read, &typed, room).map_err(|error| unusable(&error))?;
    drop(typed);
    let key = key.ok_or_else(|| {
        Failure::plain(format!("that is neither the pass phrase nor the recovery key of {}", device.display()))
            .hint("the same command asks again")
    })?;
    let mapping = header.mapping(&key, &device.display().to_string(), length).map_err(|error| unusable(&error))?;
    let open = crypt::open(&name(&device), mapping.sectors, &mapping.parameters).map_err(|error| unusable(&error))?;
    Ok(open.path)
}

/// Where a partition is open, if it is.
pub(crate) fn open_already(device: &Path) -> Result<Option<PathBuf>, Failure> {
    match crypt::find(&name(device)) {
        Ok(found) => Ok(found.map(|device| device.path)),
        // Without device-mapper nothing is open.
        Err(MapperError::Control(_)) => Ok(None),
        Err(error) => Err(Failure::new(format!("cannot see whether {} is open", device.display()), &error)),
    }
}

fn name(device: &Path) -> String {
    format!("open-{}", device.file_name().unwrap_or_default().to_string_lossy())
}

/// Reads a line that the terminal does not show. Read past the usual buffer, which would keep a copy.
fn ask(question: &str) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut out = io::stdout();
    out.write_all(question.as_bytes())?;
    out.flush()?;
    let terminal = io::stdin();
    let mut state = tcgetattr(&terminal)?;
    state.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&terminal, OptionalActions::Flush, &state)?;
    let typed = line(|bytes| Ok(rustix::io::read(&terminal, bytes)?));
    terminals::make_ordinary()?;
    println!();
    typed
}

/// A line without its end; what is longer than any pass phrase is cut one byte behind the limit.
fn line(mut read: impl FnMut(&mut [u8]) -> io::Result<usize>) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut line = Zeroizing::new(Vec::with_capacity(PASS_PHRASE_LIMIT + 1));
    let mut bytes = Zeroizing::new([0; 64]);
    loop {
        let length = match read(bytes.as_mut_slice()) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        for byte in &bytes[..length] {
            match byte {
                b'\n' => return Ok(line),
                _ if line.len() <= PASS_PHRASE_LIMIT => line.push(*byte),
                _ => {}
            }
        }
        bytes.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(pieces: &[&[u8]]) -> io::Result<Zeroizing<Vec<u8>>> {
        let mut pieces = pieces.iter();
        line(|bytes| {
            let piece = pieces.next().copied().unwrap_or_default();
            bytes[..piece.len()].copy_from_slice(piece);
            Ok(piece.len())
        })
    }

    #[test]
    fn a_pass_phrase_is_one_line_of_a_limited_length() {
        assert_eq!(*typed(&[b"correct ", b"horse\n"]).expect("a line"), b"correct horse");
        assert_eq!(*typed(&[b"\n"]).expect("a line"), b"");
        assert!(typed(&[b"cut off"]).is_err());
        let long: Vec<&[u8]> = std::iter::repeat_n(&[b'x'; 64][..], 20).chain([&b"\n"[..]]).collect();
        assert_eq!(typed(&long).expect("a line").len(), PASS_PHRASE_LIMIT + 1);
    }

    #[test]
    fn what_is_not_encrypted_is_read_where_it_is() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        assert_eq!(readable(file.path().to_owned()).expect("itself"), file.path());
        assert_eq!(name(Path::new("/dev/nvme0n1p7")), "open-nvme0n1p7");
    }
}
