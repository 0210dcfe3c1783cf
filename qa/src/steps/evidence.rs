//! The evidence log, on the machine and elsewhere.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::{Aios, OPERATOR, PASS_PHRASE, Status, list, text};
use crate::Context;
use crate::host::iso::flip;
use crate::host::nix_cache::NixCache;
use crate::host::web::Web;
use crate::scenario::{Failure, Stage, ensure};
use crate::vm::BOOT;

/// How long fetching and writing software takes under translation.
const FETCH: Duration = Duration::from_secs(240);

/// A service that does not say where it stands for so long is killed at its start.
const START_LIMIT: Duration = Duration::from_secs(30);

/// How long a command may take to be taken.
const CUT: Duration = Duration::from_secs(180);

/// The log is there, in order, provable, and verifies on the machine.
pub(crate) fn on_the_machine(aios: &mut Aios) -> Result<(), Failure> {
    let tail = aios.json("evidence tail -n 10")?;
    let indexes: Vec<_> = list(&tail)?.iter().filter_map(|record| record["index"].as_u64()).collect();
    ensure!(indexes.len() == 10 && indexes.windows(2).all(|pair| pair[0] + 1 == pair[1]), "not a tail: {indexes:?}");
    let events = aios.json("evidence query --kind unit-event")?;
    ensure!(!list(&events)?.is_empty(), "PID 1's events are not in the log");
    let sessions = aios.json("evidence query --kind session")?;
    let began = list(&sessions)?.iter().any(|record| {
        record["payload"]["what"] == "began"
            && record["subject"].as_str().is_some_and(|subject| subject.starts_with("operator:"))
            && record["writer"] == "service:init"
    });
    ensure!(began, "nobody's session is in the log: {sessions:#}");
    let checkpoint = aios.ok("evidence checkpoint")?;
    ensure!(checkpoint.contains("\u{2014} "), "the checkpoint has no signature:\n{checkpoint}");
    let proof = aios.ok(&format!("evidence prove {}", indexes[0]))?;
    ensure!(proof.contains("c2sp.org/tlog-proof"), "this is no proof:\n{proof}");
    aios.ok("evidence verify")?;
    Ok(())
}

/// An export verifies on this machine, with our program and with one that shares no code with it; a flipped byte is found
/// by both. Gives the export as a bundle in one file.
pub(crate) fn elsewhere(aios: &mut Aios, stage: &Stage<'_>) -> Result<PathBuf, Failure> {
    let bundle = stage.folder.join("export.jsonl");
    let export = stage.folder.join("evidence");
    fetch(aios, &bundle)?;
    unpack(&bundle, &export)?;
    Verifier::Ours.run(stage.context, &bundle, Expected::Good)?;
    for verifier in [Verifier::Ours, Verifier::Foreign] {
        verifier.run(stage.context, &export, Expected::Good)?;
    }
    let entries = export.join("tile/entries");
    let file = files(&entries)?.into_iter().max().ok_or_else(|| Failure::broken("the export has no entries"))?;
    let middle = fs::metadata(&file).map_err(Failure::file("look at", &file))?.len() / 2;
    flip(&file, middle)?;
    for verifier in [Verifier::Ours, Verifier::Foreign] {
        verifier.run(stage.context, &export, Expected::Damaged)?;
    }
    Ok(bundle)
}

/// Who tries to log in, who comes and who leaves is in the log, and no pass phrase, also where a name was asked for.
pub(crate) fn comings_and_goings(aios: &mut Aios) -> Result<(), Failure> {
    const WRONG: &str = "tr0ub4dor";
    aios.machine.console.prompt(CUT)?;
    aios.machine.console.type_line("exit")?;
    for (name, pass_phrase) in [(WRONG, "x"), (OPERATOR, WRONG)] {
        let console = &mut aios.machine.console;
        console.wait_for("login: ", CUT)?;
        console.type_line(name)?;
        console.wait_for("pass phrase: ", CUT)?;
        // What is typed before the terminal stops showing it is thrown away.
        std::thread::sleep(Duration::from_millis(500));
        console.type_line(pass_phrase)?;
        console.wait_for("no session: ", CUT)?;
    }
    aios.machine.console.log_in(OPERATOR, PASS_PHRASE, CUT)?;

    let about = format!("evidence query --kind session --subject operator:{OPERATOR}");
    let sessions = aios.until(&about, "the session to be in the log", CUT, |sessions| {
        sessions.as_array().is_some_and(|sessions| sessions.len() >= 3)
    })?;
    let changes: Vec<_> = list(&sessions)?.iter().filter_map(|record| record["payload"]["what"].as_str()).collect();
    ensure!(changes.ends_with(&["began", "logged-out", "began"]), "the log has {changes:?}: {sessions:#}");
    let logins = aios.json("evidence query --kind login")?;
    let tried: Vec<_> = list(&logins)?
        .iter()
        .map(|record| (record["payload"]["operator"].as_str(), record["payload"]["result"].as_str()))
        .collect();
    let expected = [(None, Some("refused")), (Some(OPERATOR), Some("refused")), (Some(OPERATOR), Some("accepted"))];
    ensure!(tried.ends_with(&expected), "the log has {tried:?} of what was tried");
    let tail = aios.ok("evidence tail -n 20")?;
    ensure!(tail.contains("logged in on") && tail.contains("left "), "tail does not tell who came and left:\n{tail}");
    for secret in [WRONG, PASS_PHRASE] {
        let found = aios.json("evidence query --limit 200")?.to_string().contains(secret);
        ensure!(!found, "what was typed for a pass phrase is in the log");
    }
    Ok(())
}

