//! One example of each type of action, as the catalogue on the machine has it, and the look of somebody else at what came of
//! it: the service that owns the state, the clock in the log, the emulator.

use std::time::Duration;

use serde_json::Value;

use super::actions::receipts;
use super::policy::waiting;
use super::{Aios, Status, list, text};
use crate::host::web::Web;
use crate::scenario::{Failure, Stage, ensure};
use crate::vm::BOOT;

/// Types whose examples need what only other scenarios have: a binary cache, a release, a second start of the machine, a
/// policy or a pass phrase that was offered, a person of the name, hosts that are listed and a secret.
const ELSEWHERE: [&str; 12] = [
    "store.add",
    "task.run",
    "update.apply",
    "node.reboot",
    "policy.load",
    "user.add",
    "user.passphrase",
    "user.key.add",
    "user.key.remove",
    "http.fetch",
    "secret.put",
    "secret.remove",
];

/// How long a lease takes on a slow host.
const LEASE: Duration = Duration::from_secs(120);

/// The machine's own list of types, and which of them were shown.
struct Catalogue {
    types: Vec<Value>,
    shown: Vec<String>,
}

impl Catalogue {
    fn of(aios: &mut Aios) -> Result<Self, Failure> {
        let types = list(&aios.json("action types")?)?.to_vec();
        ensure!(types.len() >= 20, "there are {} types of action", types.len());
        Ok(Self { types, shown: Vec::new() })
    }

    /// The line that submits the example of a type, with `other` parameters where this machine's are other ones.
    fn line(&mut self, name: &str, other: &[(&str, &str)]) -> Result<String, Failure> {
        let found = self.types.iter().find(|entry| entry["title"] == name);
        let found = found.ok_or_else(|| Failure::broken(format!("there is no type {name}")))?;
        let example = found["examples"][0].as_object();
        let example = example.ok_or_else(|| Failure::broken(format!("{name} has no example: {found:#}")))?;
        let mut line = format!("action submit {name}");
        for (key, value) in example {
            let other = other.iter().find(|(name, _)| name == key).map(|(_, word)| (*word).to_owned());
            let word = match value {
                Value::String(word) => word.clone(),
                value => value.to_string(),
            };
            line.push_str(&format!(" {key}='{}'", other.unwrap_or(word)));
        }
        self.shown.push(name.to_owned());
        Ok(line)
    }

    /// Submits the example; it must succeed and leave its whole chain of records.
    fn done(&mut self, aios: &mut Aios, name: &str) -> Result<Value, Failure> {
        self.done_with(aios, name, &[])
    }

    fn done_with(&mut self, aios: &mut Aios, name: &str, other: &[(&str, &str)]) -> Result<Value, Failure> {
        let line = self.line(name, other)?;
        let view = aios.json(&line)?;
        receipts(aios, &view)?;
        Ok(view)
    }

    fn nothing_is_missing(&self) -> Result<(), Failure> {
        for entry in &self.types {
            let name = text(entry, "title")?;
            let known = ELSEWHERE.contains(&name) || self.shown.iter().any(|shown| shown == name);
            ensure!(known, "nobody shows {name} on a machine");
        }
        Ok(())
    }
}

