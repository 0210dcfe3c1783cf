//! `aios service …`: what PID 1 supervises.

use aios_evidence::{Filter, Kind};
use aios_wire::init::{Reply, Request, Service, ServiceState};
use serde_json::json;

use crate::action;
use crate::args::ServiceCommand;
use crate::evidence;
use crate::failure::Failure;
use crate::logs;
use crate::show::{Format, table};

pub(crate) async fn run(command: ServiceCommand, format: Format) -> Result<(), Failure> {
    match command {
        ServiceCommand::List => {
            format.print(&services()?, |services| {
                let (apps, rest): (Vec<_>, Vec<_>) = services.iter().partition(|s| s.role.is_of_an_app());
                print("SERVICE", &rest);
                if !apps.is_empty() {
                    println!();
                    print("APP", &apps);
                }
            });
            Ok(())
        }
        ServiceCommand::Show { name } => {
            let service = services()?.into_iter().find(|s| s.name == name).ok_or_else(|| unknown(&name))?;
            format.print(&service, |s| {
                println!("{}: {}", s.name, state_word(s.state));
                println!("  process  {}", s.pid.map_or_else(|| "none".into(), |pid| pid.to_string()));
                println!("  starts   {}", s.starts);
                println!("  note     {}", s.note);
            });
            Ok(())
        }
        ServiceCommand::Logs(args) => logs::run(args, format).await,
        ServiceCommand::Restart { name } => action::submit("service.restart", [("name", json!(name))], format).await,
        ServiceCommand::Start { name } => action::submit("service.start", [("name", json!(name))], format).await,
        ServiceCommand::Stop { name } => action::submit("service.stop", [("name", json!(name))], format).await,
        ServiceCommand::Enable { name } => action::submit("service.enable", [("name", json!(name))], format).await,
        ServiceCommand::Disable { name } => action::submit("service.disable", [("name", json!(name))], format).await,
        ServiceCommand::History { name } => {
            if services()?.iter().all(|s| s.name != name) {
                return Err(unknown(&name));
            }
            let about = format!("\"unit\":\"{name}\"");
            let filter = Filter { kind: Some(Kind::UnitEvent), text: Some(about), ..Filter::default() };
            evidence::show_matching(&filter, format).await
        }
    }
}

fn print(heading: &'static str, services: &[&Service]) {
    let line = |s: &&Service| {
        let pid = s.pid.map_or_else(|| "-".into(), |pid| pid.to_string());
        [s.name.clone(), state_word(s.state).into(), pid, s.starts.to_string(), s.note.clone()]
    };
    table([heading, "STATE", "PID", "STARTS", "NOTE"], services.iter().map(line));
}

/// Every service, as PID 1 tells.
pub(crate) fn services() -> Result<Vec<Service>, Failure> {
    match aios_daemon::init::ask(&Request::Services)? {
        Reply::Services { services } => Ok(services),
        other => Err(Failure::failed(format!("PID 1 answered something else: {other:?}"))),
    }
}

pub(crate) fn unknown(name: &str) -> Failure {
    Failure::failed(format!("there is no service '{}'", name.escape_default())).hint("aios service list")
}

/// The word for people and for `--json`.
pub(crate) fn state_word(state: ServiceState) -> &'static str {
    match state {
        ServiceState::Stopped => "stopped",
        ServiceState::OnCall => "on-call",
        ServiceState::Waiting => "waiting",
        ServiceState::Starting => "starting",
        ServiceState::Ready => "ready",
        ServiceState::Frozen => "frozen",
        ServiceState::Stopping => "stopping",
        ServiceState::Restarting => "restarting",
        ServiceState::Failed => "failed",
        ServiceState::Finished => "finished",
    }
}
