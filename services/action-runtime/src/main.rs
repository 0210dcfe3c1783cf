//! The daemon: takes requests on `org.aios.Actions1`, runs of workflows on `org.aios.Workflows1`, and sees each through to
//! its end.
//!
//! It starts by having the sandbox proved: `aios-probe` runs confined like any adapter, and until nothing escapes no
//! action is taken. What an earlier runtime left is settled before the first new request.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use action_runtime::journal::Journal;
use aios_daemon::Fatal;

mod app;
mod containment;
mod door;
mod note;
mod peers;
mod perform;
mod plan;
mod redact;
mod resource;
mod roll_back;
mod runtime;
mod services;
mod spend;
mod trial;
mod turns;
mod undo;
mod workflow;

use action_runtime::runs::Runs;
use door::Actions1;
use runtime::Runtime;
use workflow::{Workflows, Workflows1};

/// Where the journal is kept.
const JOURNAL: &str = "/aios/system/actions/journal";

/// Where the runs of workflows are kept.
const RUNS: &str = "/aios/system/actions/workflows";

fn main() -> ExitCode {
    aios_daemon::run(run())
}

async fn run() -> Result<(), Fatal> {
    let boot =
        std::env::var("AIOS_BOOT_ID").map_err(|error| Fatal::new("cannot tell this boot from others", &error))?;
    let (journal, left) = Journal::open(Path::new(JOURNAL), &boot)?;
    let runtime = Arc::new(Runtime::new(journal, boot)?);
    let workflows = Arc::new(Workflows::new(Runs::open(Path::new(RUNS))?, Arc::clone(&runtime)));
    tokio::spawn(containment::prove(Arc::clone(&runtime)));
    runtime::go_on(&runtime, left);
    tokio::spawn(services::follow_at_start());
    workflow::close_what_ended(&workflows);
    aios_daemon::ready()?;
    aios_daemon::serve_all(move |caller, offered| {
        let actions = Actions1::new(caller.clone(), Arc::clone(&runtime));
        let workflows = Workflows1::new(caller, Arc::clone(&workflows));
        offered.serve_at("/org/aios/Actions1", actions).serve_at("/org/aios/Workflows1", workflows)
    })
    .await?;
    Ok(())
}
