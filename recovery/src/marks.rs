//! The marks of OSC 133, as the console of the whole system sets them: where a prompt begins and ends, where a command's
//! output begins, and with which status it ended. Whatever drives that console can drive this one.

use std::io::{self, Write};

/// Shows a prompt between its marks.
pub(crate) fn prompt(text: &str) -> io::Result<()> {
    show(&format!("\x1b]133;A\x1b\\{text}\x1b]133;B\x1b\\"))
}

/// What follows is a command's output.
pub(crate) fn output_begins() -> io::Result<()> {
    show("\x1b]133;C\x1b\\")
}

/// The command has ended.
pub(crate) fn command_ended(status: u8) -> io::Result<()> {
    show(&format!("\x1b]133;D;{status}\x1b\\"))
}

fn show(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
