//! The data partition when it is encrypted: its pass phrase is asked for on the consoles, before anything that needs the
//! data, and the kernel gets the key.
//!
//! A person may take as long as they want: the watchdog is fed, nothing counts the time, and no start is used up by
//! waiting. A wrong pass phrase is answered after a pause that grows; after three the person is offered other ways out.
//! What was typed and the key are overwritten once the kernel has the key.

mod seats;

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use aios_linux::crypt;
use aios_linux::dm::MapperError;
use aios_luks::{Header, Reader, Room, VolumeKey};
use aios_wire::init::Afterwards;

use crate::blocks::Block;
use crate::clock::now_ms;
use crate::failure::{Failure, at, chain};
use crate::terminals::say_everywhere;
use crate::{memory, power, watchdog};
use seats::{Came, Seats, Typing};

/// What the decrypted partition is called.
const NAME: &str = "aios-data";
const QUESTION: &str = "Pass phrase for the data partition: ";
/// Where an ext4 file system that is not encrypted has its mark; a header has zeros there.
const EXT4_MARK: u64 = 1024 + 56;
/// After so many wrong ones in a row other ways out are offered.
const IN_A_ROW: u32 = 3;
const FIRST_PAUSE_MS: u64 = 1_000;
const LONGEST_PAUSE_MS: u64 = 30_000;
const WAYS_OUT: &str = "words: again, recovery, reboot, poweroff";

/// A data partition that can be used.
#[derive(Debug)]
pub(crate) struct Unlocked {
    pub(crate) device: std::path::PathBuf,
    /// Its size in sectors of 512 bytes.
    pub(crate) sectors: u64,
    /// How long was waited for a person.
    pub(crate) waited_ms: u64,
    /// For the record.
    pub(crate) note: String,
}

/// Asks until the partition is open. None: it is not encrypted.
pub(crate) fn open(partition: &Block) -> Result<Option<Unlocked>, Failure> {
    let path = partition.path();
    let disk = File::open(&path).map_err(at("open", &path))?;
    let read = |offset: u64, bytes: &mut [u8]| disk.read_exact_at(bytes, offset);
    let mut mark = [0; 2];
    read(EXT4_MARK, &mut mark).map_err(at("read", &path))?;
    // Not to be asked for a header that some file has in it.
    if mark == [0x53, 0xef] {
        return Ok(None);
    }
    let unusable = |error| at("use the encryption of", &path)(error).hint(crate::data::RECOVERY);
    let Some(header) = Header::read(&read).map_err(unusable)? else { return Ok(None) };
    let begin = now_ms();
    let mut seats = Seats::open();
    let (key, wrong) = match ask(&mut seats, &header, &read, memory::room) {
        Asked::Key { key, wrong } => (key, wrong),
        Asked::End(then) => power::end(then),
    };
    let waited_ms = now_ms() - begin;
    let mapping = header
        .mapping(&key, &path.display().to_string(), partition.sectors * 512)
        .map_err(at("use the encryption of", &path))?;
    let device = crypt::open(NAME, mapping.sectors, &mapping.parameters).map_err(at("decrypt", &path))?;
    let note = match wrong {
        0 => "the data partition is encrypted and was opened".to_owned(),
        1 => "the data partition is encrypted and was opened after 1 wrong pass phrase".to_owned(),
        wrong => format!("the data partition is encrypted and was opened after {wrong} wrong pass phrases"),
    };
    Ok(Some(Unlocked { device: device.path, sectors: mapping.sectors, waited_ms, note }))
}

/// Takes the decrypted partition away, which makes the kernel forget its key. Says what could not be done.
pub(crate) fn close() -> Option<String> {
    let closed = match crypt::find(NAME) {
        Ok(Some(_)) => crypt::remove(NAME),
        // Without device-mapper nothing was ever opened.
        Ok(None) | Err(MapperError::Control(_)) => Ok(()),
        Err(error) => Err(error),
    };
    closed.err().map(|error| format!("the key of the data stays in memory until the machine is off: {}", chain(&error)))
}

/// How asking ended.
enum Asked {
    Key { key: VolumeKey, wrong: u32 },
    End(Afterwards),
}

fn ask(seats: &mut Seats, header: &Header, read: &Reader<'_>, room: impl Fn() -> Room) -> Asked {
    let mut tries = Tries::default();
    loop {
        let typed = match seats.ask(QUESTION, Typing::Hidden) {
            Came::Line(typed) => typed,
            Came::PowerButton => return Asked::End(Afterwards::PowerOff),
        };
        if typed.is_empty() {
            continue;
        }
        watchdog::feed();
        seats.say("one moment");
        let next = match header.unlock(read, &typed, room()) {
            Ok(Some(key)) => return Asked::Key { key, wrong: tries.wrong },
            Ok(None) => {
                seats.say("that is neither its pass phrase nor its recovery key");
                tries.wrong()
            }
            Err(error) => {
                say_everywhere(&format!("init: the data partition cannot be opened: {}", chain(&error)));
                Next::Offer
            }
        };
        drop(typed);
        match next {
            Next::Pause { ms } => seats.pause(ms),
            Next::Offer => {
                if let Some(then) = offer(seats) {
                    return Asked::End(then);
                }
            }
        }
    }
}

