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
    /// Epoch 1002: nobody may change settings, and people may roll them back after a plan.
    pub(crate) sparse: String,
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
        let huge = vec![b' '; 10 << 20];
        let sparse = sparse_bundle(stage)?;
        let files = [("wider", wider), ("older", older), ("changed", changed), ("huge", huge), ("sparse", sparse)];
        let path = cache.add_files("policies", &files)?;
        let web = Web::serve(&cache.folder)?;
        aios.ok(&format!("store add {path} --cache {} --key {}", web.url(), cache.key))?;
        let file = |name: &str| format!("{path}/{name}");
        Ok(Self {
            wider: file("wider"),
            older: file("older"),
            changed: file("changed"),
            huge: file("huge"),
            sparse: file("sparse"),
        })
    }
}

/// The tree's rules for people without the one on settings, and with one that wants a plan.
fn sparse_bundle(stage: &Stage<'_>) -> Result<Vec<u8>, Failure> {
    let path = stage.context.source("rootfs/policy/operators.cedar");
    let rules = fs::read_to_string(&path).map_err(Failure::file("read", &path))?;
    let kept: Vec<_> = rules.split("\n\n").filter(|rule| !rule.contains("@id(\"operator-settings\")")).collect();
    let planned = "@id(\"after-a-plan\")\n@plan(\"first\")\n\
                   permit (principal is Operator, action == Action::\"settings.rollback\", resource);\n";
    let about = "epoch = 1002\n[[case]]\nwho = \"operator:ada\"\ntype = \"settings.set\"\n\
                 parameters = { key = \"motd\", value = \"x\" }\nexpect = \"denied\"\nreason = \"NoMatchingPermit\"\n";
    let sources = [
        ("operators.cedar".to_owned(), kept.join("\n\n")),
        ("planned.cedar".to_owned(), planned.to_owned()),
        ("bundle.toml".to_owned(), about.to_owned()),
    ];
    (stage.context.make_bundle)(&sources).map_err(|why| Failure::broken(format!("no bundle was made: {why}")))
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
    let done = load_approved(aios, &action, &approval)?;
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

fn load_approved(aios: &mut Aios, action: &str, approval: &str) -> Result<serde_json::Value, Failure> {
    aios.approve(approval)?;
    let done = aios.until(&format!("action show {action}"), "the load", COMMAND, |view| {
        ["succeeded", "failed", "denied"].iter().any(|state| view["state"]["state"] == *state)
    })?;
    ensure!(done["state"]["state"] == "succeeded", "the load ended as {done:#}");
    Ok(done)
}

/// A wrong code changes nothing but a count; with the right one the policy is in force.
pub(crate) fn loaded_with_its_code(aios: &mut Aios, file: &str) -> Result<(), Failure> {
    let view = aios.json_of(&format!("policy load {file}"), Status::Waits)?;
    let (action, approval) = (text(&view, "id")?.to_owned(), text(&view["state"], "approval")?.to_owned());
    let shown = aios.json(&format!("approval show {approval}"))?;
    let wrong = if text(&shown, "code")? == "2222" { "3333" } else { "2222" };
    for (options, status, why) in
        [(format!("--code {wrong}"), Status::Denied, "WrongCode"), ("--json".to_owned(), Status::Failed, "CodeNeeded")]
    {
        let said = aios.ends(&format!("approval approve {approval} {options}"), status)?;
        ensure!(said.contains(why), "it does not say {why}:\n{said}");
    }
    let counted = aios.json(&format!("approval show {approval}"))?;
    ensure!(
        counted["wrong_codes"] == 1 && counted["state"] == shown["state"],
        "a wrong code is not counted: {counted:#}"
    );
    load_approved(aios, &action, &approval).map(drop)
}

/// What no rule permits is denied, permitted while an emergency lasts, and denied again; each step is on record.
pub(crate) fn an_emergency_lifts_what_nobody_thought_of(aios: &mut Aios) -> Result<(), Failure> {
    let set = "settings set motd emergency";
    let denied = |aios: &mut Aios| -> Result<(), Failure> {
        let view = aios.json_of(set, Status::Denied)?;
        ensure!(view["state"]["reason"] == "NoMatchingPermit", "it was denied otherwise: {view:#}");
        Ok(())
    };
    denied(aios)?;
    aios.ends("policy override start --minutes 61 --reason test", Status::Denied)?;
    aios.ok("policy override start --minutes 5 --reason test")?;
    let status = aios.json("status")?;
    ensure!(status["override"]["reason"] == "test", "the machine's status does not show it: {status:#}");
    aios.ok(set)?;
    // What is forbidden and what is compiled in stay so.
    for name in ["launcher", "evidence-log"] {
        aios.ends(&format!("service stop {name}"), Status::Denied)?;
    }
    aios.ok("policy override end")?;
    denied(aios)?;
    let records = aios.json("evidence query --kind override")?;
    let told: Vec<_> = list(&records)?.iter().map(|record| record["payload"]["what"].as_str()).collect();
    ensure!(told == [Some("started"), Some("used"), Some("ended")], "other records: {records:#}");
    Ok(())
}

/// What wants a plan is denied until the same words were planned.
pub(crate) fn a_plan_comes_first(aios: &mut Aios) -> Result<(), Failure> {
    let roll_back = "action submit settings.rollback generation=0";
    let view = aios.json_of(roll_back, Status::Denied)?;
    ensure!(view["state"]["reason"] == "PlanFirst", "it was denied otherwise: {view:#}");
    aios.ok(&format!("{roll_back} --dry-run"))?;
    aios.ok(roll_back).map(drop)
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

/// Runs a command that changes who decides, and answers what it asks: each new pass phrase, the own one, the code.
pub(crate) fn change(aios: &mut Aios, line: &str, new: &[(String, String)]) -> Result<(), Failure> {
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
