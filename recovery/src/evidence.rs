//! `verify`: whether evidence holds, wherever it lies, by the code that the whole system checks it with.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

use aios_evidence::{Bundle, KeySource, Report, verify_export};
use aios_image::layout::DATA_NAME;

use crate::blocks::{self, Block};
use crate::failure::{Failure, at, chain, harmless};
use crate::log::{Log, LogError, SEGMENT};
use crate::unlock;
use crate::volume::{Access, Journal, Kind, Mounted, kind_of};

/// The label of a volume that carries evidence from one machine to another.
pub(crate) const EXPORT_LABEL: &str = "AIOS-EXPORT";
/// The name of an export in one file.
const BUNDLE: &str = "export.jsonl";
/// A bundle is held in memory; a larger log travels as a folder.
const BUNDLE_LIMIT: u64 = 64 << 20;
/// Larger than any file of an export: 256 records with their lengths.
const FILE_LIMIT: u64 = 16 << 20;
/// Where the log is on a data partition.
const ON_DATA: &str = "system/evidence";

/// The forms in which evidence lies somewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Form {
    /// The log itself.
    Log(PathBuf),
    /// The files of an export.
    Folder(PathBuf),
    /// An export in one file.
    Bundle(PathBuf),
}

/// Evidence that holds.
#[derive(Debug)]
struct Verified {
    report: Report,
    notes: Vec<String>,
}

/// Checks what lies at a place, or what is found without one, and prints what was checked.
pub(crate) fn verify(place: Option<&str>) -> Result<(), Failure> {
    let device = match place {
        Some(place) if !place.starts_with("/dev/") => {
            let place = Path::new(place);
            let kind = fs::metadata(place).map_err(at("read", place))?;
            let form = if kind.is_dir() { form_in(place) } else { Some(Form::Bundle(place.to_owned())) };
            return tell(place, form);
        }
        Some(device) => PathBuf::from(device),
        None => default_device()?,
    };
    let device = unlock::readable(device)?;
    let waiting = matches!(kind_of(&device), Ok(Kind::Ext4 { journal: Journal::Waiting }));
    let mounted = Mounted::open(&device, Access::Read)?;
    let told = tell(&device, form_in(mounted.path()));
    if waiting {
        println!(
            "{} was not shut down cleanly, and its journal was not replayed: nothing is written here.",
            device.display()
        );
        println!(
            "If records are missing at the end, mount it in the shell, which replays the journal, and verify that folder."
        );
    }
    told
}

/// Where evidence most likely is.
fn default_device() -> Result<PathBuf, Failure> {
    let blocks = blocks::list();
    let labelled = |block: &&Block| matches!(kind_of(&block.path()), Ok(Kind::Fat { label }) if label == EXPORT_LABEL);
    // A volume that is still empty waits for an export; one that cannot be mounted is what the person should hear of.
    let is_used = |block: &&Block| {
        Mounted::open(&block.path(), Access::Read).map_or(true, |mounted| form_in(mounted.path()).is_some())
    };
    let exports: Vec<&Block> = blocks.iter().filter(labelled).filter(is_used).collect();
    let found = if exports.is_empty() { data_partitions(&blocks) } else { exports };
    let none = || {
        Failure::plain(format!(
            "no device has evidence: no FAT volume labelled {EXPORT_LABEL} has any, and no partition is named {DATA_NAME}"
        ))
        .hint("connect a volume with an export, or name a place: verify PLACE")
    };
    one_of(&found, none, "verify")
}

/// The partitions that a data file system should be on.
fn data_partitions(blocks: &[Block]) -> Vec<&Block> {
    blocks.iter().filter(|block| block.part_name.as_deref() == Some(DATA_NAME)).collect()
}

/// The machine's only data partition.
pub(crate) fn data_partition() -> Result<PathBuf, Failure> {
    let none = || {
        Failure::plain(format!("no partition is named {DATA_NAME}, so there is no evidence to copy"))
            .hint("'status' says what is on the disks")
    };
    one_of(&data_partitions(&blocks::list()), none, "verify")
}

fn one_of(found: &[&Block], none: impl FnOnce() -> Failure, command: &str) -> Result<PathBuf, Failure> {
    match found {
        [] => Err(none()),
        [one] => Ok(one.path()),
        several => {
            let names: Vec<_> = several.iter().map(|block| block.path().display().to_string()).collect();
            Err(Failure::plain(format!("several devices may be meant: {}", names.join(", ")))
                .hint(format!("name one of them ({command} DEVICE), or disconnect the others")))
        }
    }
}

