//! `aios evidence …`: what happened, and the proof. Whatever can be checked without the log's help is checked here, by the
//! same code that recovery uses.

mod check;
mod export;
mod lines;
mod otlp;

use std::io::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aios_daemon::proxy::Evidence1Proxy;
use aios_evidence::{Checkpoint, Filter, InclusionBundle, Kind, Record, Report, VerifierKey};
use aios_wire::evidence::{Room, RoomState};
use serde::Serialize;

use crate::args::EvidenceCommand;
use crate::failure::Failure;
use crate::show::{Format, Ink, harmless, read};
use crate::when;
use check::{Known, check};

/// How long a log that went away is waited for before it is asked again.
const AGAIN: Duration = Duration::from_secs(1);

pub(crate) async fn run(command: EvidenceCommand, format: Format) -> Result<(), Failure> {
    match command {
        EvidenceCommand::Tail { count, follow } => {
            let limit = Some(usize::try_from(count).unwrap_or(usize::MAX));
            let newest = query(&Filter { limit, ..Filter::default() }).await?;
            if !follow {
                print_records(&newest, format);
                return Ok(());
            }
            tell(&newest, format)?;
            self::follow(newest.last().map(|record| record.index), format).await
        }
        EvidenceCommand::Query { kind, subject, action, outcome, since, until, after, limit } => {
            let kind = kind.map(|word| word.parse::<Kind>()).transpose().map_err(|error| {
                let known: Vec<_> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
                Failure::usage(error.to_string()).hint(format!("one of {}", known.join(", ")))
            })?;
            let limit = Some(usize::try_from(limit).unwrap_or(usize::MAX));
            let (from, until) = (time(since)?, time(until)?);
            let filter = Filter { kind, subject, action, outcome, after, from, until, limit, text: None };
            print_records(&query(&filter).await?, format);
            Ok(())
        }
        EvidenceCommand::Show { index } => {
            let record: Record = read("evidence-log", &connect().await?.show(index).await?)?;
            format.print(&record, |record| {
                println!("{}", harmless(&serde_json::to_string(record).expect("a record has only text keys")));
            });
            Ok(())
        }
        EvidenceCommand::Prove { index } => {
            let proof = connect().await?.prove(index).await?;
            format.print(&Text { index: Some(index), text: &proof }, |proof| print!("{}", proof.text));
            Ok(())
        }
        EvidenceCommand::Checkpoint => {
            let checkpoint = connect().await?.checkpoint().await?;
            format.print(&Text { index: None, text: &checkpoint }, |checkpoint| print!("{}", checkpoint.text));
            Ok(())
        }
        EvidenceCommand::Verify { export: None, .. } => {
            let report: Report = read("evidence-log", &connect().await?.verify().await?)?;
            print_report(&report, format);
            Ok(())
        }
        EvidenceCommand::Verify { export: Some(export), key, older } => {
            print_report(&check(&export, &Known { key, older })?, format);
            Ok(())
        }
        EvidenceCommand::Export { target, format } => export::export(&target, format).await,
    }
}

/// A text with a form of its own, for programs.
#[derive(Debug, Serialize)]
struct Text<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<u64>,
    text: &'a str,
}

/// A time of the command line, in milliseconds since 1970.
fn time(text: Option<String>) -> Result<Option<u64>, Failure> {
    let Some(text) = text else { return Ok(None) };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
    let wrong = || {
        Failure::usage(format!("'{}' is no time", text.escape_default()))
            .hint("2026-11-21T10:30 in UTC, or how long ago: 90s, 15m, 2h, 3d")
    };
    when::parse(&text, now).map(Some).ok_or_else(wrong)
}

/// Prints each new record as it comes, until the person has seen enough.
async fn follow(newest: Option<u64>, format: Format) -> Result<(), Failure> {
    // What a log without records will have first is record 0, and nothing stands before it.
    let mut filter = Filter { after: newest, limit: Some(100), ..Filter::default() };
    loop {
        let text = serde_json::to_string(&filter).expect("a filter has only text keys");
        let records: Vec<Record> = match connect().await?.subscribe(&text).await {
            Ok(answer) => read("evidence-log", &answer)?,
            Err(zbus::Error::FDO(refusal)) => return Err(zbus::Error::FDO(refusal).into()),
            // It was restarted: the cursor is here, so nothing is missed.
            Err(_) => {
                tokio::time::sleep(AGAIN).await;
                continue;
            }
        };
        tell(&records, format)?;
        filter.after = records.last().map(|record| record.index).or(filter.after);
    }
}