/// Every type that a machine alone can show; the last one turns it off.
pub(crate) fn each(mut aios: Aios, stage: &Stage<'_>) -> Result<(), Failure> {
    let mut types = Catalogue::of(&mut aios)?;
    services(&mut aios, &mut types)?;
    settings(&mut aios, &mut types)?;
    objects(&mut aios, &mut types)?;
    files(&mut aios, &mut types)?;
    evidence(&mut aios, &mut types)?;

    // It was restarted and stopped before, and asks for its lease anew.
    aios.until("network status", "a lease", LEASE, |status| status["links"][0]["state"] == "leased")?;
    let web = Web::serve(&stage.folder)?;
    let url = web.url();
    let port = url.rsplit(':').next().unwrap_or_default();
    types.done_with(&mut aios, "network.check", &[("port", port)])?;
    drop(web);
    let gone = types.line("network.check", &[("port", port)])?;
    let view = aios.json_of(&gone, Status::Failed)?;
    ensure!(view["state"]["state"] == "failed", "a host that does not answer was reached: {view:#}");

    apps(&mut aios, &mut types)?;
    types.done(&mut aios, "agent.run")?;
    clock(&mut aios, &mut types)?;
    let line = types.line("node.poweroff", &[])?;
    types.nothing_is_missing()?;
    let (_, approval) = waiting(&mut aios, &line)?;
    aios.begin_to_approve(&approval)?;
    aios.machine.wait_for_power_off(BOOT)?;
    Ok(())
}

fn services(aios: &mut Aios, types: &mut Catalogue) -> Result<(), Failure> {
    let state = |aios: &mut Aios| -> Result<(String, u64), Failure> {
        let unit = aios.json("service show network")?;
        Ok((text(&unit, "state")?.to_owned(), unit["starts"].as_u64().unwrap_or_default()))
    };
    let (_, starts) = state(aios)?;
    types.done(aios, "service.restart")?;
    ensure!(state(aios)?.1 == starts + 1, "PID 1 did not start it once more");
    types.done(aios, "service.stop")?;
    ensure!(state(aios)?.0 == "stopped", "it is {} after it was stopped", state(aios)?.0);
    types.done(aios, "service.start")?;
    ensure!(state(aios)?.0 == "ready", "it is {} after it was started", state(aios)?.0);
    let refused = aios.json_of("service stop launcher", Status::Denied)?;
    ensure!(refused["state"]["reason"] == "ForbiddenByRule", "what carries actions out was stopped: {refused:#}");
    Ok(())
}

fn settings(aios: &mut Aios, types: &mut Catalogue) -> Result<(), Failure> {
    types.done(aios, "settings.set")?;
    ensure!(aios.ok("settings get hostname")?.trim() == "workshop", "the setting is another one");
    types.done(aios, "settings.rollback")?;
    ensure!(aios.json("settings diff")? == serde_json::json!([]), "the settings are not those of a new machine");
    Ok(())
}

fn objects(aios: &mut Aios, types: &mut Catalogue) -> Result<(), Failure> {
    types.done(aios, "object.put")?;
    aios.json("object put notes/today second")?;
    types.done(aios, "object.rollback")?;
    ensure!(aios.ok("object get notes/today")?.trim() == "hello", "the first version's content is not the newest");
    let log = aios.json("object log notes/today")?;
    ensure!(list(&log)?.len() == 3, "coming back lost a version: {log:#}");
    types.done(aios, "object.tag")?;
    let tags = aios.json("object tags notes/today")?;
    ensure!(tags[0]["tag"] == "kept" && tags[0]["version"] == 1, "the tags are {tags:#}");
    types.done(aios, "object.untag")?;
    ensure!(aios.json("object tags notes/today")? == serde_json::json!([]), "the tag is still there");
    types.done(aios, "object.transaction")?;
    for (name, content) in [("notes/left", "left"), ("notes/right", "right")] {
        ensure!(aios.ok(&format!("object get {name}"))?.trim() == content, "{name} has another content");
    }
    Ok(())
}

