//! The object store as a service: `org.aios.Objects1` on the socket that PID 1 passed.
//!
//! It runs without privilege; what it needs is its own folders and, for fetching, the network.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use aios_daemon::Fatal;
use object_store::{Index, Objects, Store};

mod interface;

use interface::Objects1;

/// The index of everything.
const INDEX: &str = "/aios/system/objects/index.redb";

/// The contents of named objects.
const OBJECTS: &str = "/aios/chunks";

/// The trees, seen at `/nix/store`.
const STORE: &str = "/aios/store";

fn main() -> ExitCode {
    aios_daemon::run(run())
}

async fn run() -> Result<(), Fatal> {
    let index = Arc::new(Index::open(Path::new(INDEX))?);
    let objects = Arc::new(Objects::open(Path::new(OBJECTS), Arc::clone(&index))?);
    let store = Arc::new(Store::open(Path::new(STORE), index)?);
    aios_daemon::status(&format!("{} objects, {} store paths", objects.list()?.len(), store.list()?.len()))?;
    aios_daemon::ready()?;
    let object = move |caller| Objects1::new(caller, Arc::clone(&objects), Arc::clone(&store));
    aios_daemon::serve("/org/aios/Objects1", object).await?;
    Ok(())
}
