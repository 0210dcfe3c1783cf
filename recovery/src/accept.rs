//! `accept-restored`: a person's word that the evidence log may go on although the boot state partition knows of another or a
//! longer one. Without a number it shows both; with the number of records that the log has it writes that word.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use aios_evidence::Checkpoint;
use aios_evidence::boot_state::{Distrust, PLACE, PLACES, Ring, Standing, Word};
use aios_evidence::segment::HEADER;
use aios_image::layout::Part;

use crate::blocks;
use crate::evidence::{self, Form, form_in};
use crate::failure::{Failure, at};
use crate::log::{CHECKPOINT, SEGMENT};
use crate::unlock;
use crate::volume::{Access, Journal, Kind, Mounted, kind_of};

/// What is on the data partition.
struct OnData {
    head: Checkpoint,
    note: String,
}

/// What the ring says of it.
enum Compared {
    Wrong(Distrust),
    /// A log without a record has no key by which to compare it.
    New,
}

/// Shows both, or lets the log of `records` records go on.
pub(crate) fn run(records: Option<u64>) -> Result<(), Failure> {
    let data = evidence::data_partition()?;
    let blocks = blocks::list();
    let disk = blocks.iter().find(|block| block.path() == data).map(|block| block.disk.clone()).unwrap_or_default();
    let partition = blocks::partition(&blocks, &disk, Part::BootState).map(blocks::Block::path);
    let partition = partition.ok_or_else(|| {
        Failure::plain(format!("the disk of {} has no boot state partition", data.display()))
            .hint("without one nothing is compared, and there is nothing to accept")
    })?;
    let data = unlock::readable(data)?;
    if matches!(kind_of(&data), Ok(Kind::Ext4 { journal: Journal::Waiting })) {
        println!("{} was not shut down cleanly, and its journal was not replayed.", data.display());
        println!("The log may be longer than it looks here: mount it once in the shell, which replays the journal.");
    }
    let mounted = Mounted::open(&data, Access::Read)?;
    let Some(Form::Log(folder)) = form_in(mounted.path()) else {
        return Err(Failure::plain(format!("{} has no evidence log", data.display()))
            .hint("'status' says what is on the disks"));
    };
    let access = match records {
        None => File::open(&partition),
        Some(_) => File::options().read(true).write(true).open(&partition),
    };
    let ring = BootState { file: access.map_err(at("open", &partition))?, path: partition };
    println!("{}", decide(&folder, &ring, records)?);
    Ok(())
}

/// The boot state partition, open.
struct BootState {
    file: File,
    path: PathBuf,
}

fn decide(folder: &Path, partition: &BootState, records: Option<u64>) -> Result<String, Failure> {
    let mut bytes = vec![0; PLACE * PLACES as usize];
    partition.file.read_exact_at(&mut bytes, 0).map_err(at("read", &partition.path))?;
    let ring = Ring::read(&bytes);
    let (on_data, compared) = compare(folder, &ring)?;
    let size = on_data.head.size;
    match records {
        None => Ok(shown(&on_data, &ring, &compared)),
        Some(records) if records == size => {
            let word = ring.next(Word::Accepted, on_data.note);
            let place = word.write().map_err(|error| Failure::new("the head cannot be kept", &error))?;
            let written = partition.file.write_all_at(&place, word.offset()).and_then(|()| partition.file.sync_all());
            written.map_err(at("write to", &partition.path))?;
            Ok(format!("The log of {size} records goes on with the next start, and a record in it says so."))
        }
        Some(records) => Err(Failure::plain(format!("the log has {size} records and not {records}"))
            .hint("'accept-restored' alone shows what there is")),
    }
}

/// The log and what is wrong with it; a failure when nothing is.
fn compare(folder: &Path, ring: &Ring) -> Result<(OnData, Compared), Failure> {
    let path = folder.join(SEGMENT);
    if fs::metadata(&path).map_err(at("read", &path))?.len() == HEADER.len() as u64 {
        return Ok((read_note(&folder.join(CHECKPOINT))?, Compared::New));
    }
    let log = evidence::open_log(folder)?;
    let distrust = match log.compare(ring) {
        Err(distrust) => distrust,
        Ok(Standing::Accepted { head, .. }) => {
            let what = format!("the log of {} records was accepted already", head.size);
            return Err(Failure::plain(what).hint("restart the machine: 'reboot'"));
        }
        Ok(Standing::Fits { .. } | Standing::First) => {
            return Err(Failure::plain("the log has all that the boot state knows of, so there is nothing to accept")
                .hint("'verify' says whether it holds"));
        }
    };
    let (head, note) = log.head();
    Ok((OnData { head, note }, Compared::Wrong(distrust)))
}