/// The evidence in a folder: the log of a data partition, an export, or an export in one file.
pub(crate) fn form_in(folder: &Path) -> Option<Form> {
    for log in [folder.join(ON_DATA), folder.to_owned()] {
        if log.join(SEGMENT).is_file() {
            return Some(Form::Log(log));
        }
    }
    if folder.join("checkpoint").is_file() && folder.join("key").is_file() {
        return Some(Form::Folder(folder.to_owned()));
    }
    let bundle = folder.join(BUNDLE);
    bundle.is_file().then_some(Form::Bundle(bundle))
}

fn tell(place: &Path, form: Option<Form>) -> Result<(), Failure> {
    let form = form.ok_or_else(|| {
        Failure::plain(format!("there is no evidence on {}", place.display())).hint(format!(
            "look for a folder with the files 'checkpoint' and 'key', a file '{BUNDLE}', or a log in '{ON_DATA}'"
        ))
    })?;
    let what = match &form {
        Form::Log(_) => "the log of a data partition",
        Form::Folder(_) => "an export",
        Form::Bundle(_) => "an export in one file",
    };
    println!("on {}: {what}", harmless(&place.display().to_string()));
    let Verified { report, notes } = check(&form)?;
    println!("verified: {} records of {} boots, {} files", report.size, report.boots, report.files);
    println!("  log   {}", report.origin);
    println!("  key   {}", report.key);
    println!("  root  {}", report.root);
    let kinds: Vec<_> = report.kinds.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    println!("  kinds {}", kinds.join(", "));
    notes.iter().for_each(|note| println!("  {note}"));
    println!("The key lies with the evidence: every change is found, a forgery of all of it is not.");
    println!("Compare the key with one that was noted elsewhere.");
    Ok(())
}

fn check(form: &Form) -> Result<Verified, Failure> {
    let broken = |error: &dyn std::error::Error| {
        Failure::new("the evidence does not hold", error)
            .hint("compare with another export of the same log; the first wrong place is named above")
    };
    let mut notes = Vec::new();
    let report = match form {
        Form::Log(folder) => {
            let log = open_log(folder)?;
            if log.newer_than_head() > 0 {
                notes.push(format!(
                    "{} newer records are whole and not under the stored head; the next start signs them",
                    log.newer_than_head()
                ));
            }
            if log.unfinished > 0 {
                notes.push(format!(
                    "{} bytes at the end are an append that was never finished; the next start removes them",
                    log.unfinished
                ));
            }
            verify_export(&|name| log.read(name), KeySource::Export)
        }
        Form::Folder(folder) => verify_export(&|name| read_file(&folder.join(name)), KeySource::Export),
        Form::Bundle(file) => {
            let bundle = read_bundle(file)?;
            verify_export(&|name| bundle.read(name), KeySource::Export)
        }
    };
    Ok(Verified { report: report.map_err(|fault| broken(&fault))?, notes })
}

/// The log of a data partition, if it holds.
pub(crate) fn open_log(folder: &Path) -> Result<Log, Failure> {
    Log::open(folder).map_err(|error| match error {
        LogError::Access { .. } => Failure::new("the log cannot be read", &error)
            .hint("the file system may be damaged; 'shell dmesg' shows what the kernel says"),
        error => Failure::new("the evidence does not hold", &error)
            .hint("nothing was changed; keep the disk and compare with an export from before"),
    })
}

fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    let read = || {
        let mut bytes = Vec::new();
        File::open(path)?.take(FILE_LIMIT + 1).read_to_end(&mut bytes)?;
        Ok::<_, std::io::Error>(bytes)
    };
    match read() {
        Ok(bytes) if bytes.len() as u64 > FILE_LIMIT => Err("it is larger than any file of an export".to_owned()),
        Ok(bytes) => Ok(bytes),
        Err(error) => Err(chain(&error)),
    }
}

fn read_bundle(path: &Path) -> Result<Bundle, Failure> {
    let file = File::open(path).map_err(at("read", path))?;
    let size = file.metadata().map_err(at("read", path))?.len();
    if size > BUNDLE_LIMIT {
        return Err(Failure::plain(format!("{} has {size} bytes, which is too much for memory", path.display()))
            .hint("check it as a folder, or on a machine that runs AIOS"));
    }
    let mut bundle = Bundle::default();
    // A device or a growing file has more than it said.
    for line in BufReader::new(file.take(BUNDLE_LIMIT)).lines() {
        let line = line.map_err(at("read", path))?;
        bundle.add_line(&line).map_err(at("read", path))?;
    }
    Ok(bundle)
}

#[cfg(test)]
pub(crate) mod tests;
