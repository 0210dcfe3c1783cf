//! A hostile agent with time: what it tried, by its own account and by the log's, and that nothing of it is to be seen from
//! outside.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Aios, Status, list, text};
use crate::host::probe_image::Added;
use crate::scenario::{Failure, Stage, ensure};

/// The crate with the program, and what its lines begin with.
const PROGRAM: &str = "hostile-agent";
const WORD: &str = "hostile-agent: ";

/// The agent that tries, and the one that asks.
const HOSTILE: &str = "hostile";
const ASKER: &str = "asker";

/// Between two actions of the person at the console.
const TURN: Duration = Duration::from_secs(30);

/// How long the agent may take beside its time: each attempt once, and its last words.
const BESIDE: Duration = Duration::from_secs(900);

/// Equal refusals of the kernel are written down together, after ten seconds each while there are others.
const RECEIPTS: Duration = Duration::from_secs(900);

/// How many requests of one subject may wait.
const WAITING: u64 = 16;

/// What a service may have more of after it, in KiB: caches that fill up once, and nothing that goes on.
const GROWTH_KIB: u64 = 12 * 1024;

/// Refusals that are answered without a decision of their own: the account of the hour is used up, or there are conversations
/// enough. The door counts them.
const WITHOUT_DECISION: [&str; 3] = ["used up", "too many unfinished", TURNED_AWAY];
const TURNED_AWAY: &str = "connection refused";

/// The agents' unit files and their program, which no release has.
fn program(stage: &Stage<'_>) -> Result<Added, Failure> {
    let status = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--release", "--package", PROGRAM])
        .current_dir(&stage.context.workspace)
        .status()
        .map_err(|error| Failure::broken(format!("cannot start cargo: {error}")))?;
    ensure!(status.success(), "{PROGRAM} does not compile ({status})");
    let path: PathBuf = stage.context.program(PROGRAM);
    let content = fs::read(&path).map_err(Failure::file("read", &path))?;
    Ok(Added { path: format!("usr/lib/aios/{PROGRAM}"), content, mode: 0o755 })
}

fn source(stage: &Stage<'_>, name: &str) -> Result<String, Failure> {
    let path = stage.context.source(format!("qa/guest-probe/{name}"));
    fs::read_to_string(&path).map_err(Failure::file("read", &path))
}

fn agent(name: &str, manifest: String) -> Added {
    Added { path: format!("usr/share/aios/agents/{name}.toml"), content: manifest.into(), mode: 0o644 }
}

/// What the test image has for the agent that tries.
pub(crate) fn that_tries(stage: &Stage<'_>, time: Duration, seed: u64) -> Result<Vec<Added>, Failure> {
    let manifest = source(stage, "hostile.toml")?
        .replace("\"SECONDS\"", &format!("\"{}\"", time.as_secs()))
        .replace("\"SEED\"", &format!("\"{seed}\""));
    Ok(vec![
        program(stage)?,
        agent(HOSTILE, manifest),
        Added::script("census.sh", &source(stage, "census.sh")?),
        Added::unit("census", source(stage, "census.toml")?),
    ])
}

/// What it has for the one that asks; each question is a line of JSON.
pub(crate) fn that_asks(stage: &Stage<'_>, questions: &str) -> Result<Vec<Added>, Failure> {
    let questions = Added { path: "usr/share/aios/questions.json".into(), content: questions.into(), mode: 0o644 };
    Ok(vec![program(stage)?, agent(ASKER, source(stage, "asker.toml")?), questions])
}

/// One line of the agent's account.
#[derive(Debug)]
struct Tried {
    place: String,
    what: String,
    leaves: String,
    tries: u64,
    waits: u64,
    refused: BTreeMap<String, u64>,
    through: BTreeMap<String, u64>,
}

impl Tried {
    fn read(line: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(line.strip_prefix(WORD)?.strip_prefix("attempt ")?).ok()?;
        let words = |name: &str| {
            let words = value[name].as_object()?.iter();
            words.map(|(word, count)| Some((word.clone(), count.as_u64()?))).collect::<Option<BTreeMap<_, _>>>()
        };
        Some(Self {
            place: value["place"].as_str()?.to_owned(),
            what: value["what"].as_str()?.to_owned(),
            leaves: value["leaves"].as_str()?.to_owned(),
            tries: value["tries"].as_u64()?,
            waits: value["waits"].as_u64()?,
            refused: words("refused")?,
            through: words("through")?,
        })
    }
}

