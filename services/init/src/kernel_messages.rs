//! The kernel's messages, for the unit that keeps them. PID 1 has the capability to open them and never reads them; they
//! stay open here, so that a reader that is started again goes on where it was.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt as _;

use crate::terminals::say_everywhere;

const MESSAGES: &str = "/dev/kmsg";

/// The messages, where a unit keeps them.
#[derive(Debug, Default)]
pub(crate) struct KernelMessages(Option<File>);

impl KernelMessages {
    /// Opens them. A kernel that does not give them starts the machine all the same.
    pub(crate) fn open() -> Self {
        let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        match OpenOptions::new().read(true).custom_flags(flags).open(MESSAGES) {
            Ok(file) => Self(Some(file)),
            Err(error) => {
                say_everywhere(&format!("init: the kernel's messages are not kept: {MESSAGES}: {error}"));
                Self::default()
            }
        }
    }

    /// What a unit that keeps them is given.
    pub(crate) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.0.as_ref().map(|file| file.as_fd())
    }
}