/// None: again.
fn offer(seats: &mut Seats) -> Option<Afterwards> {
    loop {
        let Came::Line(word) = seats.ask(&format!("{WAYS_OUT}\r\n> "), Typing::Shown) else {
            return Some(Afterwards::PowerOff);
        };
        match word.as_slice().trim_ascii() {
            b"again" => return None,
            b"recovery" => return Some(Afterwards::Recovery),
            b"reboot" => return Some(Afterwards::Reboot),
            b"poweroff" => return Some(Afterwards::PowerOff),
            _ => {}
        }
    }
}

/// What follows a wrong pass phrase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Pause { ms: u64 },
    Offer,
}

#[derive(Debug, Default)]
struct Tries {
    wrong: u32,
}

impl Tries {
    fn wrong(&mut self) -> Next {
        self.wrong = self.wrong.saturating_add(1);
        if self.wrong.is_multiple_of(IN_A_ROW) {
            return Next::Offer;
        }
        let ms = FIRST_PAUSE_MS.checked_shl(self.wrong - 1).unwrap_or(LONGEST_PAUSE_MS);
        Next::Pause { ms: ms.min(LONGEST_PAUSE_MS) }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;
    use std::thread;

    use aios_luks::{RecoveryKey, format};

    use super::*;

    const ROOM: Room = Room { kib: 128 << 10 };

    #[test]
    fn pauses_grow_and_every_third_time_there_is_a_way_out() {
        let mut tries = Tries::default();
        let next: Vec<Next> = (0..9).map(|_| tries.wrong()).collect();
        let pause = |ms| Next::Pause { ms };
        let expected = [pause(1_000), pause(2_000), Next::Offer, pause(8_000), pause(16_000), Next::Offer];
        assert_eq!(next[..6], expected);
        assert_eq!(next[6..], [pause(30_000), pause(30_000), Next::Offer]);
        let mut patient = Tries { wrong: 999 };
        assert_eq!(patient.wrong(), pause(30_000));
    }

    /// Someone at a terminal: waits for each text and types the line behind it. Gives everything that was shown.
    fn person(
        mut terminal: UnixStream,
        dialogue: &'static [(&'static str, &'static str)],
    ) -> thread::JoinHandle<String> {
        thread::spawn(move || {
            let (mut shown, mut looked) = (String::new(), 0);
            for (text, line) in dialogue {
                let mut bytes = [0; 256];
                while !shown[looked..].contains(text) {
                    let length = terminal.read(&mut bytes).expect("the terminal is open");
                    shown.push_str(str::from_utf8(&bytes[..length]).expect("text"));
                }
                looked = shown.len();
                terminal.write_all(line.as_bytes()).expect("typed");
            }
            let _ = terminal.read_to_string(&mut shown);
            shown
        })
    }

    fn asked(dialogue: &'static [(&'static str, &'static str)], room: Room) -> (Asked, String) {
        let mut random = |bytes: &mut [u8]| {
            bytes.fill(9);
            Ok(())
        };
        let made = format(b"right", &RecoveryKey::new(&[3; RecoveryKey::RANDOM]), &mut random, ROOM).expect("made");
        let read = |offset: u64, bytes: &mut [u8]| {
            let offset = usize::try_from(offset).map_err(std::io::Error::other)?;
            let from = made.header.get(offset..offset + bytes.len()).ok_or(std::io::ErrorKind::UnexpectedEof)?;
            bytes.copy_from_slice(from);
            Ok(())
        };
        let header = Header::read(&read).expect("good").expect("a header");
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        // Nobody sits at this one.
        let (empty, _kept) = UnixStream::pair().expect("a pair");
        let person = person(theirs, dialogue);
        let mut seats = Seats::at(vec![empty.into(), ours.into()]);
        let asked = ask(&mut seats, &header, &read, || room);
        drop(seats);
        (asked, person.join().expect("a person"))
    }

    #[test]
    fn a_wrong_pass_phrase_is_followed_by_the_question_again() {
        let (asked, shown) = asked(&[(QUESTION, "wrong\n"), (QUESTION, "\n"), (QUESTION, "rig"), ("", "ht\r\n")], ROOM);
        assert!(matches!(asked, Asked::Key { wrong: 1, .. }), "{shown}");
        assert!(shown.contains("neither its pass phrase nor its recovery key"), "{shown}");
        assert!(!shown.contains("wrong") && !shown.contains("right"), "{shown}");
    }

    #[test]
    fn too_little_memory_is_told_and_leaves_ways_out() {
        let (asked, shown) = asked(&[(QUESTION, "right\n"), ("> ", "what?\n"), ("> ", "recovery\n")], Room { kib: 64 });
        assert!(matches!(asked, Asked::End(Afterwards::Recovery)), "{shown}");
        assert!(shown.contains(WAYS_OUT), "{shown}");
    }
}
