//! `aios update …`: the system itself.

use aios_wire::init::{Origin, Reply, Request};
use serde_json::json;

use crate::action;
use crate::args::UpdateCommand;
use crate::failure::Failure;
use crate::show::Format;

pub(crate) async fn run(command: UpdateCommand, format: Format) -> Result<(), Failure> {
    match command {
        UpdateCommand::Apply { source } => action::submit("update.apply", [("source", source.into())], format).await,
        UpdateCommand::Status => {
            let Reply::Status(system) = aios_daemon::init::ask(&Request::Status)? else {
                return Err(Failure::failed("PID 1 answered something else than its status"));
            };
            let slot = match &system.origin {
                Origin::Disk { disk, slot } => Some(format!("{slot} of {disk}")),
                Origin::Live | Origin::Install => None,
            };
            format.print(&json!({"running": system.version, "slot": slot, "root": system.root_hash}), |_| {
                println!("running  {}", system.version);
                println!("  slot   {}", slot.as_deref().unwrap_or("none: started from the ISO, which is not updated"));
                println!("  root   {}", system.root_hash);
            });
            Ok(())
        }
    }
}
