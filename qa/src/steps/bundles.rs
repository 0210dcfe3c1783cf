//! Policies that are brought to the machine in a store path, and the people who may log in.

use std::fs;
use std::time::Duration;

use super::{Aios, COMMAND, OPERATOR, Status, list, text};
use crate::host::nix_cache::NixCache;
use crate::host::web::Web;
use crate::scenario::{Failure, Stage, ensure};
use crate::vm::Login;

/// Gives agents something, and the list of that must be shown.
const WIDER: &str = "@id(\"wider\")\npermit (principal is Agent, action == Action::\"agent.run\", resource);\n";
const GAIN: &str = "every agent, agent.run: denied -> allowed";

/// Where the bundles are on the machine.
pub(crate) struct Offered {
    /// Epoch 1001: agents get more.
    pub(crate) wider: String,
    /// Epoch 1000, signed as well.
    older: String,
    /// One byte of a good one is another.
    changed: String,
    /// More than a bundle can have.
    huge: String,
}

impl Offered {
    /// Makes bundles on the host and has the machine fetch them.
    pub(crate) fn bring(aios: &mut Aios, stage: &Stage<'_>) -> Result<Self, Failure> {
        let wider = bundle(stage, 1001)?;
        let older = bundle(stage, 1000)?;
        let mut changed = wider.clone();
        let middle = changed.len() / 2;
        changed[middle] ^= 1;
        let cache = NixCache::make(&stage.folder)?;
        let files = [("wider", wider), ("older", older), ("changed", changed), ("huge", vec![b' '; 10 << 20])];
        let path = cache.add_files("policies", &files)?;
        let web = Web::serve(&cache.folder)?;
        aios.ok(&format!("store add {path} --cache {} --key {}", web.url(), cache.key))?;
        let file = |name: &str| format!("{path}/{name}");
        Ok(Self { wider: file("wider"), older: file("older"), changed: file("changed"), huge: file("huge") })
    }
}

/// The tree's policy with one rule more, under this epoch. Its cases are those that the rule leaves as they are.
fn bundle(stage: &Stage<'_>, epoch: u32) -> Result<Vec<u8>, Failure> {
    let read = |name: &str| {
        let path = stage.context.source("rootfs/policy").join(name);
        fs::read_to_string(&path).map_err(Failure::file("read", &path))
    };
    let about = format!(
        "epoch = {epoch}\n[[case]]\nwho = \"agent:helper\"\ntype = \"agent.run\"\nparameters = {{ name = \"other\" }}\n\
         expect = \"allowed\"\n"
    );
    let sources = [
        ("operators.cedar".to_owned(), read("operators.cedar")?),
        ("agents.cedar".to_owned(), read("agents.cedar")?),
        ("wider.cedar".to_owned(), WIDER.to_owned()),
        ("bundle.toml".to_owned(), about),
    ];
    (stage.context.make_bundle)(&sources).map_err(|why| Failure::broken(format!("no bundle was made: {why}")))
}

/// What is not sound is refused with its reason, and nothing changes.
pub(crate) fn refused(aios: &mut Aios, offered: &Offered) -> Result<(), Failure> {
    let before = aios.json("policy show")?;
    for (file, why) in [(&offered.changed, "signature does not fit"), (&offered.huge, "at most")] {
        for verb in ["check", "load"] {
            let said = aios.ends(&format!("policy {verb} {file}"), Status::Failed)?;
            ensure!(said.contains(why), "'policy {verb}' does not say '{why}':\n{said}");
        }
    }
    let report = aios.json(&format!("policy check {}", offered.wider))?;
    ensure!(
        list(&report["widens_agents"])?.iter().any(|line| line == GAIN),
        "what agents gain is not said: {report:#}"
    );
    ensure!(aios.json("policy show")? == before, "a check changed the policy");
    Ok(())
}

/// A person sees what changes, says yes, and from then on the new rules decide.
pub(crate) fn loaded(aios: &mut Aios, file: &str, epoch: u32) -> Result<(), Failure> {
    let old = aios.json_of("action submit node.reboot --reason under-the-old-policy", Status::Waits)?;
    let view = aios.json_of(&format!("policy load {file}"), Status::Waits)?;
    let (action, approval) = (text(&view, "id")?.to_owned(), text(&view["state"], "approval")?.to_owned());
    let shown = aios.json(&format!("approval show {approval}"))?;
    let lines = list(&shown["shows"])?;
    ensure!(lines.iter().any(|line| line == GAIN), "the person is not shown what agents gain: {shown:#}");
    aios.approve(&approval)?;
    let done = aios.until(&format!("action show {action}"), "the load", COMMAND, |view| {
        ["succeeded", "failed", "denied"].iter().any(|state| view["state"]["state"] == *state)
    })?;
    ensure!(done["state"]["state"] == "succeeded", "the load ended as {done:#}");
    super::actions::receipts(aios, &done)?;
    let policy = aios.json("policy show")?;
    ensure!(text(&policy, "epoch")?.starts_with(&format!("{epoch}-")), "another policy decides: {policy:#}");
    aios.ok("policy test")?;
    let records = aios.json("evidence query --kind policy-loaded")?;
    let [record] = list(&records)? else {
        return Err(Failure::broken(format!("there is not one record of the load: {records:#}")));
    };
    ensure!(record["payload"]["epoch"] == policy["epoch"], "the record names another policy: {record:#}");
    // What waited under the old rules is void, and says why.
    let void = aios.json(&format!("approval show {}", text(&old["state"], "approval")?))?;
    ensure!(void["state"]["why"] == "policy", "a request of the old policy stands: {void:#}");
    Ok(())
}