/// Software fills the disk until the log has no room for anything new. Then nothing is done, and all is said.
pub(crate) fn until_it_is_full(aios: &mut Aios, stage: &Stage<'_>) -> Result<(), Failure> {
    let cache = NixCache::make(&stage.folder)?;
    let web = Web::serve(&cache.folder)?;
    // Whether it fits is what the disk says; what counts is how the machine takes it.
    let log_is_full = |aios: &mut Aios, line: &str| {
        let said = aios.machine.console.run(line, FETCH)?;
        Ok::<_, Failure>(said.status != 0 && said.text.contains("the evidence log is full"))
    };
    let mut full = false;
    for mib in [64, 63, 62, 61, 60, 48, 32, 24, 16, 12, 8, 6, 4, 3, 2, 1] {
        let ballast = cache.add_ballast(mib)?;
        full = full || log_is_full(aios, &format!("store add {ballast} --cache {} --key {}", web.url(), cache.key))?;
    }
    // The store leaves a few MiB to others. Small things take them.
    for number in 0..100 {
        full = full || log_is_full(aios, &format!("object put notes/small-{number} x"))?;
    }
    let size =
        |aios: &mut Aios| Ok::<_, Failure>(aios.json("status")?["evidence"]["size"].as_u64().unwrap_or_default());
    ensure!(full, "the disk is full and actions are still begun");
    let before = size(aios)?;
    // Not even the decision would be on record.
    let refused = aios.ends("object put notes/full x", Status::Denied)?;
    ensure!(
        refused.contains("evidence") && refused.contains("space"),
        "the refusal does not say what is full and what to do:\n{refused}"
    );
    aios.ends("object get notes/full", Status::Failed)?;
    ensure!(size(aios)? >= before, "records are gone");
    aios.ok("evidence verify")?;
    super::services::all_ready(aios)
}

/// The first record after it does; the clock of those that follow it agrees with theirs.
pub(crate) fn says_that_the_clock_went_back(aios: &mut Aios) -> Result<(), Failure> {
    let newest = aios.json("evidence query --limit 40")?;
    let behind = list(&newest)?.iter().any(|record| record["clock"] == "behind");
    ensure!(behind, "the log does not say that the clock went back: {newest:#}");
    Ok(())
}

/// Power fails while actions write their records. What was answered for before is there afterwards, word for word.
pub(crate) fn cut_while_writing(aios: &mut Aios, round: u32) -> Result<(), Failure> {
    let mut answered = Vec::new();
    for number in 0..6 {
        let view = aios.json(&format!("object put load/{round}-{number} {number}"))?;
        let receipts = list(&view["evidence"])?;
        let indexes: Vec<_> = receipts.iter().filter_map(|receipt| receipt["index"].as_u64()).collect();
        ensure!(indexes.len() >= 5, "an action has too few receipts: {view:#}");
        answered.push((text(&view, "id")?.to_owned(), indexes));
    }
    // One more is on its way, at another point of it each round.
    aios.machine.console.start("object put load/unanswered x", CUT)?;
    std::thread::sleep(Duration::from_millis(u64::from(round) * 90));
    aios.machine.power_cut()?;
    aios.enter_again(BOOT)?;

    for (id, indexes) in answered {
        let records = aios.json(&format!("evidence query --action {id}"))?;
        let found: Vec<_> = list(&records)?.iter().filter_map(|record| record["index"].as_u64()).collect();
        ensure!(
            indexes.iter().all(|index| found.contains(index)),
            "records {indexes:?} of {id} were answered for, and after the power cut there are {found:?}"
        );
    }
    aios.ok("evidence verify")?;
    let boots = aios.json("evidence query --kind boot")?;
    let newest = list(&boots)?.last().unwrap_or(&Value::Null);
    let end = newest["payload"]["previous_end"].as_str().unwrap_or_default();
    ensure!(end.starts_with("unclean"), "the machine does not know that its power was cut: {newest:#}");
    Ok(())
}

