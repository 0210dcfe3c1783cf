//! Attacks on decisions and approvals by somebody who can do nothing but ask: an agent, a clock, an old policy.

use std::fs;
use std::time::Duration;

use super::policy::{kinds, waiting};
use super::{Aios, COMMAND, Status, list, text};
use crate::host::nix_cache::NixCache;
use crate::host::probe_image::Added;
use crate::host::web::Web;
use crate::scenario::{Failure, Stage, ensure};

/// The agent of test images that attacks, and where it says what came of it.
const ATTACKER: &str = "attacker";
const REPORT: &str = "agents/attacker/report";

/// How long the agent may take for its some fifty calls under translation.
const ATTACKED: Duration = Duration::from_secs(600);

/// How many requests of one subject may wait.
const WAITING: usize = 16;

/// What the test image has more than the release: the agent's manifest. Its program is in every image.
pub(crate) fn added(stage: &Stage<'_>) -> Result<[Added; 1], Failure> {
    let path = stage.context.source("qa/guest-probe/attacker.toml");
    let content = fs::read(&path).map_err(Failure::file("read", &path))?;
    Ok([Added { path: format!("usr/share/aios/agents/{ATTACKER}.toml"), content, mode: 0o644 }])
}

/// Each of the agent's attacks is refused with its reason, and what it asked for first is done once, as a person saw it.
pub(crate) fn by_an_agent(aios: &mut Aios) -> Result<(), Failure> {
    aios.json(&format!("agent run {ATTACKER}"))?;
    let report = reported(aios, "the guards:")?;
    for (what, expected) in [
        ("request", "a person has to approve this first"),
        ("swapped", "asked for something else"),
        ("flood", "15 wait, 9 refused"),
        ("homoglyph", "'name'"),
        ("backwards", "'name'"),
        ("invisible", "'name'"),
        ("backwards reason", "'reason'"),
        ("terminal reason", "'reason'"),
        ("another agent", "denied (NoMatchingPermit)"),
        ("another policy", "denied ("),
        ("another person", "denied ("),
        ("another clock", "denied (NoMatchingPermit)"),
        ("the guards", "denied ("),
    ] {
        let line = report.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(": "));
        ensure!(line.is_some_and(|line| line.contains(expected)), "'{what}' is not '{expected}':\n{report}");
    }
    let (action, approval) = one_of_many(aios)?;
    aios.approve(&approval)?;
    let report = reported(aios, "replayed:")?;
    ensure!(report.contains("request at last: done and measured"), "what was approved was not done:\n{report}");
    ensure!(report.contains("replayed: 0 other actions"), "an approval was used again:\n{report}");
    aios.ends(&format!("approval approve {approval}"), Status::Failed)?;
    let records = aios.json(&format!("evidence query --action {action}"))?;
    let started = kinds(&records)?.into_iter().filter(|kind| *kind == "started").count();
    ensure!(started == 1, "the approved action began {started} times: {records:#}");
    refused_and_recorded(aios)?;
    let shown = aios.json(&format!("agent show {ATTACKER}"))?;
    for view in list(&shown["actions"])?.iter().filter(|view| view["state"]["state"] == "succeeded") {
        let own = view["id"] == action || view["request"]["type"] == "object.put";
        ensure!(own, "an attack had its effect: {view:#}");
    }
    aios.ok("evidence verify")?;
    Ok(())
}

/// The request that a person is asked about, among a flood of others: as many wait as may, and each says whose it is.
fn one_of_many(aios: &mut Aios) -> Result<(String, String), Failure> {
    let approvals = aios.json("approval list")?;
    let mine: Vec<_> = list(&approvals)?.iter().filter(|approval| approval["state"]["state"] == "waiting").collect();
    ensure!(mine.len() == WAITING, "{} requests wait: {approvals:#}", mine.len());
    ensure!(mine.iter().all(|approval| approval["subject"]["name"] == ATTACKER), "a request is another's: {mine:#?}");
    let one = mine.iter().find(|approval| approval["reason"] == "the one request");
    let one = one.ok_or_else(|| Failure::broken(format!("the first request is gone: {approvals:#}")))?;
    let shown = one["parameters"].to_string();
    ensure!(shown.contains("network") && !shown.contains("logbook"), "a person sees another request: {one:#}");
    Ok((text(one, "action")?.to_owned(), text(one, "id")?.to_owned()))
}

