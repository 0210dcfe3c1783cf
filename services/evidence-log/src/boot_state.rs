//! The newest head, also in the boot state partition: a data partition that is put back alone is noticed at the next start.
//!
//! The service holds that partition open from PID 1 and no other of the disk. Each head goes to the next place of the ring,
//! when the service starts and then at most once a minute while the log grows. The entries under it were durable before, so
//! a crash never leaves the ring ahead of the log; it may be that much behind.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use aios_evidence::boot_state::{Before, Distrust, Found, PLACE, PLACES, Placed, Ring, Standing, Word, judge};
use aios_evidence::{Checkpoint, Kind, root_of};
use serde_json::{Value, json};

use crate::boot::SELF;
use crate::log::{Draft, Log};
use crate::medium::Bytes;

/// A copy of a partition is hours or days old, so a minute tells it apart. It is at most 1440 writes of 4 KiB a day, which go
/// round over the whole mebibyte.
const EVERY: Duration = Duration::from_secs(60);

/// What the boot record says of it, in the field `state`, when a log with heads in the ring was found.
const FITS: &str = "fits";
const ACCEPTED: &str = "accepted";

/// What the start found there.
#[derive(Debug)]
pub(crate) enum Outside {
    /// No partition: a live system, or a disk without one.
    None,
    /// It cannot be read. A machine whose disk begins to fail still starts.
    Unreadable,
    /// The log may go on.
    Stands(Standing),
}

/// What the log says of the ring in its newest boot record, which is the start before this one or this one again.
pub(crate) fn before(log: &Log) -> Before {
    let newest = log.newest(Kind::Boot).ok().flatten();
    let state = newest.as_ref().and_then(|record| record.payload.get("boot_state")?.get("state")?.as_str());
    match state {
        Some(FITS | ACCEPTED) => Before::Kept,
        _ => Before::Never,
    }
}

/// Compares the log with the ring; gives the ring too, after which the next head is placed.
pub(crate) fn look(log: &Log, partition: Option<&dyn Bytes>) -> Result<(Outside, Ring), Distrust> {
    let Some(partition) = partition else { return Ok((Outside::None, Ring::Empty)) };
    let unreadable = |error: io::Error| {
        eprintln!("the boot state cannot be read, so a data partition of an earlier day is not noticed: {error}");
        Ok((Outside::Unreadable, Ring::Empty))
    };
    let ring = match read(partition) {
        Ok(bytes) => Ring::read(&bytes),
        Err(error) => return unreadable(error),
    };
    let found = Found { key: log.key(), size: log.size(), before: before(log) };
    match judge(&ring, &found, |size| root_of(&log.derived, size)) {
        Ok(Ok(standing)) => Ok((Outside::Stands(standing), ring)),
        Ok(Err(distrust)) => Err(distrust),
        Err(error) => unreadable(error),
    }
}

/// The ring's bytes.
pub(crate) fn read(partition: &dyn Bytes) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; PLACE * PLACES as usize];
    crate::medium::read_exact(partition, 0, &mut bytes)?;
    Ok(bytes)
}

impl Outside {
    /// The field of the boot record.
    pub(crate) fn told(&self) -> Value {
        match self {
            Self::None => json!({"state": "none"}),
            Self::Unreadable => json!({"state": "unreadable"}),
            Self::Stands(Standing::First) => json!({"state": "empty"}),
            Self::Stands(Standing::Fits { size }) => json!({"state": FITS, "size": size}),
            Self::Stands(Standing::Accepted { head, .. }) => json!({"state": ACCEPTED, "size": head.size}),
        }
    }

    /// The record of a person's word, where there is one.
    pub(crate) fn accepted(&self) -> Option<Draft> {
        let Self::Stands(Standing::Accepted { head, instead_of }) = self else { return None };
        let told = |head: &Checkpoint| json!({"log": head.origin, "size": head.size, "root": head.root.to_string()});
        let payload = json!({"head": told(head), "instead_of": instead_of.as_ref().map(told)});
        let (action, writer) = (String::new(), SELF.to_owned());
        Some(Draft { kind: Kind::Restored, action, writer, payload: payload.to_string() })
    }
}

/// Places the newest head while the log grows.
pub(crate) fn start(log: Arc<Log>, partition: Arc<dyn Bytes>, ring: Ring) -> io::Result<()> {
    std::thread::Builder::new().name("boot-state".into()).spawn(move || keep(&log, partition.as_ref(), ring)).map(drop)
}

fn keep(log: &Log, partition: &dyn Bytes, mut ring: Ring) {
    let (mut kept, mut said) = (0, false);
    while log.grown_beyond(kept).is_some() {
        match place(log, partition, &ring) {
            Ok((placed, size)) => {
                ring = Ring::Heads { newest: placed, kept: None };
                (kept, said) = (size, false);
            }
            // One line for a whole outage: the log itself is not touched by it.
            Err(error) if !said => {
                said = true;
                eprintln!("the head is not kept in the boot state: {error}");
            }
            Err(_) => {}
        }
        std::thread::sleep(EVERY);
    }
}

