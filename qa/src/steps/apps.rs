//! Programs that somebody hands in: tried, shown, decided by a person, run, come back to.

use std::time::Duration;

use serde_json::{Value, json};

use super::actions::receipts;
use super::policy::{kinds, waiting};
use super::{Aios, Status, list, text};
use crate::scenario::{Failure, ensure};

/// A program of 159 bytes that says "hello".
const GREETER: &str = concat!(
    "f0VMRgIBAQAAAAAAAAAAAAIAPgABAAAAeABAAAAAAABAAAAAAAAAAAAAAAAAAAAAAAAAAEAAOAABAAAAAAAAAAEAAAAFAAAAAAAA",
    "AAAAAAAAAEAAAAAAAAAAQAAAAAAAnwAAAAAAAACfAAAAAAAAAAAQAAAAAAAAuAEAAAC/AQAAAEiNNRAAAAC6BgAAAA8FuDwAAAAx",
    "/w8FaGVsbG8K",
);
const GREETER_SHA256: &str = "db4bd4fca191857d7bceff8d5fd1dbc3527f8f470d8952ecf305408e1b54e541";

/// The same with a call in front that asks for a TCP socket.
const LIAR: &str = concat!(
    "f0VMRgIBAQAAAAAAAAAAAAIAPgABAAAAeABAAAAAAABAAAAAAAAAAAAAAAAAAAAAAAAAAEAAOAABAAAAAAAAAAEAAAAFAAAAAAAA",
    "AAAAAAAAAEAAAAAAAAAAQAAAAAAAsgAAAAAAAACyAAAAAAAAAAAQAAAAAAAAuCkAAAC/AgAAAL4BAAAAMdIPBbgBAAAAvwEAAABI",
    "jTUQAAAAugYAAAAPBbg8AAAAMf8PBWhlbGxvCg==",
);
const LIAR_SHA256: &str = "5e93e86f2abdb319349fcaed408722cd15f8012490ab18c56a3e52759d26c492";

/// The digest of "hello\n".
const HELLO_SHA256: &str = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";

/// How long an agent may take until it comes to its program.
const AGENT: Duration = Duration::from_secs(300);

pub(super) fn manifest(name: &str, summary: &str, sha256: &str, part: &str) -> Value {
    json!({
        "schema": "aios.app.v1",
        "name": name,
        "summary": summary,
        "origin": "a scenario",
        "tier": "T0",
        "program": {"sha256": sha256, "parts": [part]},
        "composition": {"tried": ["file.read"], "why_not": "no type says hello"},
        "tests": [{"output_sha256": HELLO_SHA256}],
    })
}

pub(super) fn put(aios: &mut Aios, object: &str, base64: &str) -> Result<(), Failure> {
    aios.json(&format!("action submit object.put name={object} encoding=base64 content='{base64}'")).map(drop)
}

/// The object that the catalogue's example of an app is made of.
pub(crate) fn put_greeter(aios: &mut Aios) -> Result<(), Failure> {
    put(aios, "apps/greeter", GREETER)
}

/// Hands a program in; gives its action, the request for approval, and what the person is shown.
pub(super) fn handed_in(
    aios: &mut Aios,
    verb: &str,
    manifest: &Value,
) -> Result<(String, String, Vec<String>), Failure> {
    let (action, approval) = waiting(aios, &format!("app {verb} '{manifest}'"))?;
    let shown = aios.json(&format!("approval show {approval}"))?;
    let lines = list(&shown["shows"])?.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    Ok((action, approval, lines))
}

/// The version of an app that is in use.
fn in_use(aios: &mut Aios, name: &str) -> Result<Option<u64>, Failure> {
    let apps = aios.json("app list")?;
    Ok(list(&apps)?.iter().find(|app| app["name"] == name).and_then(|app| app["current"].as_u64()))
}

fn says(lines: &[String], wanted: &str) -> bool {
    lines.iter().any(|line| line.contains(wanted))
}

