//! The action runtime: what an action leaves behind, and what it cannot reach.

use std::time::Duration;

use super::policy::{kinds, waiting};
use super::{Aios, Status, list, text};
use crate::scenario::{Failure, ensure};
use crate::vm::BOOT;
use serde_json::Value;

/// An action's records in the order in which they must stand: nothing takes effect before its intent is durable, and the
/// outcome is measured before the result is said.
const RECEIPTS: [&str; 5] = ["decision", "intent", "started", "outcome", "result"];

/// A battery with fewer tries proves too little.
pub(crate) const LEAST_TRIES: usize = 60;

/// What the battery runs in: each tier, with what leads furthest in it.
const TIERS: [(&str, &str); 4] = [("T3", "none"), ("T3", "folder"), ("T1", "none"), ("T0", "none")];

/// How long all of it may take after the start, under translation.
const PROBED: Duration = Duration::from_secs(60);

/// A setting changes, and the service that owns it says so.
pub(crate) fn setting(aios: &mut Aios, hostname: &str) -> Result<(), Failure> {
    let view = aios.json(&format!("settings set hostname {hostname}"))?;
    receipts(aios, &view)?;
    let value = aios.ok("settings get hostname")?;
    ensure!(value.trim() == hostname, "the hostname is {value}");
    Ok(())
}

/// The file of a setting does not say what was promised, because somebody else writes it: the setting is undone, and the
/// records say why.
pub(crate) fn undone(aios: &mut Aios) -> Result<(), Failure> {
    let before = aios.ok("settings get hostname")?.trim().to_owned();
    let view = aios.json_of("settings set hostname doomed", Status::Failed)?;
    aios.machine.console.wait_for(&format!("spoiler: the file says {before} again"), BOOT)?;
    ensure!(view["state"]["state"] == "rolled-back", "the action ended as {view:#}");
    let after = aios.ok("settings get hostname")?;
    ensure!(after.trim() == before, "the hostname was {before} and is {after}");
    let records = aios.json(&format!("evidence query --action {}", text(&view, "id")?))?;
    let chain: Vec<_> = kinds(&records)?.into_iter().filter(|kind| RECEIPTS.contains(kind)).collect();
    ensure!(chain == RECEIPTS, "the records are {records:#}");
    let of = |kind: &str| list(&records).map(|all| all.iter().find(|record| record["kind"] == kind).cloned());
    let (outcome, result) = (of("outcome")?.unwrap_or_default(), of("result")?.unwrap_or_default());
    ensure!(outcome["payload"]["held"] == false, "the verifier saw what was promised: {outcome:#}");
    ensure!(outcome.to_string().contains("spoiled"), "the verifier does not say what it saw: {outcome:#}");
    ensure!(result["payload"]["result"]["state"] == "rolled-back", "the result is another one: {result:#}");
    Ok(())
}

/// An object has the content that was put, and every version stays.
pub(crate) fn object(aios: &mut Aios) -> Result<(), Failure> {
    aios.json("object put notes/versions first")?;
    let view = aios.json("object put notes/versions second")?;
    receipts(aios, &view)?;
    ensure!(aios.ok("object get notes/versions")?.trim() == "second", "the newest version is not the one put last");
    ensure!(aios.ok("object get notes/versions --version 1")?.trim() == "first", "the first version is gone");
    let log = aios.json("object log notes/versions")?;
    ensure!(log.as_array().is_some_and(|log| log.len() == 2), "the log has other versions: {log:#}");
    Ok(())
}

/// A file is written in the granted folder.
pub(crate) fn file(aios: &mut Aios, path: &str, content: &str) -> Result<(), Failure> {
    let view = aios.json(&format!("action submit file.write path={path} content={content}"))?;
    receipts(aios, &view)?;
    ensure!(view["observed"].is_object(), "the verifier saw nothing: {view:#}");
    Ok(())
}

/// The machine starts again, after a person confirmed it, and says so in a new boot.
pub(crate) fn reboot(aios: &mut Aios) -> Result<(), Failure> {
    let before = boot_id(aios)?;
    let (_, approval) = waiting(aios, "action submit node.reboot --reason test")?;
    aios.begin_to_approve(&approval)?;
    aios.enter_again(BOOT)?;
    let after = boot_id(aios)?;
    ensure!(before != after, "the machine still runs in boot {before}");
    Ok(())
}

/// The battery of escape attempts ran in the sandbox of every tier, and nothing got out.
pub(crate) fn nothing_escapes(aios: &mut Aios) -> Result<(), Failure> {
    let whole = |records: &Value| records.as_array().is_some_and(|records| records.len() >= TIERS.len());
    let records = aios.until("evidence query --kind probe", "the records of every tier", PROBED, whole)?;
    for (tier, resource) in TIERS {
        let record = records.as_array().into_iter().flatten().find(|record| {
            let payload = &record["payload"];
            payload["tier"] == tier && payload["resource"] == resource
        });
        let attempts = record.and_then(|record| record["payload"]["attempts"].as_array());
        let attempts = attempts.ok_or_else(|| {
            Failure::broken(format!("{tier} with {resource} was not probed in this boot: {records:#}"))
        })?;
        ensure!(attempts.len() >= LEAST_TRIES, "only {} attempts were made in {tier}", attempts.len());
        for attempt in attempts {
            ensure!(attempt["contained"] == true, "an attempt got out of {tier} with {resource}: {attempt}");
        }
    }
    Ok(())
}

/// The whole chain of an action's records: linked, in order, and provably in the log.
pub(crate) fn receipts(aios: &mut Aios, view: &Value) -> Result<(), Failure> {
    ensure!(view["state"]["state"] == "succeeded", "the action ended as {view:#}");
    let id = text(view, "id")?;
    let records = aios.json(&format!("evidence query --action {id}"))?;
    let found = kinds(&records)?;
    let chain: Vec<_> = found.iter().filter(|kind| RECEIPTS.contains(kind)).copied().collect();
    ensure!(chain == RECEIPTS, "the records of {id} are {found:?}");
    let outcome = records.as_array().and_then(|records| records.iter().find(|record| record["kind"] == "outcome"));
    let writer = outcome.map_or("", |record| record["writer"].as_str().unwrap_or_default());
    ensure!(writer == "service:verifier", "the outcome was written by '{writer}'");
    Ok(())
}

fn boot_id(aios: &mut Aios) -> Result<String, Failure> {
    let status = aios.json("status")?;
    Ok(text(&status["system"], "boot_id")?.to_owned())
}