/// The log has a decision for each refusal that policy gave, under the agent's name.
fn refused_and_recorded(aios: &mut Aios) -> Result<(), Failure> {
    let denied = aios.json("evidence query --kind decision --subject agent:attacker --outcome denied --limit 100")?;
    let said: Vec<String> = list(&denied)?.iter().map(|record| record["payload"].to_string()).collect();
    for (reason, count) in
        [("TooManyWaiting", 9), ("agent.run", 1), ("policy.load", 1), ("user.add", 1), ("time.set", 1)]
    {
        let found = said.iter().filter(|payload| payload.contains(reason)).count();
        ensure!(found >= count, "the log has {found} of {count} denials with {reason}: {denied:#}");
    }
    Ok(())
}

/// The agent's report, once it has this text.
fn reported(aios: &mut Aios, wanted: &str) -> Result<String, Failure> {
    let begin = std::time::Instant::now();
    loop {
        let report = aios.machine.console.run(&format!("object get {REPORT}"), COMMAND)?.text;
        if report.contains(wanted) {
            return Ok(report);
        }
        ensure!(begin.elapsed() < ATTACKED, "the agent does not report '{wanted}':\n{report}");
        std::thread::sleep(Duration::from_secs(2));
    }
}

/// How long a request waits under the policy of this attack, and how long after that it is found to be over.
const WAITS: Duration = Duration::from_secs(180);
const OVER: Duration = Duration::from_secs(90);

/// A clock that is set a year forward ends nothing early, and one that is set back a year revives nothing.
pub(crate) fn with_the_clock(aios: &mut Aios, stage: &Stage<'_>) -> Result<(), Failure> {
    short_approvals(aios, stage)?;
    let begin = std::time::Instant::now();
    let (action, approval) = waiting(aios, "action submit node.reboot --reason the-clock")?;
    set_clock(aios, "2028-06-01T12:00:00Z")?;
    let shown = aios.json(&format!("approval show {approval}"))?;
    if begin.elapsed() < WAITS {
        ensure!(shown["state"]["state"] == "waiting", "a clock set forward ended a request: {shown:#}");
    }
    let line = format!("approval show {approval}");
    let over =
        aios.until(&line, "the end of the request", WAITS + OVER, |shown| shown["state"]["state"] == "expired")?;
    ensure!(over["state"]["why"] == "time", "it ended for another reason: {over:#}");
    ensure!(begin.elapsed() >= WAITS / 2, "it ended after {} s", begin.elapsed().as_secs());

    set_clock(aios, "2026-12-01T12:00:00Z")?;
    let shown = aios.json(&line)?;
    ensure!(shown["state"]["state"] == "expired", "a clock set back revived a request: {shown:#}");
    aios.ends(&format!("approval approve {approval}"), Status::Failed)?;
    let records = aios.json(&format!("evidence query --action {action}"))?;
    ensure!(!kinds(&records)?.contains(&"started"), "the action began: {records:#}");
    super::evidence::says_that_the_clock_went_back(aios)?;
    aios.ok("evidence verify")?;
    Ok(())
}

/// Sets the clock, as a person who confirms it.
fn set_clock(aios: &mut Aios, time: &str) -> Result<(), Failure> {
    let (action, approval) = waiting(aios, &format!("action submit time.set time={time}"))?;
    aios.approve(&approval)?;
    let view = aios.json(&format!("action watch {action}"))?;
    ensure!(view["state"]["state"] == "succeeded", "the clock was not set: {view:#}");
    Ok(())
}

/// Puts the tree's policy in force with requests that wait for minutes.
fn short_approvals(aios: &mut Aios, stage: &Stage<'_>) -> Result<(), Failure> {
    let folder = stage.context.source("rootfs/policy");
    let mut sources = Vec::new();
    for name in ["operators.cedar", "agents.cedar"] {
        let path = folder.join(name);
        sources.push((name.to_owned(), fs::read_to_string(&path).map_err(Failure::file("read", &path))?));
    }
    let minutes = WAITS.as_secs() / 60;
    let about = format!(
        "epoch = 2000\n[approvals]\nwaits-min = {minutes}\nlasts-min = {minutes}\n\
         [[case]]\nwho = \"agent:helper\"\ntype = \"node.reboot\"\nexpect = \"denied\"\n"
    );
    sources.push(("bundle.toml".to_owned(), about));
    let bundle = (stage.context.make_bundle)(&sources).map_err(Failure::broken)?;
    let cache = NixCache::make(&stage.folder)?;
    let path = cache.add_files("policies", &[("short", bundle)])?;
    let web = Web::serve(&cache.folder)?;
    aios.ok(&format!("store add {path} --cache {} --key {}", web.url(), cache.key))?;
    let view = aios.json_of(&format!("policy load {path}/short"), Status::Waits)?;
    aios.approve(text(&view["state"], "approval")?)?;
    let line = format!("action watch {}", text(&view, "id")?);
    let done = aios.json(&line)?;
    ensure!(done["state"]["state"] == "succeeded", "the policy was not loaded: {done:#}");
    Ok(())
}