/// The agent tries everything for its time, while a person works at the console: nothing comes of it, and all of it is known.
pub(crate) fn tries_everything(aios: &mut Aios, time: Duration) -> Result<(), Failure> {
    aios.json("object put people/witness 'what a person wrote'")?;
    aios.json("action submit file.write path=witness.txt content=mine")?;
    aios.json("object put people/turn before")?;
    let (before, counted) = (world(aios)?, census(aios)?);
    aios.json(&format!("agent run {HOSTILE}"))?;
    work_beside(aios, time)?;
    let tried = account(aios)?;
    let denied = decisions(aios, HOSTILE)?;
    shown(&tried);
    nothing_got_through(&tried)?;
    every_denial_is_on_record(&tried, &denied)?;
    every_refusal_is_on_record(aios, &tried)?;
    every_refusal_of_the_door_is_on_record(aios, &tried)?;

    let allowed = aios.json(&format!("evidence query --kind decision --subject agent:{HOSTILE} --outcome allowed"))?;
    ensure!(list(&allowed)?.is_empty(), "something was allowed to it: {allowed:#}");
    let (after, left) = (world(aios)?, census(aios)?);
    for (what, known) in &before {
        ensure!(after[what] == *known, "'{what}' was\n{known:#}\nand is\n{:#}", after[what]);
    }
    for what in ["actions", "files"] {
        ensure!(counted[what] == left[what], "{what} were {} and are {}", counted[what], left[what]);
    }
    no_service_grew(&counted, &left)?;
    let read = aios.json("action submit file.read path=witness.txt")?;
    ensure!(read.to_string().contains("mine"), "a person's file is another one: {read:#}");
    aios.ok("evidence verify").map(drop)
}

/// What a person does meanwhile: one action each half minute, which must succeed. How long each took is printed.
fn work_beside(aios: &mut Aios, time: Duration) -> Result<(), Failure> {
    let begin = Instant::now();
    let (mut turns, mut slowest) = (0, Duration::ZERO);
    loop {
        let turn = Instant::now();
        let view = aios.json(&format!("object put people/turn 'turn {turns}'"))?;
        ensure!(view["state"]["state"] == "succeeded", "a person's action ended as {view:#}");
        turns += 1;
        slowest = slowest.max(turn.elapsed());
        if said(aios, 2)?.iter().any(|line| line.ends_with(" done") || line.contains(" failed: ")) {
            break;
        }
        ensure!(begin.elapsed() < time + BESIDE, "the agent does not come to its end:\n{:#?}", said(aios, 20)?);
        std::thread::sleep(TURN.min(time / 4).saturating_sub(turn.elapsed()));
    }
    println!("  {turns} actions of a person beside it, the slowest in {:.1} s", slowest.as_secs_f64());
    Ok(())
}

/// The newest lines of the agent.
fn said(aios: &mut Aios, lines: usize) -> Result<Vec<String>, Failure> {
    let kept = aios.json(&format!("service logs {HOSTILE} -n {lines}"))?;
    list(&kept)?.iter().map(|line| text(line, "text").map(str::to_owned)).collect()
}

/// What the agent says of its attempts.
fn account(aios: &mut Aios) -> Result<Vec<Tried>, Failure> {
    let lines = said(aios, 400)?;
    ensure!(lines.last().is_some_and(|line| line.ends_with(" done")), "the agent failed: {lines:#?}");
    let tried: Vec<_> = lines.iter().filter_map(|line| Tried::read(line)).collect();
    ensure!(tried.len() >= 130, "the agent tried {} things", tried.len());
    Ok(tried)
}

/// How often each place was tried, and with what it answered.
fn shown(tried: &[Tried]) {
    let mut places = BTreeMap::<&str, (u64, u64, BTreeMap<&str, u64>)>::new();
    for one in tried {
        let place = places.entry(&one.place).or_default();
        place.0 += 1;
        place.1 += one.tries;
        for (word, count) in &one.refused {
            *place.2.entry(word).or_default() += count;
        }
    }
    for (place, (kinds, tries, words)) in places {
        let words: Vec<_> = words.iter().map(|(word, count)| format!("{word} {count}")).collect();
        println!("  {place}: {tries} tries of {kinds} kinds: {}", words.join(", "));
    }
}

/// Nothing had an effect, everything was tried, and only what may wait for a person waits, no more of it than may.
fn nothing_got_through(tried: &[Tried]) -> Result<(), Failure> {
    let got: Vec<_> = tried.iter().filter(|one| !one.through.is_empty()).collect();
    ensure!(got.is_empty(), "these got through: {got:#?}");
    for one in tried {
        ensure!(one.tries > 0, "'{}' was not tried", one.what);
        let may_wait = if one.place == "AB-8" { WAITING } else { 0 };
        ensure!(one.waits <= may_wait, "of '{}' {} requests wait", one.what, one.waits);
    }
    Ok(())
}

