//! Where a file lies on its device.

#![expect(unsafe_code, reason = "the place of a file's blocks is an ioctl that nothing wraps")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::Path;

const PLACE_OF_BLOCK: libc::c_ulong = 1;
const BLOCK_SIZE: libc::c_ulong = 2;

/// One piece of a device, in bytes. It was a file's when it was asked for; what the device holds there is not promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Its first byte.
    pub offset: u64,
    /// How long it is.
    pub length: u64,
}

/// The place of a file that lies in one piece, as all files of a disc do; none if it does not, or if its file system has
/// no places to tell.
pub fn of(file: &Path) -> io::Result<Option<Extent>> {
    let file = File::open(file)?;
    let length = file.metadata()?.len();
    let Ok(size) = ask(&file, BLOCK_SIZE, 0) else { return Ok(None) };
    let Some(last) = length.checked_sub(1).and_then(|last| last.checked_div(size.into())) else { return Ok(None) };
    let Ok(last_block) = u32::try_from(last) else { return Ok(None) };
    let place_of = |block| ask(&file, PLACE_OF_BLOCK, block);
    match (place_of(0), place_of(last_block)) {
        (Ok(first), Ok(last)) => Ok(extent(first, last, last_block, size, length)),
        _ => Ok(None),
    }
}

/// The extent of a file whose block 0 is at `first` and whose block `number` is at `last`. Nothing lies at place 0: it is
/// the answer for a hole.
fn extent(first: u32, last: u32, number: u32, size: u32, length: u64) -> Option<Extent> {
    let in_one_piece = first > 0 && last.checked_sub(first) == Some(number);
    in_one_piece.then(|| Extent { offset: u64::from(first) * u64::from(size), length })
}

fn ask(file: &File, request: libc::c_ulong, value: u32) -> io::Result<u32> {
    let mut value = value;
    // SAFETY: both requests read and write one 32-bit number, which lives until the call returns.
    match unsafe { libc::ioctl(file.as_raw_fd(), request, &raw mut value) } {
        0 => Ok(value),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_file_in_one_piece_has_a_place() {
        let whole = Extent { offset: 100 * 2048, length: 5000 };
        assert_eq!(extent(100, 102, 2, 2048, 5000), Some(whole));
        assert_eq!(extent(100, 100, 0, 2048, 1), Some(Extent { length: 1, ..whole }));
        // In two pieces, in the wrong order, with a hole.
        assert_eq!(extent(100, 103, 2, 2048, 5000), None);
        assert_eq!(extent(100, 98, 2, 2048, 5000), None);
        assert_eq!(extent(0, 2, 2, 2048, 5000), None);
    }

    #[test]
    fn what_lies_nowhere_has_no_place() {
        assert_eq!(of(Path::new("/proc/self/status")).expect("it can be opened"), None);
        assert!(of(Path::new("/no/such/file")).is_err());
    }
}
