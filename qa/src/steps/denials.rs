//! What the kernel refuses, as receipts.

use std::time::Duration;

use serde_json::Value;

use super::{Aios, Status, list, text};
use crate::host::nix_cache::NixCache;
use crate::host::web::Web;
use crate::scenario::{Failure, Stage, ensure};

/// How long a receipt may take under translation: the kernel's queue, the word on whose it is, one sync.
const RECEIPT: Duration = Duration::from_secs(30);

/// The runtime's own attempts at the start of each boot run against the same walls, under its name and no action's.
pub(crate) fn of_the_probe(aios: &mut Aios) -> Result<(), Failure> {
    let query = "evidence query --kind denial --subject service:action-runtime";
    aios.until(query, "receipts of the probe", RECEIPT, |denials| {
        find(denials, "what", "ptrace").is_some_and(|denial| denial["action"] == "")
    })?;
    Ok(())
}

/// A program in the sandbox of an action runs against both layers; each refusal names what, where and whom, stands under
/// the action, and is shown by its attestation.
pub(crate) fn of_an_action(aios: &mut Aios, stage: &Stage<'_>) -> Result<(), Failure> {
    let cache = NixCache::make(&stage.folder)?;
    let web = Web::serve(&cache.folder)?;
    aios.json(&format!("store add {} --cache {} --key {}", cache.program, web.url(), cache.key))?;
    for (command, blocker, what, target) in
        [("ls /", "landlock", "fs.read_dir", Some("/")), ("chroot /tmp /bin/sh", "seccomp", "chroot", None)]
    {
        let view = aios.json_of(&format!("store run {}/bin/busybox {command}", cache.program), Status::Failed)?;
        let id = text(&view, "id")?.to_owned();
        let query = format!("evidence query --kind denial --action {id}");
        let denials =
            aios.until(&query, "the receipt of a refusal", RECEIPT, |denials| find(denials, "what", what).is_some())?;
        let denial = find(&denials, "what", what).unwrap_or_default();
        let payload = &denial["payload"];
        ensure!(payload["blocker"] == blocker, "'{command}' was refused by another layer: {denial:#}");
        ensure!(
            target.is_none_or(|target| payload["target"] == target),
            "'{command}' was refused elsewhere: {denial:#}"
        );
        ensure!(denial["writer"] == "service:evidence-log", "the receipt is of another hand: {denial:#}");
        ensure!(denial["subject"] == "operator:live", "the receipt does not say who asked: {denial:#}");
        ensure!(denial["digest"] == view["digest"], "the receipt does not name what was asked: {denial:#}");
        for command in ["attest", "action show"] {
            let said = aios.ok(&format!("{command} {id}"))?;
            ensure!(
                said.contains(&format!("{blocker} refused {what}")),
                "'{command}' does not say what was refused:\n{said}"
            );
        }
    }
    Ok(())
}

/// The agent that went around its door left receipts under its name.
pub(crate) fn of_an_agent(aios: &mut Aios) -> Result<(), Failure> {
    let query = "evidence query --kind denial --subject agent:example";
    aios.until(query, "receipts of the agent", RECEIPT, |denials| {
        list(denials).is_ok_and(|denials| !denials.is_empty())
    })?;
    Ok(())
}

/// The first receipt whose payload says so.
fn find<'a>(denials: &'a Value, field: &str, value: &str) -> Option<&'a Value> {
    denials.as_array()?.iter().find(|denial| denial["payload"][field] == value)
}