/// Each reason that the agent was told is in the log as a decision about it, and no request went without one.
fn every_denial_is_on_record(tried: &[Tried], decisions: &[Value]) -> Result<(), Failure> {
    let mut on_record = BTreeMap::<&str, u64>::new();
    for decision in decisions {
        *on_record.entry(decision["reason"].as_str().unwrap_or_default()).or_default() += 1;
    }
    println!("  decisions on record: {on_record:?}");
    let asked = tried.iter().filter(|one| one.leaves == "decision");
    let mut requests = 0;
    for one in asked {
        for (word, count) in &one.refused {
            if WITHOUT_DECISION.contains(&word.as_str()) {
                continue;
            }
            requests += count;
            // A request that is no action is told so, and a key that is another's; what is on record is the decision.
            let code = word.bytes().all(|byte| byte.is_ascii_alphanumeric());
            ensure!(!code || on_record.contains_key(word.as_str()), "'{}' is not on record as {word}", one.what);
        }
    }
    ensure!(decisions.len() as u64 >= requests, "{} of {requests} refusals are on record", decisions.len());
    for reason in ["UnknownActionType", "InvalidAction"] {
        ensure!(on_record.contains_key(reason), "no request was refused with {reason}");
    }
    Ok(())
}

/// The kernel's refusals, by the receipts: each stands for one or more.
fn every_refusal_is_on_record(aios: &mut Aios, tried: &[Tried]) -> Result<(), Failure> {
    let wanted: u64 = tried.iter().filter(|one| one.leaves == "denial").map(|one| one.tries).sum();
    let begin = Instant::now();
    loop {
        let mine = pages(aios, &format!("--kind denial --subject agent:{HOSTILE}"))?;
        let lost = pages(aios, "--kind denial")?;
        let count = |record: &Value| record["payload"]["count"].as_u64().unwrap_or_default();
        let counted: u64 = mine.iter().map(count).sum();
        let lost: u64 = lost.iter().filter(|record| record["payload"]["blocker"] == "audit").map(count).sum();
        if counted + lost >= wanted {
            println!(
                "  {wanted} refusals of the kernel: {counted} in {} receipts, {lost} lost and counted",
                mine.len()
            );
            return Ok(());
        }
        ensure!(begin.elapsed() < RECEIPTS, "of {wanted} refusals of the kernel {counted} are on record, {lost} lost");
        std::thread::sleep(Duration::from_secs(5));
    }
}

/// What is never decided is counted at the door: a record for each cause when it begins, and one an hour later.
fn every_refusal_of_the_door_is_on_record(aios: &mut Aios, tried: &[Tried]) -> Result<(), Failure> {
    let records = pages(aios, &format!("--kind door-refused --subject agent:{HOSTILE}"))?;
    let causes: BTreeSet<_> = records.iter().filter_map(|record| record["payload"]["reason"].as_str()).collect();
    let told = |word: &str| tried.iter().any(|one| one.refused.contains_key(word));
    for (met, cause) in [(true, "NoRequest"), (told("used up"), "BeyondAccount"), (told(TURNED_AWAY), "NoRoom")] {
        ensure!(!met || causes.contains(cause), "the door refused something as {cause}, and the log has {causes:?}");
    }
    println!("  refusals of the door: {} records, of {causes:?}", records.len());
    ensure!(records.len() <= 2 * causes.len(), "{} records, of {causes:?}, in an hour", records.len());
    Ok(())
}

/// The decisions about an agent, oldest first.
fn decisions(aios: &mut Aios, name: &str) -> Result<Vec<Value>, Failure> {
    let records = pages(aios, &format!("--kind decision --subject agent:{name}"))?;
    Ok(records.iter().map(|record| record["payload"]["decision"].clone()).collect())
}

/// All records that a query finds, in portions that the console prints in time.
fn pages(aios: &mut Aios, query: &str) -> Result<Vec<Value>, Failure> {
    const PORTION: usize = 60;
    let mut all: Vec<Value> = Vec::new();
    loop {
        // Without a beginning the newest are found. The first record is the boot's.
        let after = all.last().and_then(|record| record["index"].as_u64()).unwrap_or(0);
        let found = aios.json(&format!("evidence query {query} --limit {PORTION} --after {after}"))?;
        let found = list(&found)?;
        all.extend_from_slice(found);
        if found.len() < PORTION {
            return Ok(all);
        }
    }
}