/// A signed bundle with a lower number is denied with its reason.
pub(crate) fn older_is_refused(aios: &mut Aios, offered: &Offered) -> Result<(), Failure> {
    let said = aios.ends(&format!("policy load {}", offered.older), Status::Denied)?;
    ensure!(said.contains("PolicyOlder"), "the refusal does not say why:\n{said}");
    Ok(())
}

/// Lets one more person log in.
pub(crate) fn person_added(aios: &mut Aios, name: &str, pass_phrase: &str) -> Result<(), Failure> {
    let new = [(format!("pass phrase of {name}: "), pass_phrase.to_owned())];
    change(aios, &format!("user add {name}"), &new)?;
    let people = aios.json("user list")?;
    let listed = list(&people["operators"])?.iter().any(|person| person["name"] == name);
    ensure!(listed, "{name} is not listed: {people:#}");
    Ok(())
}

/// Changes the pass phrase of who is logged in; the next login uses it.
pub(crate) fn pass_phrase_changed(aios: &mut Aios, pass_phrase: &str) -> Result<(), Failure> {
    change(aios, "user passwd", &[("new pass phrase: ".to_owned(), pass_phrase.to_owned())])?;
    if let Login::As { pass_phrase: own, .. } = &mut aios.login {
        *own = pass_phrase.to_owned();
    }
    changed_once(aios)?;
    // The old one is worth nothing: a second change with it is refused.
    let (line, own) = ("user passwd", super::PASS_PHRASE);
    let answers = [("new pass phrase: ", "x y z"), ("once more: ", "x y z"), (OWN, own)];
    let status = interactive(aios, line, &answers)?;
    ensure!(status == Status::Denied as u8, "the old pass phrase still counts: status {status}");
    Ok(())
}

/// The installed operator's pass phrase was changed once.
pub(crate) fn changed_once(aios: &mut Aios) -> Result<(), Failure> {
    let people = aios.json("user list")?;
    let changes = list(&people["operators"])?.iter().find(|person| person["name"] == OPERATOR).map(|p| &p["changes"]);
    ensure!(
        changes.is_some_and(|changes| *changes == 1),
        "{OPERATOR} has another pass phrase than expected: {people:#}"
    );
    let log = aios.ok("evidence query --kind operator")?;
    ensure!(!log.contains("argon2") && !log.contains("battery"), "the log holds a secret:\n{log}");
    Ok(())
}

const OWN: &str = "your own pass phrase, as it is now: ";

fn change(aios: &mut Aios, line: &str, new: &[(String, String)]) -> Result<(), Failure> {
    let own = match &aios.login {
        Login::As { pass_phrase, .. } => Some(pass_phrase.clone()),
        Login::Already => None,
    };
    let mut answers: Vec<(&str, &str)> = Vec::new();
    for (question, answer) in new {
        answers.extend([(question.as_str(), answer.as_str()), ("once more: ", answer.as_str())]);
    }
    answers.extend(own.as_deref().map(|own| (OWN, own)));
    let status = interactive(aios, line, &answers)?;
    ensure!(status == 0, "'{line}' ended with status {status}");
    Ok(())
}

/// Runs a command that asks, and answers each question; the last is for the code of the request that it shows.
fn interactive(aios: &mut Aios, line: &str, answers: &[(&str, &str)]) -> Result<u8, Failure> {
    aios.machine.console.start(line, COMMAND)?;
    for (question, answer) in answers {
        aios.machine.console.wait_for(question, COMMAND)?;
        // What is typed before the terminal stops showing it is thrown away.
        std::thread::sleep(Duration::from_millis(500));
        aios.machine.console.type_line(answer)?;
    }
    let shown = aios.machine.console.looked();
    aios.machine.console.wait_for("type the code to approve: ", COMMAND)?;
    let request = aios.machine.console.said_between(shown, aios.machine.console.looked());
    let code = request.lines().find_map(|line| line.trim().strip_prefix("code "));
    let code = code.ok_or_else(|| Failure::broken(format!("'{line}' shows no code:\n{request}")))?.trim().to_owned();
    aios.machine.console.type_line(&code)?;
    Ok(aios.machine.console.finish(line, COMMAND)?.status)
}