/// The log that waits for a person's decision answers readers for longer than a start may take, refuses every record, and the
/// machine says what to do.
pub(crate) fn waits_for_a_person(aios: &mut Aios) -> Result<(), Failure> {
    let size = aios.json("status")?["evidence"]["size"].as_u64();
    aios.machine.console.listen(START_LIMIT + Duration::from_secs(10))?;
    let said = aios.machine.console.said();
    ensure!(said.contains("the data partition is of an earlier day"), "the console does not say what is wrong");
    ensure!(!said.contains(super::READY), "the machine is ready with data of an earlier day");
    let services = aios.json("service list")?;
    let service = list(&services)?.iter().find(|service| service["name"] == "evidence-log").unwrap_or(&Value::Null);
    ensure!(service["state"] == "ready" && service["starts"] == 1, "the log does not stay up: {service:#}");

    let status = aios.json("status")?;
    let frozen = status["system"]["frozen"].as_str().unwrap_or_default();
    ensure!(frozen.contains("accept-restored"), "status does not say what to do: {status:#}");
    let tail = aios.json("evidence tail -n 5")?;
    let newest = list(&tail)?.last().and_then(|record| record["index"].as_u64());
    let newest = newest.ok_or_else(|| Failure::broken(format!("nothing can be read: {tail:#}")))?;
    ensure!(!list(&aios.json("evidence query --kind boot")?)?.is_empty(), "the log answers no question");
    aios.ok(&format!("evidence prove {newest}"))?;
    let verified = aios.ends("evidence verify", Status::Failed)?;
    ensure!(
        verified.contains("what is there holds") && verified.contains("earlier day"),
        "verify does not say both what holds and what is wrong:\n{verified}"
    );
    let refused = aios.ends("object put days/third 3", Status::Failed)?;
    ensure!(refused.contains("read-only"), "the refusal does not say why:\n{refused}");
    let after = aios.json("status")?["evidence"]["size"].as_u64();
    ensure!(size.is_some() && after == size, "records were added: {size:?}, then {after:?}");
    Ok(())
}

/// The log goes on where a person said, and says that it was so.
pub(crate) fn was_restored(aios: &mut Aios, records: u64) -> Result<(), Failure> {
    let restored = aios.json("evidence query --kind restored")?;
    let [record] = list(&restored)? else {
        return Err(Failure::broken(format!("there is not one record of a person's word: {restored:#}")));
    };
    let payload = &record["payload"];
    ensure!(payload["head"]["size"] == records, "another log was accepted: {record:#}");
    ensure!(
        payload["instead_of"]["size"].as_u64().is_some_and(|known| known > records),
        "the record does not say what was given up: {record:#}"
    );
    let boots = aios.json("evidence query --kind boot")?;
    let newest = list(&boots)?.last().unwrap_or(&Value::Null);
    ensure!(newest["payload"]["boot_state"]["state"] == "accepted", "the boot record does not say so: {newest:#}");
    aios.ok("evidence verify")?;
    Ok(())
}

/// Has the machine print its log as a bundle, one file a line.
fn fetch(aios: &mut Aios, bundle: &Path) -> Result<(), Failure> {
    let said = aios.machine.console.run("evidence export -", Duration::from_secs(300))?;
    ensure!(said.status == 0, "the export failed:\n{}", said.text);
    // The kernel shares the line; what it says is no file.
    let lines: String =
        said.text.lines().filter(|line| line.starts_with('{')).map(|line| format!("{line}\n")).collect();
    fs::write(bundle, lines).map_err(Failure::file("write", bundle))
}

fn unpack(bundle: &Path, folder: &Path) -> Result<(), Failure> {
    let lines = fs::read_to_string(bundle).map_err(Failure::file("read", bundle))?;
    for line in lines.lines() {
        let file: Value = serde_json::from_str(line)
            .map_err(|error| Failure::broken(format!("a line of the bundle is damaged: {error}")))?;
        let name = text(&file, "path")?;
        let bytes = STANDARD
            .decode(text(&file, "base64")?)
            .map_err(|error| Failure::broken(format!("{name} in the bundle is damaged: {error}")))?;
        let path = folder.join(name);
        let parent = path.parent().unwrap_or(folder);
        fs::create_dir_all(parent).map_err(Failure::file("make", parent))?;
        fs::write(&path, bytes).map_err(Failure::file("write", &path))?;
    }
    Ok(())
}

/// The files in a folder and below.
fn files(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(Failure::file("list", folder))? {
        let path = entry.map_err(Failure::file("list", folder))?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            found.push(path);
        }
    }
    Ok(found)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    Good,
    Damaged,
}

#[derive(Debug, Clone, Copy)]
enum Verifier {
    /// The image's own program.
    Ours,
    /// Python and the published formats.
    Foreign,
}

impl Verifier {
    fn run(self, context: &Context, export: &Path, expected: Expected) -> Result<(), Failure> {
        let mut command = match self {
            Self::Ours => {
                let mut command = Command::new(context.program("aios"));
                command.args(["evidence", "verify"]);
                command
            }
            Self::Foreign => {
                let mut command = Command::new("python3");
                command.arg(context.source("qa/verify-evidence.py"));
                command
            }
        };
        let output = command
            .arg(export)
            .output()
            .map_err(|error| Failure::broken(format!("cannot run the verifier {self:?}: {error}")))?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success() == (expected == Expected::Good),
            "the verifier {self:?} ended with {} on a log that is {expected:?}:\n{said}",
            output.status
        );
        Ok(())
    }
}
