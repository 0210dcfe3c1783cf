//! The whole log, written where it can be looked at or checked without this machine.

use std::io::{BufWriter, Write};
use std::path::Path;

use aios_daemon::proxy::Evidence1Proxy;
use aios_evidence::{Bundle, Checkpoint, Record, ResourcePath, leaf_hash, split_bundle, tiles_of};

use super::{connect, open_checkpoint, otlp};
use crate::args::ExportFormat;
use crate::failure::Failure;

/// Writes the log to `target`; `-` is the terminal.
pub(crate) async fn export(target: &Path, form: ExportFormat) -> Result<(), Failure> {
    let log = connect().await?;
    // The checkpoint comes first: what is appended while the tiles are fetched is beyond it and left out.
    let head = log.resource("checkpoint").await?;
    let checkpoint = open_checkpoint(&log, &head).await?;
    match form {
        ExportFormat::C2sp => tree(&log, &head, &checkpoint, target).await,
        ExportFormat::Jsonl | ExportFormat::Otlp => records(&log, &checkpoint, target, form).await,
    }
}

fn cannot(target: &Path) -> impl Fn(std::io::Error) -> Failure {
    let target = target.display().to_string();
    move |error| Failure::failed(format!("cannot write {target}: {error}"))
}

/// The files that prove everything: a folder, or a bundle of them in one stream.
async fn tree(log: &Evidence1Proxy<'_>, head: &[u8], checkpoint: &Checkpoint, target: &Path) -> Result<(), Failure> {
    let cannot = cannot(target);
    let to_terminal = target == Path::new("-");
    if !to_terminal {
        std::fs::create_dir(target).map_err(|error| cannot(error).hint("name a folder that is not there yet"))?;
    }
    let mut out = std::io::stdout();
    let mut put = |path: &str, bytes: &[u8]| {
        if to_terminal {
            return writeln!(out, "{}", Bundle::line(path, bytes));
        }
        let file = target.join(path);
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(&file, bytes)
    };
    put("checkpoint", head).map_err(&cannot)?;
    put("key", &log.resource("key").await?).map_err(&cannot)?;
    let mut files = 2;
    for path in tiles_of(checkpoint.size) {
        let path = path.to_string();
        put(&path, &log.resource(&path).await?).map_err(&cannot)?;
        files += 1;
    }
    if !to_terminal {
        println!("{} records in {files} files under {}", checkpoint.size, target.display());
        println!("check it anywhere: aios evidence verify {}", target.display());
    }
    Ok(())
}

/// The records alone, each compared with the tree's hash of it.
async fn records(
    log: &Evidence1Proxy<'_>,
    checkpoint: &Checkpoint,
    target: &Path,
    form: ExportFormat,
) -> Result<(), Failure> {
    let cannot = cannot(target);
    let mut out: Box<dyn Write> = if target == Path::new("-") {
        Box::new(std::io::stdout())
    } else {
        let made = std::fs::File::create_new(target);
        Box::new(BufWriter::new(made.map_err(|error| cannot(error).hint("name a file that is not there yet"))?))
    };
    for path in tiles_of(checkpoint.size) {
        let ResourcePath::Entries { tile } = path else { continue };
        let bundle = log.resource(&path.to_string()).await?;
        let hashes = log.resource(&ResourcePath::Hashes { level: 0, tile }.to_string()).await?;
        let damaged = || Failure::failed(format!("{path} of the log is damaged")).hint("aios evidence verify");
        let (mut rest, mut records) = (&bundle[..], Vec::new());
        for hash in hashes.chunks(32) {
            let (entry, after) = split_bundle(rest).ok_or_else(damaged)?;
            rest = after;
            if entry.is_empty() {
                // Its time was over; a record further on says so.
                continue;
            }
            if leaf_hash(entry).as_bytes() != hash {
                return Err(damaged());
            }
            if form == ExportFormat::Jsonl {
                out.write_all(entry).and_then(|()| out.write_all(b"\n")).map_err(&cannot)?;
            } else {
                records.push(Record::decode(entry).map_err(|_| damaged())?);
            }
        }
        if form == ExportFormat::Otlp {
            writeln!(out, "{}", otlp::message(&checkpoint.origin, &records)).map_err(&cannot)?;
        }
    }
    out.flush().map_err(&cannot)?;
    if target != Path::new("-") {
        println!("{} records in {}", checkpoint.size, target.display());
    }
    Ok(())
}
