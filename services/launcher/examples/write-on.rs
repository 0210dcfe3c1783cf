//! An action's program that writes more than anybody allowed, for `launch-figures`: file after file in the folder that it
//! was given.
//!
//!     write-on COUNT keep     the files stay, and nothing is said of when they reach the disk
//!     write-on COUNT sync     each is on the disk before it is removed, so that the folder never holds more than one

use std::fs::File;
use std::io::{self, Write};

use rustix::fs::{AtFlags, Mode, OFlags};

/// Less than any limit of one file.
const SIZE: usize = 256 << 10;

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let wrong = || io::Error::other("usage: write-on COUNT keep|sync");
    let count: u32 = arguments.next().and_then(|text| text.parse().ok()).ok_or_else(wrong)?;
    let removes = match arguments.next().as_deref() {
        Some("keep") => false,
        Some("sync") => true,
        _ => return Err(wrong()),
    };
    let folder = aios_linux::inherited::resource()?;
    for number in 0..count {
        let name = format!("written-{number}");
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::openat(&folder, &name, flags, Mode::RUSR | Mode::WUSR)?);
        file.write_all(&[b'x'; SIZE])?;
        if removes {
            file.sync_all()?;
            rustix::fs::unlinkat(&folder, &name, AtFlags::empty())?;
        }
    }
    Ok(())
}
