//! `aios evidence …` and `aios attest`: what happened, and the proof. Whatever can be checked without the log's help is
//! checked here, by the same code that recovery uses.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;

use aios_daemon::proxy::Evidence1Proxy;
use aios_evidence::{
    Bundle, Checkpoint, Filter, InclusionBundle, KeySource, Kind, Record, Report, VerifierKey, tiles_of, verify_export,
};
use serde::Serialize;
use serde_json::json;

use crate::action;
use crate::args::EvidenceCommand;
use crate::failure::Failure;
use crate::sentence::sentence;
use crate::show::{Format, harmless, read, table};

/// A bundle is read whole; a larger log is exported as a folder.
const BUNDLE_LIMIT: u64 = 256 * 1024 * 1024;

pub(crate) async fn run(command: EvidenceCommand, format: Format) -> Result<(), Failure> {
    match command {
        EvidenceCommand::Tail { count } => {
            let limit = usize::try_from(count).unwrap_or(usize::MAX);
            print_records(&query(&Filter { limit: Some(limit), ..Filter::default() }).await?, format);
            Ok(())
        }
        EvidenceCommand::Query { kind, action, after, limit } => {
            let kind = kind.map(|word| word.parse::<Kind>()).transpose().map_err(|error| {
                let known: Vec<_> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
                Failure::usage(error.to_string()).hint(format!("one of {}", known.join(", ")))
            })?;
            let limit = Some(usize::try_from(limit).unwrap_or(usize::MAX));
            print_records(&query(&Filter { kind, action, after, limit, text: None }).await?, format);
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
            print!("{}", connect().await?.prove(index).await?);
            Ok(())
        }
        EvidenceCommand::Checkpoint => {
            print!("{}", connect().await?.checkpoint().await?);
            Ok(())
        }
        EvidenceCommand::Verify { export: None } => {
            let report: Report = read("evidence-log", &connect().await?.verify().await?)?;
            print_report(&report, format);
            Ok(())
        }
        EvidenceCommand::Verify { export: Some(export) } => {
            print_report(&verify(&export)?, format);
            Ok(())
        }
        EvidenceCommand::Export { target } => export(&target).await,
    }
}

/// The newest signed head of the log.
#[derive(Debug, Serialize)]
pub(crate) struct Head {
    pub(crate) size: u64,
    pub(crate) root: String,
}

/// The head of the log, its signature checked.
pub(crate) async fn head() -> Result<Head, Failure> {
    let log = connect().await?;
    let checkpoint = open_checkpoint(&log, log.checkpoint().await?.as_bytes()).await?;
    Ok(Head { size: checkpoint.size, root: checkpoint.root.to_string() })
}

/// Prints the records that match.
pub(crate) async fn show_matching(filter: &Filter, format: Format) -> Result<(), Failure> {
    print_records(&query(filter).await?, format);
    Ok(())
}

async fn query(filter: &Filter) -> Result<Vec<Record>, Failure> {
    let filter = serde_json::to_string(filter).expect("a filter has only text keys");
    read("evidence-log", &connect().await?.query(&filter).await?)
}