/// Prints records one by one, whole ones for a program.
fn tell(records: &[Record], format: Format) -> Result<(), Failure> {
    let (mut out, ink) = (std::io::stdout().lock(), Ink::of_stdout());
    for record in records {
        let line = match format {
            Format::Json => serde_json::to_string(record).expect("a record has only text keys"),
            Format::People => lines::line(record, ink),
        };
        writeln!(out, "{line}").map_err(|error| Failure::failed(format!("cannot write: {error}")))?;
    }
    Ok(())
}

/// The newest signed head of the log.
#[derive(Debug, Serialize)]
pub(crate) struct Head {
    size: u64,
    root: String,
    /// How much room the log has, as it says itself.
    room: Room,
}

impl Head {
    /// The head on one line.
    pub(crate) fn line(&self) -> String {
        let root = self.root.get(..12).unwrap_or(&self.root);
        let room = match &self.room.state {
            RoomState::Ample => "",
            RoomState::NearEnd => "; its room is near its end: free space on the data partition",
            RoomState::Full => "; IT IS FULL and nothing new is done: free space on the data partition",
            RoomState::ReadOnly(_) => "; IT IS READ-ONLY and nothing is done",
        };
        format!("{} records, root {root}…{room}", self.size)
    }
}

/// The head of the log, its signature checked.
pub(crate) async fn head() -> Result<Head, Failure> {
    let log = connect().await?;
    let checkpoint = open_checkpoint(&log, log.checkpoint().await?.as_bytes()).await?;
    let room = read("evidence-log", &log.room().await?)?;
    Ok(Head { size: checkpoint.size, root: checkpoint.root.to_string(), room })
}

/// Prints the records that match.
pub(crate) async fn show_matching(filter: &Filter, format: Format) -> Result<(), Failure> {
    print_records(&query(filter).await?, format);
    Ok(())
}

/// The records that match.
pub(crate) async fn query(filter: &Filter) -> Result<Vec<Record>, Failure> {
    let filter = serde_json::to_string(filter).expect("a filter has only text keys");
    read("evidence-log", &connect().await?.query(&filter).await?)
}

fn print_records(records: &[Record], format: Format) {
    format.print(&records, |records| {
        let ink = Ink::of_stdout();
        println!("{}", lines::HEAD);
        for record in records.iter() {
            println!("{}", lines::line(record, ink));
        }
    });
}

fn print_report(report: &Report, format: Format) {
    format.print(report, |report| {
        println!("verified: {} records of {} boots, {} files", report.size, report.boots, report.files);
        println!("  log   {}", report.origin);
        println!("  key   {}", report.key);
        println!("  root  {}", report.root);
        let kinds: Vec<_> = report.kinds.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
        println!("  kinds {}", kinds.join(", "));
    });
}

/// The head under which a record is proved to stand.
pub(crate) async fn proved(records: &[Record]) -> Result<Option<Checkpoint>, Failure> {
    let log = connect().await?;
    let key = key(&log).await?;
    let mut head = None;
    for record in records {
        let proof = InclusionBundle::parse(&log.prove(record.index).await?)
            .map_err(|error| Failure::failed(format!("the proof cannot be read: {error}")))?;
        let entry = record.encode().map_err(|error| Failure::failed(error.to_string()))?;
        let under = proof
            .verify(entry.as_bytes(), &key)
            .map_err(|error| Failure::failed(format!("record {} is not proved: {error}", record.index)))?;
        head = Some(under);
    }
    Ok(head)
}

async fn open_checkpoint(log: &Evidence1Proxy<'_>, note: &[u8]) -> Result<Checkpoint, Failure> {
    Checkpoint::open(note, &key(log).await?)
        .map_err(|error| Failure::failed(format!("the log's head does not hold: {error}")))
}

async fn key(log: &Evidence1Proxy<'_>) -> Result<VerifierKey, Failure> {
    let line = String::from_utf8(log.resource("key").await?)
        .map_err(|_| Failure::failed("the log's key is not text; the log cannot be checked"))?;
    line.trim_end().parse().map_err(|error| Failure::failed(format!("the log's key cannot be read: {error}")))
}

async fn connect() -> Result<Evidence1Proxy<'static>, Failure> {
    let connection =
        aios_daemon::connect("evidence-log").await.map_err(|error| Failure::not_reachable("evidence-log", error))?;
    Ok(Evidence1Proxy::new(&connection).await?)
}
