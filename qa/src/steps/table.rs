//! The table of decisions, asked on a whole machine: who asks is the person at the console, by the kernel's word.
//!
//! The rows of agents are asked by an agent at its door, where a request that the catalogue does not take is decided too.
//! No service may ask for an action, so the person asks the same policy kernel what it would say to one. The table says more
//! than that: what follows other requests is asked of the service by its own test. At the console a request that the catalogue does not take is refused
//! by the command, before policy is asked.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};

use super::{Aios, COMMAND, first_json};
use crate::host::nix_cache::NixCache;
use crate::host::web::Web;
use crate::scenario::{Failure, Stage, ensure};

/// Beside the service that is asked.
const TABLE: &str = "services/policy-kernel/src/kernel/tests/decisions.csv";

/// What the catalogue refuses; the command says so itself.
const BY_THE_CATALOGUE: [&str; 2] = ["InvalidAction", "UnknownActionType"];
/// What a request is told that comes without the report of a trial. The runtime makes one before it asks; to explain a request
/// needs none.
const UNTRIED: &str = "NotTried";
/// How a command ends that was given something it cannot mean.
const USAGE: u8 = 2;

/// Fewer than these would be another table.
const LEAST_ASKED: usize = 60;
const LEAST_REFUSED: usize = 40;

/// Fewer questions of services would be another table.
const LEAST_OF_SERVICES: usize = 40;

/// Fewer questions of agents would be another table.
const LEAST_OF_AGENTS: usize = 100;

/// One question that somebody can ask.
struct Row {
    /// Who it is about, when it is not who sits at the console.
    whom: Option<String>,
    request: String,
    answer: String,
    reason: String,
}

/// Every such row has its answer and its reason.
pub(crate) fn asked_at_the_console(aios: &mut Aios, stage: &Stage<'_>) -> Result<(), Failure> {
    let mut rows = of_people(stage)?;
    let of_people = rows.len();
    rows.extend(of_services(stage)?);
    let cache = NixCache::make(&stage.folder)?;
    let files: Vec<(&str, Vec<u8>)> =
        rows.iter().map(|(name, row)| (name.as_str(), row.request.clone().into_bytes())).collect();
    let path = cache.add_files("questions", &files)?;
    let web = Web::serve(&cache.folder)?;
    aios.ok(&format!("store add {path} --cache {} --key {}", web.url(), cache.key))?;
    let (mut asked, mut refused, mut wrong) = (0, 0, Vec::new());
    for (name, row) in rows.iter().filter(|(_, row)| row.reason != UNTRIED) {
        let whom = row.whom.as_ref().map_or_else(String::new, |whom| format!("--as {whom} "));
        let output = aios.machine.console.run(&format!("--json policy explain {whom}-f {path}/{name}"), COMMAND)?;
        if BY_THE_CATALOGUE.contains(&row.reason.as_str()) {
            refused += 1;
            if output.status != USAGE {
                wrong.push(format!("{name} {} was not refused: {}", row.request, output.text));
            }
            continue;
        }
        asked += 1;
        let decision = first_json(&output.text).unwrap_or_default();
        if decision["verdict"]["verdict"] != row.answer.as_str() || decision["reason"] != row.reason.as_str() {
            wrong.push(format!("{name} {} is not {} {}: {}", row.request, row.answer, row.reason, output.text));
        }
    }
    let of_services = rows.len() - of_people;
    println!("  {asked} questions asked, {refused} refused by the catalogue; {of_services} of them are services'");
    ensure!(of_services >= LEAST_OF_SERVICES, "the table has {of_services} rows of services");
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    ensure!(asked >= LEAST_ASKED && refused >= LEAST_REFUSED, "{asked} rows were asked and {refused} refused");
    Ok(())
}

/// The rows of agents without a history: request, answer and reason. An agent is told the same whatever its name is.
pub(crate) fn of_agents(stage: &Stage<'_>) -> Result<Vec<(String, String, String)>, Failure> {
    let mut rows: Vec<_> = rows(stage, "agent:", |_| true)?.into_iter().collect();
    rows.sort_by_key(|(name, _)| name.rsplit('-').next().and_then(|line| line.parse::<u32>().ok()));
    ensure!(rows.len() >= LEAST_OF_AGENTS, "the table has {} rows of agents", rows.len());
    Ok(rows.into_iter().map(|(_, row)| (row.request, row.answer, row.reason)).collect())
}

/// The rows of people without a history; what people are told about people depends on who they are.
fn of_people(stage: &Stage<'_>) -> Result<BTreeMap<String, Row>, Failure> {
    rows(stage, "operator:", |action_type| !action_type.starts_with("user.") && !action_type.starts_with("policy."))
}

/// The rows of services without a history.
fn of_services(stage: &Stage<'_>) -> Result<BTreeMap<String, Row>, Failure> {
    rows(stage, "service:", |_| true)
}

/// The rows of those who are called so, by the name of a file.
fn rows(stage: &Stage<'_>, who: &str, wanted: impl Fn(&str) -> bool) -> Result<BTreeMap<String, Row>, Failure> {
    let path = stage.context.source(TABLE);
    let table = fs::read_to_string(&path).map_err(Failure::file("read", &path))?;
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    for (number, line) in table.lines().enumerate().filter(|(_, line)| line.starts_with(who)) {
        let fields: Vec<&str> = line.splitn(6, ',').collect();
        let [who, "plain", action_type, answer, reason, parameters] = fields.as_slice() else { continue };
        if !wanted(action_type) {
            continue;
        }
        let broken = |error| Failure::broken(format!("{TABLE}, line {}: {error}", number + 1));
        let parameters: Value = serde_json::from_str(parameters).map_err(broken)?;
        // A type is written with the escapes of JSON.
        let action_type: Value = serde_json::from_str(&format!("\"{action_type}\"")).map_err(broken)?;
        let request = json!({"type": action_type, "parameters": parameters}).to_string();
        let whom = who.starts_with("service:").then(|| (*who).to_owned());
        let row = Row { whom, request, answer: (*answer).to_owned(), reason: (*reason).to_owned() };
        if rows.values().all(|known| known.request != row.request) {
            rows.insert(format!("line-{}", number + 1), row);
        }
    }
    Ok(rows)
}
