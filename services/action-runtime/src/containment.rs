//! Whether each tier's sandbox holds: proved at each start by trying to get out of it.
//!
//! A tier that something gets out of takes no action until the next start; the others go on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use action_runtime::launch::{self, Given, Launch};
use aios_daemon::error_chain;
use aios_ids::ActionId;
use aios_wire::evidence::{Room, RoomState};
use aios_wire::launch::{Ending, Limits, Program, Resource, Tier};
use aios_wire::probe::ProbeReport;
use serde_json::json;

use crate::runtime::Runtime;
use crate::{peers, resource};

/// What is known about one tier.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Containment {
    /// Nothing yet.
    #[default]
    Unknown,
    /// Everything that was tried was contained, and that is recorded.
    Proven,
    /// Something is wrong; no action is taken.
    Broken(String),
}

/// What is known about all.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tiers(BTreeMap<Tier, Containment>);

impl Tiers {
    /// What is known about one.
    pub(crate) fn of(&self, tier: Tier) -> Containment {
        self.0.get(&tier).cloned().unwrap_or_default()
    }

    fn set(&mut self, tier: Tier, containment: Containment) {
        self.0.insert(tier, containment);
    }
}

/// What the battery is run with in a tier: all that leads further than what an earlier one had. A connection leads to a
/// service, which asks the table of peers; it gives the program nothing of the file tree.
const fn resources(tier: Tier) -> &'static [Resource] {
    match tier {
        Tier::Quarantine | Tier::Program => &[Resource::None],
        Tier::Adapter => &[Resource::None, Resource::Folder],
    }
}

const LIMITS: Limits = Limits {
    memory: 64 << 20,
    processes: 16,
    cpu_percent: 100,
    time_ms: 30_000,
    cpu_ms: 30_000,
    output: 1 << 20,
    written: 1 << 20,
};

/// A launcher or a log that is away is asked again; an escape is final until the next start.
const AGAIN: Duration = Duration::from_secs(2);

/// Proves every tier and says what came of it.
pub(crate) async fn prove(runtime: Arc<Runtime>) {
    let mut left = vec![Tier::Adapter, Tier::Program, Tier::Quarantine];
    let mut said = Vec::new();
    loop {
        let mut again = Vec::new();
        for tier in left {
            let containment = match prove_tier(&runtime, tier).await {
                Ok(known) => {
                    said.push(sentence(tier, &known));
                    known
                }
                Err(why) => {
                    again.push(tier);
                    let why = format!("the sandbox of {} cannot be proved: {why}", tier.word());
                    let containment = Containment::Broken(why.clone());
                    // One line for a whole outage.
                    if runtime.tiers.borrow().of(tier) != containment {
                        eprintln!("{why}");
                    }
                    containment
                }
            };
            runtime.tiers.send_modify(|tiers| tiers.set(tier, containment));
        }
        say(&said);
        if again.is_empty() {
            return;
        }
        left = again;
        tokio::time::sleep(AGAIN).await;
    }
}

fn sentence(tier: Tier, containment: &Containment) -> String {
    match containment {
        Containment::Broken(why) => format!("no action of {} is taken: {why}", tier.word()),
        _ => format!("{} holds", tier.word()),
    }
}

fn say(said: &[String]) {
    let sentence = said.join("; ");
    if sentence.is_empty() {
        return;
    }
    eprintln!("{sentence}");
    if let Err(error) = aios_daemon::status(&sentence) {
        eprintln!("cannot tell PID 1: {error}");
    }
}

/// What is known about a tier for good; an error says why nothing is yet.
async fn prove_tier(runtime: &Arc<Runtime>, tier: Tier) -> Result<Containment, String> {
    // Actions stand still then, the probe with them, and nothing could be recorded.
    if let Ok(Room { state: RoomState::ReadOnly(why), .. }) = peers::room().await {
        return Err(format!("the evidence log is read-only: {why}"));
    }
    for resource in resources(tier) {
        let report = probe(runtime, tier, *resource).await?;
        let verdict = report.verdict();
        let record = json!({
            "tier": tier.word(),
            "resource": resource.word(),
            "contained": verdict.is_ok(),
            "attempts": report.attempts,
        });
        let recorded = peers::append("probe", "", &record).await;
        // An escape counts whether or not it can be recorded; that nothing escaped counts only with its record.
        if let Err(why) = verdict {
            return Ok(Containment::Broken(why));
        }
        recorded.map_err(|error| format!("it holds and that cannot be recorded: {}", error_chain(&error)))?;
        eprintln!("{} with {}: {} tries, none got out", tier.word(), resource.word(), report.attempts.len());
    }
    Ok(Containment::Proven)
}

async fn probe(runtime: &Arc<Runtime>, tier: Tier, resource: Resource) -> Result<ProbeReport, String> {
    let runtime = Arc::clone(runtime);
    let mut random = [0; 10];
    getrandom::fill(&mut random).map_err(|error| error.to_string())?;
    let given = match resource {
        Resource::Folder => Given::Folder(resource::granted_folder().map_err(|error| error.to_string())?),
        Resource::None | Resource::Connection | Resource::Program => Given::Nothing,
    };
    let launched = tokio::task::spawn_blocking(move || {
        let launcher = aios_daemon::open_socket("launcher").map_err(launch::LaunchError::Reach)?;
        let launch = Launch {
            // No action: its id only names the cgroup.
            action: ActionId::new(0, random),
            user: runtime.users.take()?,
            program: Program::Probe(tier),
            args: Vec::new(),
            input: Vec::new(),
            resource: given,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_tier_says_nothing_about_another() {
        let mut tiers = Tiers::default();
        tiers.set(Tier::Program, Containment::Broken("the sandbox does not contain mount (done)".into()));
        assert_eq!(tiers.of(Tier::Adapter), Containment::Unknown);
        tiers.set(Tier::Adapter, Containment::Proven);
        assert_eq!(tiers.of(Tier::Adapter), Containment::Proven);
        let broken = sentence(Tier::Program, &tiers.of(Tier::Program));
        assert_eq!(broken, "no action of T1 is taken: the sandbox does not contain mount (done)");
    }
}
