//! Decisions and approvals.

use serde_json::Value;

use super::{Aios, Status, list, text};
use crate::scenario::{Failure, ensure};

/// What the bundle permits runs; the rule that permitted it is named.
pub(crate) fn permitted(aios: &mut Aios) -> Result<(), Failure> {
    let explained = aios.json("policy explain object.put name=notes/one content=hello")?;
    ensure!(text(&explained["verdict"], "verdict")? == "allowed", "{explained:#}");
    let view = aios.json("object put notes/one hello")?;
    ensure!(view["state"]["state"] == "succeeded", "a permitted action ended as {view:#}");
    ensure!(view["rules"] == serde_json::json!(["operator-objects"]), "the rule is not named: {view:#}");
    Ok(())
}

/// What is refused has a reason, a hint and a record, and nothing happens.
pub(crate) fn refused(aios: &mut Aios) -> Result<(), Failure> {
    // The program itself denies the first, the bundle's forbid the second.
    for (name, rule) in [("policy-kernel", None), ("launcher", Some("services-of-the-action"))] {
        let view = aios.json_of(&format!("service restart {name}"), Status::Denied)?;
        ensure!(view["state"]["state"] == "denied", "a refused action ended as {view:#}");
        ensure!(!text(&view["state"], "text")?.is_empty(), "a refusal says nothing: {view:#}");
        if let Some(rule) = rule {
            ensure!(view["rules"].as_array().is_some_and(|rules| rules.contains(&rule.into())), "{rule}: {view:#}");
        }
        let explained = aios.ends(&format!("policy explain service.restart name={name}"), Status::Denied)?;
        ensure!(explained.contains("denied"), "the explanation does not say so:\n{explained}");
        ensure!(rule.is_none_or(|rule| explained.contains(rule)), "the explanation names no rule:\n{explained}");
        let id = text(&view, "id")?;
        let records = aios.json(&format!("evidence query --action {id}"))?;
        ensure!(kinds(&records)?.contains(&"decision"), "a refusal has no record: {records:#}");
        ensure!(!kinds(&records)?.contains(&"started"), "a refused action started: {records:#}");
    }
    Ok(())
}

/// A person approves exactly one action, once.
pub(crate) fn rejected_by_a_person(aios: &mut Aios) -> Result<(), Failure> {
    let (action, approval) = waiting(aios, "action submit node.reboot --reason test")?;
    let shown = aios.json(&format!("approval show {approval}"))?;
    ensure!(text(&shown, "action")? == action, "the request is for another action: {shown:#}");
    aios.ok(&format!("approval reject {approval} --reason unwanted"))?;
    aios.ends(&format!("approval approve {approval}"), Status::Failed)?;
    let view = aios.json_of(&format!("action watch {action}"), Status::Denied)?;
    ensure!(view["state"]["state"] == "denied", "a rejected action ended as {view:#}");
    Ok(())
}

/// A cancelled action's request is not shown to anybody as waiting, and approving it is refused.
pub(crate) fn cancelled(aios: &mut Aios) -> Result<(), Failure> {
    let (action, approval) = waiting(aios, "action submit node.reboot --reason mistaken")?;
    aios.ok(&format!("action cancel {action}"))?;
    let shown = aios.json(&format!("approval show {approval}"))?;
    ensure!(shown["state"]["state"] == "expired", "the request of a cancelled action stands: {shown:#}");
    aios.ends(&format!("approval approve {approval}"), Status::Failed)?;
    let view = aios.json(&format!("action show {action}"))?;
    ensure!(view["state"]["state"] == "cancelled", "the action ended as {view:#}");
    Ok(())
}

/// Submits something that needs a person. Gives the action's id and the request's.
pub(crate) fn waiting(aios: &mut Aios, line: &str) -> Result<(String, String), Failure> {
    let view = aios.json_of(line, Status::Waits)?;
    ensure!(view["state"]["state"] == "waiting", "it does not wait: {view:#}");
    let list_of = aios.json("approval list")?;
    let approval = text(&view["state"], "approval")?;
    ensure!(
        list(&list_of)?.iter().any(|entry| entry["id"] == approval && entry["state"]["state"] == "waiting"),
        "the list of what waits lacks {approval}: {list_of:#}"
    );
    Ok((text(&view, "id")?.to_owned(), approval.to_owned()))
}

/// The kinds of these records, in order.
pub(crate) fn kinds(records: &Value) -> Result<Vec<&str>, Failure> {
    list(records)?.iter().map(|record| text(record, "kind")).collect()
}
