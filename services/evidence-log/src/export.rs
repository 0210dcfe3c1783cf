//! The whole log with its proofs as one text, for an action that keeps it as an object.
//!
//! The text is made in memory and handed over whole and sealed: whatever ends in between, the store has all of it or nothing.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::time::Duration;

use aios_daemon::proxy::Objects1Proxy;
use aios_evidence::{Bundle, Checkpoint, CheckpointError, ResourcePath, tiles_of};
use aios_wire::evidence::EXPORT_LIMIT;
use aios_wire::objects::ObjectVersion;
use rustix::fs::{MemfdFlags, SealFlags};

use crate::log::Log;
use crate::read::QueryError;

/// How long the store may take to make the export durable.
const PATIENCE: Duration = Duration::from_secs(60);

/// The log was not exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// More than an object of it may have.
    #[error(
        "the export of {records} records would be larger than {limit} bytes; 'aios evidence export DIR' writes a log of any size to a folder"
    )]
    TooLarge {
        /// How many there are.
        records: u64,
        /// How much it may be.
        limit: u64,
    },
    /// The log cannot be read.
    #[error("the log cannot be read")]
    Read(#[from] QueryError),
    /// Its own head is none.
    #[error("the head cannot be read")]
    Head(#[from] CheckpointError),
    /// There is no memory for it.
    #[error("the export cannot be kept in memory")]
    Memory(#[from] io::Error),
    /// The store did not take it.
    #[error("the object store did not take the export")]
    Store(#[from] zbus::Error),
    /// It took too long over it.
    #[error("the object store did not take the export in {} seconds", PATIENCE.as_secs())]
    Late,
    /// Its answer is none.
    #[error("the answer of the object store cannot be read")]
    Answer(#[from] serde_json::Error),
}

impl Log {
    /// Writes every file of an export, up to the newest head, to `out`, and tells how many records that are.
    pub fn export(&self, out: impl Write, limit: u64) -> Result<u64, ExportError> {
        // The head comes first: what is appended meanwhile is beyond it and left out.
        let head = self.checkpoint();
        let records = Checkpoint::open(head.as_bytes(), self.key())?.size;
        let mut out = BufWriter::new(out);
        let mut length = 0;
        let mut put = |path: ResourcePath, bytes: &[u8]| {
            let line = Bundle::line(&path.to_string(), bytes);
            length += line.len() as u64 + 1;
            if length > limit {
                return Err(ExportError::TooLarge { records, limit });
            }
            Ok(writeln!(out, "{line}")?)
        };
        put(ResourcePath::Checkpoint, head.as_bytes())?;
        for path in std::iter::once(ResourcePath::Key).chain(tiles_of(records)) {
            put(path, &self.resource(path)?)?;
        }
        out.flush()?;
        Ok(records)
    }
}

/// The export in memory that nobody can change any more, and how many records it holds.
pub(crate) fn made(log: &Log) -> Result<(File, u64), ExportError> {
    let file =
        rustix::fs::memfd_create("export", MemfdFlags::CLOEXEC | MemfdFlags::NOEXEC_SEAL).map_err(io::Error::from)?;
    let file = File::from(file);
    let records = log.export(&file, EXPORT_LIMIT)?;
    let seals = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&file, seals).map_err(io::Error::from)?;
    Ok((file, records))
}

/// Hands it to the object store as the next version of `object`.
pub(crate) async fn put(object: &str, made: &File) -> Result<ObjectVersion, ExportError> {
    let call = async {
        let connection = aios_daemon::connect("object-store").await?;
        Objects1Proxy::new(&connection).await?.put(object, made.into()).await
    };
    let answer = tokio::time::timeout(PATIENCE, call).await.map_err(|_| ExportError::Late)??;
    Ok(serde_json::from_str(&answer)?)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::fd::OwnedFd;
    use std::sync::Arc;

    use aios_evidence::{KeySource, Kind, verify_export};
    use object_store::{Index, Objects};

    use super::*;
    use crate::writer::now;
    use crate::{Draft, open};

    #[test]
    fn the_store_keeps_the_export_that_nobody_can_change_any_more() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = |name: &str| folder.path().join(name);
        for name in ["log", "objects"] {
            std::fs::create_dir(place(name)).expect("ours");
        }
        let (log, ..) = open(&place("log"), || Ok([7; 96])).expect("readable");
        let keys = serde_json::json!({"key": log.key().ed25519_line(), "key_ml_dsa": log.key().ml_dsa_line()});
        let draft = |kind, payload: String| Draft { kind, action: "act_1".into(), writer: "service:x".into(), payload };
        let drafts = [draft(Kind::Boot, keys.to_string()), draft(Kind::Intent, "{}".to_owned())];
        assert!(log.append(&drafts, &now("one")).iter().all(Result::is_ok));

        let (mut made, records) = made(&log).expect("made");
        assert!(made.write_all(b"x").is_err() && made.set_len(0).is_err(), "it is sealed");
        assert_eq!(records, 2);
        let index = Arc::new(Index::open(&place("index")).expect("an index"));
        let objects = Objects::open(&place("objects"), index).expect("objects");
        let version = objects.put("logs/today", OwnedFd::from(made)).expect("stored");
        assert_eq!(version.version, 1);
        let mut text = String::new();
        File::from(objects.get("logs/today", 0).expect("there")).read_to_string(&mut text).expect("text");
        let mut files = Bundle::default();
        text.lines().for_each(|line| files.add_line(line).expect("a file of the export"));
        let report = verify_export(&|path| files.read(path), KeySource::Export).expect("sound");
        assert_eq!(report.size, 2);
    }
}
