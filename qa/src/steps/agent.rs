//! An agent behind its door.

use std::time::{Duration, Instant};

use super::{Aios, Status, list, text};
use crate::scenario::{Failure, ensure};

/// The agent without a model that the image brings.
const NAME: &str = "example";

/// Where it says what came of its attempts.
const REPORT: &str = "agents/example/report";

/// An allowed action runs, a risky one waits for a person, a forbidden one is refused for good; no way around the door.
pub(crate) fn behind_its_door(aios: &mut Aios) -> Result<(), Failure> {
    aios.json(&format!("agent run {NAME}"))?;
    let waiting = aios.until("approval list", "the agent's risky action", Duration::from_secs(300), |approvals| {
        approvals.as_array().is_some_and(|all| all.iter().any(is_the_agents))
    })?;
    let approval = list(&waiting)?.iter().find(|approval| is_the_agents(approval));
    let approval = text(approval.unwrap_or_default(), "id")?.to_owned();

    // The agent writes its report once it knows that it has to wait.
    let report = said_when(aios, "service.restart:")?;
    ensure!(report.contains("object.put: done and measured"), "the allowed action did not run:\n{report}");
    ensure!(report.contains("settings.set: denied"), "the forbidden action was not refused:\n{report}");
    ensure!(report.contains("secret.remove: denied"), "an agent may do something to a secret:\n{report}");
    let service = report.contains("service.enable: denied (AIInstallInitiationBlocked)");
    ensure!(service, "an agent may make something run all the time:\n{report}");
    for way in ["vault", "approve", "network", "read /root", "read /aios"] {
        ensure!(report.contains(&format!("{way}: closed")), "the way '{way}' is not closed:\n{report}");
    }
    ensure!(!report.contains("REACHED"), "the agent got around its door:\n{report}");
    ensure!(aios.ok("object get agents/example/note")?.trim() == "hello", "the agent's object is not what it put");
    let hostname = aios.ok("settings get hostname")?;
    ensure!(hostname.trim() != "mine", "the agent changed a setting");

    aios.approve(&approval)?;
    said_when(aios, "service.restart at last: done and measured")?;
    let shown = aios.json(&format!("agent show {NAME}"))?;
    let states: Vec<_> = list(&shown["actions"])?.iter().filter_map(|view| view["state"]["state"].as_str()).collect();
    ensure!(states.contains(&"denied") && states.contains(&"succeeded"), "the agent's actions are {states:?}");
    let records = aios.json("evidence query --kind decision")?;
    let of_agent = |record: &&serde_json::Value| record["payload"].to_string().contains("agent");
    ensure!(records.to_string().contains("SubjectKindRejectedForVault"), "site 1 left no record of its own");
    ensure!(list(&records)?.iter().filter(of_agent).count() >= 3, "the agent's decisions are not on record");
    aios.ends(&format!("approval approve {approval}"), Status::Failed)?;
    a_swapped_file_stays(aios)
}

/// What the agent asked to delete is not what lies there when the person says yes: nothing is deleted.
fn a_swapped_file_stays(aios: &mut Aios) -> Result<(), Failure> {
    said_when(aios, "file.delete: a person has to approve")?;
    let approvals = aios.json("approval list")?;
    let approval = list(&approvals)?.iter().find(|approval| is_the_agents(approval));
    let approval = approval.ok_or_else(|| Failure::broken(format!("no deletion waits: {approvals:#}")))?;
    let target = text(approval, "target")?;
    ensure!(target.starts_with("the content with the digest"), "the person is not told which file: {approval:#}");
    let (id, action) = (text(approval, "id")?.to_owned(), text(approval, "action")?.to_owned());
    aios.approve(&id)?;
    said_when(aios, "file.delete at last: failed: it did not begin")?;
    let records = aios.json(&format!("evidence query --action {action}"))?;
    let kinds: Vec<_> = list(&records)?.iter().filter_map(|record| record["kind"].as_str()).collect();
    ensure!(!kinds.contains(&"started") && kinds.contains(&"result"), "a swapped file was worked on: {kinds:?}");
    let view = aios.json("action submit file.read path=agents/example/draft")?;
    ensure!(view.to_string().contains("somebody else's"), "the other file is gone: {view:#}");
    Ok(())
}

fn is_the_agents(approval: &serde_json::Value) -> bool {
    approval["subject"]["kind"] == "agent" && approval["state"]["state"] == "waiting"
}

/// The agent's report, once it has this text.
pub(crate) fn said_when(aios: &mut Aios, wanted: &str) -> Result<String, Failure> {
    let begin = Instant::now();
    loop {
        let report = aios.machine.console.run(&format!("object get {REPORT}"), Duration::from_secs(120))?.text;
        if report.contains(wanted) {
            return Ok(report);
        }
        ensure!(begin.elapsed() < Duration::from_secs(180), "the agent does not report '{wanted}':\n{report}");
        std::thread::sleep(Duration::from_secs(1));
    }
}