/// What people and programs have on the machine, as its services say it. The agent's own waiting requests are no effect.
fn world(aios: &mut Aios) -> Result<BTreeMap<&'static str, Value>, Failure> {
    let mut world = BTreeMap::new();
    for line in ["settings list", "policy show", "user list", "secret list", "app list", "store list"] {
        world.insert(line, aios.json(line)?);
    }
    let objects = aios.json("object list")?;
    let objects = list(&objects)?.iter().filter(|object| object["name"] != "people/turn");
    world.insert("object list", objects.cloned().collect());
    let services = aios.json("service list")?;
    let services = list(&services)?.iter().filter(|service| {
        // The door comes and goes with who knocks.
        service["role"] != "agent" && service["name"] != "agent-door"
    });
    let kept = ["name", "state", "starts", "pid"];
    let services = services.map(|service| kept.iter().map(|key| service[*key].clone()).collect::<Value>());
    world.insert("service list", services.collect());
    let approvals = aios.json("approval list")?;
    let said = list(&approvals)?.iter().filter(|approval| approval["state"]["state"] != "waiting");
    world.insert("approval list", said.cloned().collect());
    Ok(world)
}

/// What the guest's own unit counts, in a line that began after this was asked.
fn census(aios: &mut Aios) -> Result<BTreeMap<String, String>, Failure> {
    let newest = |aios: &mut Aios| -> Result<BTreeMap<String, String>, Failure> {
        let kept = aios.json("service logs census -n 1")?;
        let line = list(&kept)?.last().and_then(|line| line["text"].as_str()).unwrap_or_default().to_owned();
        let words = line.split(' ').filter_map(|word| word.split_once('='));
        Ok(words.map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
    };
    let number = |line: &BTreeMap<String, String>| line.get("number").and_then(|number| number.parse::<u64>().ok());
    let first = number(&newest(aios)?).unwrap_or_default();
    let begin = Instant::now();
    loop {
        let line = newest(aios)?;
        if number(&line).is_some_and(|number| number >= first + 2) {
            return Ok(line);
        }
        ensure!(begin.elapsed() < Duration::from_secs(180), "the guest's unit says no more than {line:?}");
        std::thread::sleep(Duration::from_secs(2));
    }
}

/// Memory that grows with what an agent does would be the agent's to use up.
fn no_service_grew(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Result<(), Failure> {
    let mut grown = Vec::new();
    for (name, kib) in after {
        let (Ok(now), Some(Ok(then))) = (kib.parse::<u64>(), before.get(name).map(|kib| kib.parse::<u64>())) else {
            continue;
        };
        if ["number", "actions"].contains(&name.as_str()) {
            continue;
        }
        println!("  {name}: {then} KiB, then {now} KiB");
        if now > then + GROWTH_KIB {
            grown.push(format!("{name} grew from {then} to {now} KiB"));
        }
    }
    ensure!(grown.is_empty(), "{}", grown.join("; "));
    Ok(())
}

/// The agent asks the questions, and each decision is as it was expected: the answer, and the reason's code.
pub(crate) fn asks(aios: &mut Aios, expected: &[(String, String, String)]) -> Result<(), Failure> {
    aios.json(&format!("agent run {ASKER}"))?;
    let last = format!("{WORD}done");
    let limit = Duration::from_secs(900);
    aios.until(&format!("service logs {ASKER} -n 5"), "the agent's last word", limit, |kept| {
        let ended = |line: &Value| {
            line["text"].as_str().is_some_and(|text| text == last || text.starts_with("hostile-agent: failed"))
        };
        list(kept).is_ok_and(|kept| kept.iter().any(ended))
    })?;
    let decisions = decisions(aios, ASKER)?;
    let mut wrong = Vec::new();
    for (number, (request, answer, reason)) in expected.iter().enumerate() {
        let decision = decisions.get(number).cloned().unwrap_or_default();
        let verdict = decision["verdict"]["verdict"].as_str().unwrap_or_default();
        if verdict != answer || decision["reason"] != reason.as_str() {
            wrong.push(format!("{request} is not {answer} {reason} but {verdict} {}", decision["reason"]));
        }
    }
    println!("  {} questions of an agent, {} decisions on record", expected.len(), decisions.len());
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    ensure!(decisions.len() == expected.len(), "{} decisions", decisions.len());
    // Nobody is left with its requests.
    let approvals = aios.json("approval list")?;
    for approval in list(&approvals)?.iter().filter(|approval| approval["state"]["state"] == "waiting") {
        aios.ends(&format!("approval reject {} --reason asked", text(approval, "id")?), Status::Done)?;
    }
    aios.ok("evidence verify").map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_agent_is_read() {
        let line = r#"hostile-agent: attempt {"leaves":"denial","place":"AB-2","refused":{"EPERM":3},"through":{},"tries":3,"waits":0,"what":"bpf"}"#;
        let tried = Tried::read(line).expect("an account");
        assert_eq!((tried.place.as_str(), tried.tries, tried.refused["EPERM"]), ("AB-2", 3, 3));
        assert!(Tried::read("hostile-agent: done").is_none());
    }
}
