//! The layout of the console's keyboard. All screens share one table of keys, which the kernel changes for PID 1 alone.

use std::path::Path;

use aios_settings::keyboard::Layout;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// Any of the screen's terminals stands for all.
const SCREEN: &str = "/dev/tty1";

/// Writes the layout of this name; the error says why not. A machine without a screen has nothing to write to.
pub(crate) fn lay_out(name: &str) -> Result<(), String> {
    lay_out_at(Path::new(SCREEN), name)
}

fn lay_out_at(screen: &Path, name: &str) -> Result<(), String> {
    let layout: Layout = name.parse().map_err(|error| format!("'{}': {error}", name.escape_default()))?;
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let screen = match rustix::fs::open(screen, flags, Mode::empty()) {
        Ok(screen) => screen,
        Err(Errno::NOENT | Errno::NXIO | Errno::NODEV) => return Ok(()),
        Err(error) => return Err(format!("the screen's terminal cannot be opened: {error}")),
    };
    for entry in layout.entries() {
        // A table that is cut off in the middle is written whole by the next call.
        aios_linux::keyboard::set(&screen, entry.table as u8, entry.key, entry.value)
            .map_err(|error| format!("the kernel does not take key {} of {layout}: {error}", entry.key))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_layout_or_no_screen_is_told() {
        let error = lay_out_at(Path::new("/dev/null"), "\u{1b}[2J").expect_err("no layout");
        assert!(error.contains("it has us") && !error.contains('\u{1b}'), "{error}");
        let error = lay_out_at(Path::new("/dev/null"), "de").expect_err("no screen");
        assert!(error.contains("does not take key 41 of de"), "{error}");
        assert_eq!(lay_out_at(Path::new("/dev/no-screen"), "de"), Ok(()), "nothing to do");
    }
}
