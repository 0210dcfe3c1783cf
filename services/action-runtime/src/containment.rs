//! Whether the sandbox holds: proved at each start by trying to get out of it.

use std::sync::Arc;
use std::time::Duration;

use action_runtime::launch::{self, Given, Launch};
use aios_daemon::error_chain;
use aios_ids::ActionId;
use aios_wire::evidence::{Room, RoomState};
use aios_wire::launch::{Ending, Limits, Program};
use aios_wire::probe::ProbeReport;
use serde_json::json;

use crate::peers;
use crate::runtime::Runtime;

/// What is known about the sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Containment {
    /// Nothing yet.
    Unknown,
    /// Everything that was tried was contained, and that is recorded.
    Proven,
    /// Something is wrong; no action is taken.
    Broken(String),
}

const LIMITS: Limits = Limits { memory: 64 << 20, processes: 16, cpu_percent: 100, time_ms: 30_000 };

/// A launcher or a log that is away is asked again; an escape is final until the next start.
const AGAIN: Duration = Duration::from_secs(2);

/// Proves the sandbox and says what came of it.
pub(crate) async fn prove(runtime: Arc<Runtime>) {
    loop {
        // Actions stand still then, the probe with them, and nothing could be recorded.
        if let Ok(Room { state: RoomState::ReadOnly(why), .. }) = peers::room().await {
            let why = format!("the evidence log is read-only: {why}");
            runtime.containment.send_replace(Containment::Broken(why));
            tokio::time::sleep(AGAIN).await;
            continue;
        }
        match probe(&runtime).await {
            Ok(report) => {
                let verdict = report.verdict();
                let record = json!({"contained": verdict.is_ok(), "attempts": report.attempts});
                let containment = match (peers::append("probe", "", &record).await, verdict) {
                    (_, Err(why)) => Containment::Broken(why),
                    (Ok(_), Ok(())) => Containment::Proven,
                    (Err(error), Ok(())) => {
                        eprintln!("the sandbox holds and that cannot be recorded: {}", error_chain(&error));
                        tokio::time::sleep(AGAIN).await;
                        continue;
                    }
                };
                say(&report, &containment);
                runtime.containment.send_replace(containment);
                return;
            }
            Err(why) => {
                eprintln!("the sandbox cannot be proved: {why}");
                runtime.containment.send_replace(Containment::Broken(format!("the sandbox cannot be proved: {why}")));
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

fn say(report: &ProbeReport, containment: &Containment) {
    let sentence = match containment {
        Containment::Broken(why) => format!("no action is taken: {why}"),
        _ => format!("the sandbox contained {} of {} tries", report.attempts.len(), report.attempts.len()),
    };
    eprintln!("{sentence}");
    if let Err(error) = aios_daemon::status(&sentence) {
        eprintln!("cannot tell PID 1: {error}");
    }
}

async fn probe(runtime: &Arc<Runtime>) -> Result<ProbeReport, String> {
    let runtime = Arc::clone(runtime);
    let mut random = [0; 10];
    getrandom::fill(&mut random).map_err(|error| error.to_string())?;
    let launched = tokio::task::spawn_blocking(move || {
        let launcher = aios_daemon::open_socket("launcher").map_err(launch::LaunchError::Reach)?;
        let launch = Launch {
            // No action: its id only names the cgroup.
            action: ActionId::new(0, random),
            user: runtime.users.take()?,
            program: Program::Probe,
            args: Vec::new(),
            input: Vec::new(),
            resource: Given::Nothing,
            limits: LIMITS,
        };
        launch::run(launcher, launch)
    });
    let finished = launched.await.map_err(|error| error.to_string())?.map_err(|error| error_chain(&error))?;
    if finished.exit.ending != Ending::Status(0) {
        let complaints = String::from_utf8_lossy(&finished.complaints).trim().escape_default().to_string();
        return Err(format!("aios-probe {}: {complaints}", finished.exit.ending));
    }
    ProbeReport::parse(&finished.output).map_err(|error| format!("aios-probe's report cannot be read: {error}"))
}