fn print_records(records: &[Record], format: Format) {
    format.print(&records, |records| {
        table(
            ["INDEX", "MS", "KIND", "WRITER", "WHAT"],
            records.iter().map(|record| {
                let what: String = sentence(record).chars().take(160).collect();
                [
                    record.index.to_string(),
                    record.at_ms.to_string(),
                    record.kind.to_string(),
                    record.writer.clone(),
                    what,
                ]
            }),
        );
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

async fn export(target: &Path) -> Result<(), Failure> {
    let log = connect().await?;
    // The checkpoint comes first: what is appended while the tiles are fetched is beyond it and left out.
    let head = log.resource("checkpoint").await?;
    let checkpoint = open_checkpoint(&log, &head).await?;
    let mut files = vec![("checkpoint".to_owned(), head), ("key".to_owned(), log.resource("key").await?)];
    for path in tiles_of(checkpoint.size).map(|path| path.to_string()) {
        let bytes = log.resource(&path).await?;
        files.push((path, bytes));
    }
    let cannot = |error: std::io::Error| Failure::failed(format!("cannot write {}: {error}", target.display()));
    if target == Path::new("-") {
        let mut out = std::io::stdout().lock();
        for (path, bytes) in files {
            writeln!(out, "{}", Bundle::line(&path, &bytes)).map_err(cannot)?;
        }
        return out.flush().map_err(cannot);
    }
    std::fs::create_dir(target).map_err(|error| cannot(error).hint("name a folder that is not there yet"))?;
    for (path, bytes) in &files {
        let file = target.join(path);
        let folder = file.parent().expect("a file below the target has a folder");
        std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&file, bytes)).map_err(cannot)?;
    }
    println!("{} records in {} files under {}", checkpoint.size, files.len(), target.display());
    Ok(())
}

/// Checks an export without any help of a machine that runs AIOS.
fn verify(export: &Path) -> Result<Report, Failure> {
    let broken = |fault| {
        Failure::failed(format!("{} does not hold: {}", export.display(), aios_daemon::error_chain(&fault)))
            .hint("compare with another export of the same log; the first wrong place is named above")
    };
    if export.is_dir() {
        let read = |path: &str| std::fs::read(export.join(path)).map_err(|error| error.to_string());
        return verify_export(&read, KeySource::Export).map_err(broken);
    }
    let bundle = read_bundle(export)?;
    verify_export(&|path| bundle.read(path), KeySource::Export).map_err(broken)
}

fn read_bundle(path: &Path) -> Result<Bundle, Failure> {
    let cannot = |why: &dyn std::fmt::Display| Failure::failed(format!("cannot read {}: {why}", path.display()));
    let size = std::fs::metadata(path).map_err(|error| cannot(&error))?.len();
    if size > BUNDLE_LIMIT {
        return Err(cannot(&format!("{size} bytes are too much for a bundle")).hint("export into a folder instead"));
    }
    let mut bundle = Bundle::default();
    for line in BufReader::new(std::fs::File::open(path).map_err(|error| cannot(&error))?).lines() {
        let line = line.map_err(|error| cannot(&error))?;
        bundle.add_line(&line).map_err(|error| cannot(&aios_daemon::error_chain(&error)))?;
    }
    Ok(bundle)
}

/// Who approved an action, what ran, what changed, and the proof, on one screen.
pub(crate) async fn attest(id: &str, format: Format) -> Result<(), Failure> {
    let view = action::view(id).await?;
    let records = query(&Filter { action: Some(id.to_owned()), ..Filter::default() }).await?;
    let last = records.last().ok_or_else(|| Failure::failed(format!("the log has no record of {id}")))?;
    let log = connect().await?;
    let proof = InclusionBundle::parse(&log.prove(last.index).await?)
        .map_err(|error| Failure::failed(format!("the proof cannot be read: {error}")))?;
    let entry = last.encode().map_err(|error| Failure::failed(error.to_string()))?;
    let head = proof
        .verify(entry.as_bytes(), &key(&log).await?)
        .map_err(|error| Failure::failed(format!("record {} is not proved: {error}", last.index)))?;
    let shown = json!({
        "action": view, "records": records,
        "proof": {"record": last.index, "size": head.size, "root": head.root},
    });
    format.print(&shown, |_| {
        println!("{}  {}  {}", view.id, view.request.action_type, view.state.word());
        println!("  digest   {}", view.digest);
        for record in &records {
            println!("  {:>6}   {} by {}: {}", record.index, record.kind, record.writer, sentence(record));
        }
        println!("  proof    record {} is in the signed tree of {} records, root {}", last.index, head.size, head.root);
    });
    Ok(())
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