/// Writes the newest head into the next place; gives the place and how many entries the head has.
pub(crate) fn place(log: &Log, partition: &dyn Bytes, ring: &Ring) -> io::Result<(Placed, u64)> {
    let head = log.head_with(log.size().saturating_sub(1));
    let placed = ring.next(Word::Kept, head.note);
    let bytes = placed.write().map_err(io::Error::other)?;
    partition.write_at(placed.offset(), &bytes)?;
    partition.sync()?;
    Ok((placed, head.size))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::path::Path;

    use super::*;
    use crate::boot;
    use crate::log::Stamp;
    use crate::open::open;

    /// An empty boot state partition.
    fn partition() -> File {
        let file = tempfile::tempfile().expect("a file");
        file.set_len(1 << 20).expect("extended");
        file
    }

    fn log_in(folder: &Path, seed: u8) -> Log {
        open(folder, || Ok([seed; 96])).expect("readable").0
    }

    fn write(log: &Log, count: u64) {
        for number in 0..count {
            let draft =
                Draft { kind: Kind::Login, action: String::new(), writer: "service:x".into(), payload: "{}".into() };
            let stamp = Stamp { boot: "b".into(), at_ms: number, wall: 1_790_000_000_000 };
            log.append(&[draft], &stamp).pop().expect("one").expect("written");
        }
    }

    /// One start of the machine: compares, begins the boot, places the head.
    fn boot(log: &Log, partition: &File, boot_id: &str) -> Result<Value, Distrust> {
        let (outside, ring) = look(log, Some(partition))?;
        boot::begin(log, &boot::tests::system(boot_id), 0, &outside).expect("begun");
        write(log, 3);
        place(log, partition, &ring).expect("placed");
        let record = log.newest(Kind::Boot).expect("read").expect("there");
        Ok(record.payload["boot_state"].clone())
    }

    fn copy(from: &Path, to: &Path) {
        for file in fs::read_dir(from).expect("a folder") {
            let file = file.expect("a file").path();
            fs::copy(&file, to.join(file.file_name().expect("a name"))).expect("copied");
        }
    }

    #[test]
    fn data_of_an_earlier_day_wait_for_a_person_and_go_on_with_a_record() {
        let (now, earlier) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let partition = partition();
        assert_eq!(boot(&log_in(now.path(), 7), &partition, "one"), Ok(json!({"state": "empty"})));
        copy(now.path(), earlier.path());
        let size = log_in(now.path(), 7).size();
        assert_eq!(boot(&log_in(now.path(), 7), &partition, "two"), Ok(json!({"state": FITS, "size": size})));

        let log = log_in(earlier.path(), 7);
        let found = boot(&log, &partition, "three");
        assert!(matches!(found, Err(Distrust::Shorter { found, .. }) if found == size), "{found:?}");
        assert_eq!(log.size(), size, "nothing was written");

        // The person's word is a place like the others, with the head that the restored log has.
        let ring = Ring::read(&read(&partition).expect("readable"));
        let word = ring.next(Word::Accepted, fs::read_to_string(earlier.path().join("checkpoint")).expect("readable"));
        partition.write_at(word.offset(), &word.write().expect("short enough")).expect("written");
        let told = boot(&log, &partition, "three").expect("accepted");
        assert_eq!(told, json!({"state": ACCEPTED, "size": size}));
        let record = log.newest(Kind::Restored).expect("read").expect("there");
        assert_eq!(record.payload["head"]["size"], size);
        assert!(record.payload["instead_of"]["size"].as_u64() > Some(size), "{:?}", record.payload);
        log.verify().expect("sound");
        let log = log_in(earlier.path(), 7);
        assert!(matches!(boot(&log, &partition, "four"), Ok(told) if told["state"] == FITS));
    }

    #[test]
    fn a_cut_while_a_head_is_placed_leaves_the_one_before() {
        let folder = tempfile::tempdir().expect("a folder");
        let partition = partition();
        for boot_id in ["one", "two"] {
            boot(&log_in(folder.path(), 7), &partition, boot_id).expect("goes on");
        }
        let log = log_in(folder.path(), 7);
        let (_, ring) = look(&log, Some(&partition)).expect("it fits");
        write(&log, 1);
        let before = read(&partition).expect("readable");
        let (placed, size) = place(&log, &partition, &ring).expect("placed");
        let whole = placed.write().expect("short enough");
        for sectors in 0..=PLACE / 512 {
            partition.write_at(0, &before).expect("written");
            partition.write_at(placed.offset(), &whole[..sectors * 512]).expect("written");
            let (found, _) = look(&log, Some(&partition)).expect("it fits");
            let Outside::Stands(Standing::Fits { size: found }) = found else { panic!("{found:?}") };
            assert_eq!(found == size, sectors == PLACE / 512, "{sectors} of 8 sectors");
        }
    }

    #[test]
    fn an_emptied_ring_and_a_log_that_was_begun_again_are_noticed() {
        let (folder, new) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let partition = partition();
        for boot_id in ["one", "two"] {
            boot(&log_in(folder.path(), 7), &partition, boot_id).expect("goes on");
        }
        assert!(matches!(boot(&log_in(new.path(), 8), &partition, "three"), Err(Distrust::OtherLog(_))));
        partition.write_at(0, &vec![0; PLACE * PLACES as usize]).expect("written");
        assert_eq!(boot(&log_in(folder.path(), 7), &partition, "three"), Err(Distrust::Emptied));
        partition.write_at(0, &vec![0xa5; PLACE * PLACES as usize]).expect("written");
        assert_eq!(boot(&log_in(folder.path(), 7), &partition, "three"), Err(Distrust::Damaged));
    }

    #[test]
    fn a_machine_without_the_partition_or_with_a_failing_one_starts() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = log_in(folder.path(), 7);
        assert!(matches!(look(&log, None), Ok((Outside::None, _))));
        let short = tempfile::tempfile().expect("a file");
        assert!(matches!(look(&log, Some(&short)), Ok((Outside::Unreadable, _))));
    }
}
