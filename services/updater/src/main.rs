//! The updater: writes a signed release into the slot that does not run, and marks the running one good.
//!
//! It decides nothing about whether an update may happen: only action-runtime calls it, after policy. The order of
//! writes is in [`apply`], the names that the boot loader counts by in `aios-slots`.

mod apply;
mod bless;
mod entries;
mod interface;
mod machine;
mod source;

use std::fs;
use std::process::ExitCode;
use std::sync::Arc;

use aios_daemon::{Fatal, Work, error_chain};
use aios_image::release::ReleaseKey;
use tokio::sync::Mutex;

use interface::{Shared, Updater1};

const RELEASE_KEY: &str = "/usr/share/aios/keys/release.pub";

fn main() -> ExitCode {
    aios_daemon::run(run())
}

async fn run() -> Result<(), Fatal> {
    let text = fs::read_to_string(RELEASE_KEY).map_err(|error| Fatal::new("cannot read the release key", &error))?;
    let key = ReleaseKey::parse(&text)?;
    let shared = Arc::new(Shared { key, writing: Mutex::new(()), work: Work::default() });
    let marking = shared.work.begin();
    aios_daemon::ready()?;
    tokio::spawn(async move {
        let outcome = bless::bless().await.unwrap_or_else(|error| format!("not marked good: {}", error_chain(&error)));
        eprintln!("{outcome}");
        let _ = aios_daemon::status(&outcome);
        drop(marking);
    });
    let object = |caller| Updater1::new(caller, Arc::clone(&shared));
    aios_daemon::serve_on_call(&shared.work, "/org/aios/Updater1", object).await?;
    Ok(())
}