/// The head of a log that has no record yet.
fn read_note(path: &Path) -> Result<OnData, Failure> {
    let mut note = String::new();
    File::open(path).and_then(|file| file.take(PLACE as u64).read_to_string(&mut note)).map_err(at("read", path))?;
    let head = Checkpoint::unverified(note.as_bytes()).map_err(at("use", path))?;
    Ok(OnData { head, note })
}

fn shown(on_data: &OnData, ring: &Ring, compared: &Compared) -> String {
    let told = |head: &Checkpoint| format!("{} records of {}, root {}", head.size, head.origin, head.root);
    let newest = match ring {
        Ring::Empty => "nothing".to_owned(),
        Ring::Damaged => "no whole head".to_owned(),
        Ring::Heads { newest, .. } => Checkpoint::unverified(newest.note.as_bytes())
            .map_or("a head that cannot be read".to_owned(), |head| told(&head)),
    };
    let wrong = match compared {
        Compared::Wrong(distrust) => distrust.to_string(),
        Compared::New => "the log was begun anew, and the boot state is of an earlier one".to_owned(),
    };
    format!(
        "on the data partition: {}\nin the boot state:     {newest}\n{wrong}.\nWhat the log does not have is not there any more. \
         To let the machine go on without it, type\n  accept-restored {}",
        told(&on_data.head),
        on_data.head.size
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::tests::log_folder;

    fn partition(ring: &[(Word, String)]) -> BootState {
        let file = tempfile::tempfile().expect("a file");
        file.set_len(1 << 20).expect("extended");
        for (word, note) in ring {
            let mut bytes = vec![0; 1 << 20];
            file.read_exact_at(&mut bytes, 0).expect("readable");
            let placed = Ring::read(&bytes).next(*word, note.clone());
            file.write_all_at(&placed.write().expect("short enough"), placed.offset()).expect("written");
        }
        BootState { file, path: "/dev/vda2".into() }
    }

    fn note(folder: &Path) -> String {
        fs::read_to_string(folder.join(CHECKPOINT)).expect("readable")
    }

    fn said(folder: &Path, partition: &BootState, records: Option<u64>) -> Result<String, String> {
        decide(folder, partition, records).map_err(|failure| failure.to_string())
    }

    #[test]
    fn both_are_shown_and_the_number_of_records_is_the_word() {
        let (now, earlier) = (log_folder(300), log_folder(200));
        let partition = partition(&[(Word::Kept, note(now.path()))]);
        let shown = said(earlier.path(), &partition, None).expect("shown");
        for part in ["200 records", "300 records", "of an earlier day", "accept-restored 200"] {
            assert!(shown.contains(part), "{shown}");
        }
        let wrong = said(earlier.path(), &partition, Some(300)).expect_err("another number");
        assert!(wrong.contains("200 records and not 300"), "{wrong}");
        said(earlier.path(), &partition, Some(200)).expect("written");
        let again = said(earlier.path(), &partition, Some(200)).expect_err("done");
        assert!(again.contains("accepted already"), "{again}");
    }

    #[test]
    fn a_log_that_goes_on_needs_nobodys_word() {
        let now = log_folder(300);
        let partition = partition(&[(Word::Kept, note(now.path()))]);
        let refused = said(now.path(), &partition, Some(300)).expect_err("nothing to accept");
        assert!(refused.contains("nothing to accept"), "{refused}");
    }

    #[test]
    fn a_log_that_was_begun_anew_can_be_accepted() {
        let (now, new) = (log_folder(300), log_folder(0));
        let partition = partition(&[(Word::Kept, note(now.path()))]);
        let shown = said(new.path(), &partition, None).expect("shown");
        assert!(shown.contains("begun anew") && shown.contains("accept-restored 0"), "{shown}");
        said(new.path(), &partition, Some(0)).expect("written");
    }
}
