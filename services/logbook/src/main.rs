//! Keeps what programs and the kernel say, across boots, and answers questions about it.
//!
//! It is not the evidence log: nothing is decided by it, it proves nothing, and the oldest goes when there is too much.
//! PID 1 reads the pipes and keeps the newest lines in memory; this service comes and takes them, so that a full or slow
//! disk stops nobody but this service.

mod book;
mod boots;
mod door;
mod files;
mod intake;
mod kmsg;
mod search;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;

use aios_daemon::{Fatal, error_chain};
use aios_linux::inherited;

use crate::book::Book;
use crate::door::Door;
use crate::intake::Shared;

/// The folder that PID 1 made for it.
const FOLDER: &str = "/aios/system/logs";

fn main() -> ExitCode {
    aios_daemon::run(run())
}

async fn run() -> Result<(), Fatal> {
    let boot_id = std::env::var("AIOS_BOOT_ID").map_err(|error| Fatal::new("PID 1 gave no AIOS_BOOT_ID", &error))?;
    let folder = Path::new(FOLDER);
    let shared = Arc::new(Shared::new(Book::open(folder, &boot_id)?));
    // Without either of the two there are fewer lines, and the others are kept all the same.
    match inherited::kernel_messages() {
        Ok(messages) => {
            let shared = Arc::clone(&shared);
            start("kernel", move || intake::follow_kernel(&shared, &messages))?;
        }
        Err(error) => eprintln!("<4>the kernel's messages are not kept: {error}"),
    }
    let units = Arc::clone(&shared);
    start("units", move || {
        intake::follow_units(&units, |report| match boots::add(folder, report) {
            Ok(boots) => intake::say_if_slow(&boots),
            Err(error) => eprintln!("<4>how long this boot took is not kept: {}", error_chain(&error)),
        });
    })?;
    aios_daemon::ready()?;
    aios_daemon::serve("/org/aios/Logs1", move |caller| Door::new(caller, folder, Arc::clone(&shared))).await?;
    Ok(())
}

fn start(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), Fatal> {
    thread::Builder::new().name(name.into()).spawn(work)?;
    Ok(())
}