/// An honest program is tried, shown, approved, run; it is replaced, come back to, removed and come back to again.
pub(crate) fn from_a_request_to_a_run(aios: &mut Aios) -> Result<(), Failure> {
    put_greeter(aios)?;
    let first = manifest("greeter", "Says hello", GREETER_SHA256, "apps/greeter");
    let (action, approval, lines) = handed_in(aios, "request", &first)?;
    for wanted in ["1 of 1 tests passed", "declared rights: nothing", "observed: nothing", GREETER_SHA256, "file.read"]
    {
        ensure!(says(&lines, wanted), "the person is not told '{wanted}': {lines:#?}");
    }
    ensure!(!says(&lines, "NOT "), "an honest program is told to lie: {lines:#?}");
    let records = aios.json(&format!("evidence query --action {action}"))?;
    let trials = kinds(&records)?.into_iter().filter(|kind| *kind == "trial").count();
    ensure!(trials == 2 && !kinds(&records)?.contains(&"started"), "the trial is not on record: {records:#}");
    ensure!(in_use(aios, "greeter")?.is_none(), "it exists before anybody said yes");

    // Another one under the same name, asked for while there was none.
    let rival = manifest("greeter", "Says it differently", GREETER_SHA256, "apps/greeter");
    let (rival_action, rival_approval, _) = handed_in(aios, "request", &rival)?;
    aios.approve(&approval)?;
    let view = aios.json(&format!("action watch {action}"))?;
    receipts(aios, &view)?;
    ensure!(in_use(aios, "greeter")? == Some(1), "it does not exist after a yes");
    let view = aios.json("app run greeter")?;
    receipts(aios, &view)?;
    ensure!(view["observed"]["printed"]["output"] == "hello\n", "the app said {view:#}");
    aios.approve(&rival_approval)?;
    let view = aios.json_of(&format!("action watch {rival_action}"), Status::Failed)?;
    ensure!(text(&view["state"], "text")?.contains("did not begin"), "one name, two apps: {view:#}");

    let (action, approval, _) = handed_in(aios, "install", &rival)?;
    aios.approve(&approval)?;
    aios.json(&format!("action watch {action}"))?;
    ensure!(in_use(aios, "greeter")? == Some(2), "the second version is not in use");
    aios.json("app rollback greeter 1")?;
    ensure!(in_use(aios, "greeter")? == Some(1), "the first version is not in use again");
    aios.json("app remove greeter")?;
    let refused = aios.json_of("app run greeter", Status::Failed)?;
    ensure!(text(&refused["state"], "text")?.contains("no app 'greeter' in use"), "it ran: {refused:#}");
    aios.json_of("app remove greeter", Status::Failed)?;
    aios.json("app rollback greeter 1")?;
    aios.json("app run greeter")?;
    aios.json_of("app run greeter something", Status::Failed)?;
    Ok(())
}

/// What a program reaches for and did not declare is what the person reads first; what they reject does not exist.
pub(crate) fn a_liar_is_shown(aios: &mut Aios) -> Result<(), Failure> {
    put(aios, "apps/liar", LIAR)?;
    let (action, approval, lines) =
        handed_in(aios, "request", &manifest("liar", "Says hello", LIAR_SHA256, "apps/liar"))?;
    let first = lines.first().map(String::as_str).unwrap_or_default();
    ensure!(first.starts_with("NOT DECLARED: it reached for network"), "a lie does not stand first: {lines:#?}");
    ensure!(says(&lines, "1 of 1 tests passed"), "its tests were not run: {lines:#?}");
    let shown = aios.ok(&format!("approval show {approval}"))?;
    ensure!(shown.contains("NOT DECLARED"), "people are not told:\n{shown}");
    let denials = aios.json(&format!("evidence query --kind denial --action {action}"))?;
    let socket = list(&denials)?.iter().any(|record| record["payload"]["what"] == "socket");
    ensure!(socket, "what was refused is not under the action: {denials:#}");
    aios.ok(&format!("approval reject {approval} --reason 'it lies'"))?;
    aios.json_of(&format!("action watch {action}"), Status::Denied)?;
    ensure!(in_use(aios, "liar")?.is_none(), "what was rejected exists");
    aios.json_of("app run liar", Status::Failed)?;
    Ok(())
}

/// The object is another one by the time the person says yes: what was approved is not there, so nothing is installed.
pub(crate) fn a_swapped_program_stays_out(aios: &mut Aios) -> Result<(), Failure> {
    put(aios, "apps/swapped", GREETER)?;
    let manifest = manifest("swapped", "Says hello", GREETER_SHA256, "apps/swapped");
    let (action, approval, _) = handed_in(aios, "request", &manifest)?;
    put(aios, "apps/swapped", LIAR)?;
    aios.approve(&approval)?;
    let view = aios.json_of(&format!("action watch {action}"), Status::Failed)?;
    ensure!(text(&view["state"], "text")?.contains(LIAR_SHA256), "it is not said what is wrong: {view:#}");
    ensure!(in_use(aios, "swapped")?.is_none(), "a program that nobody was shown exists");
    // With the parts as they are now, the manifest is about another program: nothing is even tried.
    aios.ends(&format!("app request '{manifest}'"), Status::Failed)?;
    Ok(())
}

/// An agent hands a program in; the same for it, and installing by itself is denied.
pub(crate) fn of_an_agent(aios: &mut Aios) -> Result<(), Failure> {
    let is_the_request = |approval: &Value| {
        approval["action_type"] == "app.install.request"
            && approval["subject"]["kind"] == "agent"
            && approval["state"]["state"] == "waiting"
    };
    let waiting = aios.until("approval list", "the agent's program", AGENT, |approvals| {
        approvals.as_array().is_some_and(|all| all.iter().any(is_the_request))
    })?;
    let approval = list(&waiting)?.iter().find(|approval| is_the_request(approval)).cloned().unwrap_or_default();
    let lines: Vec<_> = list(&approval["shows"])?.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    ensure!(says(&lines, "1 of 1 tests passed"), "the agent's program was not tried: {lines:#?}");
    super::agent::said_when(aios, "app.install: denied (AIInstallInitiationBlocked)")?;
    aios.approve(text(&approval, "id")?)?;
    super::agent::said_when(aios, "app.install.request at last: done and measured")?;
    let view = aios.json("app run agents-hello")?;
    ensure!(view["observed"]["printed"]["output"] == "hello\n", "the agent's app said {view:#}");
    Ok(())
}