fn files(aios: &mut Aios, types: &mut Catalogue) -> Result<(), Failure> {
    let content = |view: &Value| view["observed"]["printed"]["content"]["text"].as_str().map(str::to_owned);
    let planned = aios.json("action submit file.write path=notes/today.txt content=hello --dry-run")?;
    ensure!(planned["decision"]["verdict"]["verdict"] == "allowed", "the plan says {planned:#}");
    ensure!(text(&planned, "undone")?.contains("gone"), "the plan does not say how it is undone: {planned:#}");
    let read = types.line("file.read", &[])?;
    aios.json_of(&read, Status::Failed)?;
    types.done(aios, "file.write")?;
    let view = types.done(aios, "file.read")?;
    ensure!(content(&view).as_deref() == Some("hello"), "the file was read as {view:#}");
    types.done(aios, "file.patch")?;
    let view = aios.json(&read)?;
    ensure!(content(&view).as_deref() == Some("goodbye"), "the patched file was read as {view:#}");
    let again = types.line("file.patch", &[])?;
    let conflict = aios.json_of(&again, Status::Failed)?;
    ensure!(text(&conflict["state"], "text")?.contains("does not stand in the file"), "{conflict:#}");
    types.done(aios, "file.move")?;
    aios.json_of(&read, Status::Failed)?;
    let moved = types.line("file.read", &[("path", "notes/yesterday.txt")])?;
    let view = aios.json(&moved)?;
    ensure!(content(&view).as_deref() == Some("goodbye"), "the moved file was read as {view:#}");
    types.done_with(aios, "file.delete", &[("path", "notes/yesterday.txt")])?;
    aios.json_of(&moved, Status::Failed)?;
    Ok(())
}

/// The log is exported twice; the second version goes on where the first one ended, and knows of it.
fn evidence(aios: &mut Aios, types: &mut Catalogue) -> Result<(), Failure> {
    let records = |view: &Value| view["observed"]["records"].as_u64().unwrap_or_default();
    let first = types.done(aios, "evidence.export")?;
    let second = types.done(aios, "evidence.export")?;
    ensure!(records(&first) > 0 && records(&second) > records(&first), "the exports are {first:#} and {second:#}");
    let log = aios.json("object log logs/today")?;
    let newest = list(&log)?.last().unwrap_or(&Value::Null);
    ensure!(list(&log)?.len() == 2, "the object has other versions: {log:#}");
    ensure!(newest["digest"] == second["observed"]["sha256"], "another content was measured: {log:#} {second:#}");
    Ok(())
}

/// The catalogue's program is installed, removed and come back to; each installation is a person's yes.
fn apps(aios: &mut Aios, types: &mut Catalogue) -> Result<(), Failure> {
    super::apps::put_greeter(aios)?;
    for name in ["app.install.request", "app.install"] {
        let line = types.line(name, &[])?;
        let (action, approval) = waiting(aios, &line)?;
        aios.approve(&approval)?;
        let view = aios.json(&format!("action watch {action}"))?;
        receipts(aios, &view)?;
        let run = aios.json("app run greeter")?;
        ensure!(run.to_string().contains("hello"), "the app does not say hello after {name}: {run:#}");
        types.done(aios, "app.remove")?;
    }
    types.done(aios, "app.rollback")?;
    super::app_service::install(aios, "stayer", "stay")?;
    for name in ["service.enable", "service.disable"] {
        types.done_with(aios, name, &[("name", "stayer")])?;
    }
    aios.json("app run greeter").map(drop)
}

/// Setting the clock is confirmed by a person, and the next record in the log carries the new time.
fn clock(aios: &mut Aios, types: &mut Catalogue) -> Result<(), Failure> {
    /// 2027-01-01T12:00:00Z, the example's.
    const WANTED_MS: u64 = 1_798_804_800_000;
    let line = types.line("time.set", &[])?;
    let (action, approval) = waiting(aios, &line)?;
    aios.approve(&approval)?;
    let view = aios.json(&format!("action watch {action}"))?;
    ensure!(view["state"]["state"] == "succeeded", "the clock was not set: {view:#}");
    let records = aios.json(&format!("evidence query --action {action} --kind outcome"))?;
    let wall = list(&records)?.first().and_then(|record| record["wall"].as_u64()).unwrap_or_default();
    ensure!(wall.abs_diff(WANTED_MS) < 600_000, "the log's clock shows {wall}");
    Ok(())
}
