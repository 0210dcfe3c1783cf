//! An export, checked without any help of a machine that runs AIOS.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

use aios_daemon::error_chain;
use aios_evidence::{
    Bundle, Checkpoint, Frontier, KeySource, Report, ResourcePath, VerifierKey, tiles_of, verify_export,
};
use aios_ids::Digest;

use crate::failure::Failure;

/// A bundle is read whole; a larger log is exported as a folder.
const BUNDLE_LIMIT: u64 = 256 * 1024 * 1024;
/// Larger than any file of an export: 256 records with their lengths.
const FILE_LIMIT: u64 = 16 * 1024 * 1024;

/// What the person who checks knows from elsewhere.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// The Ed25519 line of the log's key.
    pub(crate) key: Option<String>,
    /// An earlier export of the same log.
    pub(crate) older: Option<PathBuf>,
}

/// Checks everything in an export.
pub(crate) fn check(export: &Path, known: &Known) -> Result<Report, Failure> {
    let place = Place::open(export)?;
    let trust = known.key.as_deref().map_or(KeySource::Export, KeySource::Pinned);
    let report = verify_export(&|path| place.read(path), trust).map_err(|fault| {
        Failure::failed(format!("{} does not hold: {}", export.display(), error_chain(&fault)))
            .hint("compare with another export of the same log; the first wrong place is named above")
    })?;
    if let Some(older) = &known.older {
        continues(&place, &Place::open(older)?).map_err(|why| {
            Failure::failed(format!("{} does not continue {}: {why}", export.display(), older.display()))
                .hint("one of the two was cut or written anew; a third export or the machine's own log can tell which")
        })?;
    }
    Ok(report)
}

/// Whether the log in `newer`, which holds by itself, begins with the whole of the one in `older`.
fn continues(newer: &Place, older: &Place) -> Result<(), String> {
    let keys = older.read("key")?;
    if newer.read("key")? != keys {
        return Err("they are of two logs, with different keys".to_owned());
    }
    let keys: VerifierKey = String::from_utf8_lossy(&keys).trim_end().parse().map_err(|error| error_chain(&error))?;
    let head = |place: &Place| Checkpoint::open(&place.read("checkpoint")?, &keys).map_err(|error| error_chain(&error));
    let (new, old) = (head(newer)?, head(older)?);
    if old.size > new.size {
        return Err(format!("it has {} records and the other one {}", new.size, old.size));
    }
    let mut tree = Frontier::default();
    for path in tiles_of(new.size).filter(|path| matches!(path, ResourcePath::Hashes { level: 0, .. })) {
        for hash in newer.read(&path.to_string())?.as_chunks::<32>().0 {
            if tree.size() < old.size {
                tree.push(Digest::from_bytes(*hash));
            }
        }
    }
    if tree.root() == old.root { Ok(()) } else { Err(format!("its first {} records are others", old.size)) }
}

/// Where an export lies.
enum Place {
    Folder(PathBuf),
    Bundle(Bundle),
}

impl Place {
    fn open(export: &Path) -> Result<Self, Failure> {
        if export.is_dir() { Ok(Self::Folder(export.to_owned())) } else { read_bundle(export).map(Self::Bundle) }
    }

    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        match self {
            Self::Folder(folder) => {
                let file = std::fs::File::open(folder.join(path)).map_err(|error| error.to_string())?;
                let mut bytes = Vec::new();
                file.take(FILE_LIMIT + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
                let long = bytes.len() as u64 > FILE_LIMIT;
                if long { Err("longer than any file of an export".to_owned()) } else { Ok(bytes) }
            }
            Self::Bundle(bundle) => bundle.read(path),
        }
    }
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
        bundle.add_line(&line).map_err(|error| cannot(&error_chain(&error)))?;
    }
    Ok(bundle)
}

#[cfg(test)]
mod tests {
    use aios_evidence::sample;
    use serde_json::json;

    use super::*;

    /// An export of a log of `size` records whose numbers begin at `first`.
    fn export(size: u64, first: u64) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        let entries = sample::entries(size, |index| json!({"number": first + index}));
        for (name, bytes) in sample::export(&entries, &sample::key()) {
            let file = folder.path().join(name);
            std::fs::create_dir_all(file.parent().expect("a folder")).expect("made");
            std::fs::write(file, bytes).expect("written");
        }
        folder
    }

    fn older(folder: &tempfile::TempDir) -> Known {
        Known { key: None, older: Some(folder.path().to_owned()) }
    }

    #[test]
    fn a_log_continues_its_older_export_and_nothing_else_does() {
        let (old, new, rewritten) = (export(20, 0), export(30, 0), export(30, 5));
        assert_eq!(check(new.path(), &older(&old)).expect("it continues").size, 30);
        let cut = check(old.path(), &older(&new)).expect_err("the older one").to_string();
        assert!(cut.contains("does not continue") && cut.contains("20 records"), "{cut}");
        check(rewritten.path(), &Known::default()).expect("sound by itself: the keys are the right ones");
        let fork = check(rewritten.path(), &older(&old)).expect_err("another history").to_string();
        assert!(fork.contains("first 20 records are others"), "{fork}");
    }

    #[test]
    fn a_key_from_elsewhere_and_a_huge_file_are_told_in_words() {
        let export = export(3, 0);
        let known = Known { key: Some(sample::stranger().public().ed25519_line()), older: None };
        let wrong = check(export.path(), &known).expect_err("another key").to_string();
        assert!(wrong.contains("does not hold"), "{wrong}");
        let file = std::fs::File::create(export.path().join("checkpoint")).expect("made");
        file.set_len(FILE_LIMIT + 1).expect("sparse");
        let long = check(export.path(), &Known::default()).expect_err("too long").to_string();
        assert!(long.contains("longer than any file"), "{long}");
    }
}
