//! How far the start has come, told to the TPM word by word ([`aios_slots::phase`]).
//!
//! A TPM takes milliseconds for a word and may take seconds when it is ill, so a thread of its own waits for it; the start
//! never does. That thread allocates nothing, because a process that PID 1 starts meanwhile is a copy of its memory. A word
//! that could not be measured is said and recorded, and the words after it are not measured: the register then has a value
//! that no policy of ours knows, so nothing is unsealed for a start that was not seen whole.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::sync::{Arc, OnceLock};
use std::thread;

use aios_linux::tpm::{Tpm, TpmError};
use aios_slots::phase::{REGISTER, Way};
use aios_wire::init::{Measured, Origin};

/// Every word that this program says, in the order of their numbers in the pipe.
const WORDS: [&str; 6] = ["enter-initrd", "leave-initrd", "live", "installed", "sysinit", "ready"];

/// Shows the register's value in 64 hexadecimal digits.
const VALUE: &str = "/sys/class/tpm/tpm0/pcr-sha256/11";

/// The thread needs no more.
const STACK: usize = 64 << 10;

/// The words of this start.
#[derive(Debug)]
pub(crate) struct Words {
    /// To the thread; absent without a TPM.
    pipe: Option<File>,
    outcome: Arc<OnceLock<Outcome>>,
    said: Vec<&'static str>,
    /// Whether [`Words::news`] has told the outcome.
    told: Told,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    NotYet,
    Already,
}

/// How measuring ended.
#[derive(Debug)]
enum Outcome {
    /// All words are in the register, which holds this.
    Value([u8; 64]),
    /// The register's value is not to be had: this kernel or TPM has no such bank.
    NoValue,
    Failed {
        word: &'static str,
        error: TpmError,
    },
}

impl Words {
    /// Opens the TPM, if there is one, and says the first word.
    pub(crate) fn begin() -> Self {
        let mut words = Self { pipe: None, outcome: Arc::default(), said: Vec::new(), told: Told::NotYet };
        match Tpm::open() {
            Ok(None) => words.told = Told::Already,
            Ok(Some(tpm)) => {
                if let Err(error) = words.start(tpm) {
                    words.fail("enter-initrd", error);
                }
            }
            Err(error) => words.fail("enter-initrd", error),
        }
        words.say("enter-initrd");
        words
    }

    fn start(&mut self, tpm: Tpm) -> io::Result<()> {
        let (receiver, sender) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let outcome = Arc::clone(&self.outcome);
        thread::Builder::new().name("measure".into()).stack_size(STACK).spawn(move || {
            let _ = outcome.set(measure(tpm, receiver.into()));
        })?;
        self.pipe = Some(sender.into());
        Ok(())
    }

    fn fail(&self, word: &'static str, error: io::Error) {
        let _ = self.outcome.set(Outcome::Failed { word, error: error.into() });
    }

    /// The root is found and entered.
    pub(crate) fn entered(&mut self, origin: &Origin) {
        self.say("leave-initrd");
        self.say(way(origin).word());
    }

    /// The next word of the start.
    pub(crate) fn say(&mut self, word: &'static str) {
        let Some(pipe) = &mut self.pipe else { return };
        self.said.push(word);
        let number = WORDS.iter().position(|known| *known == word).unwrap_or(WORDS.len());
        // A few bytes fit into any pipe. Without a reader the thread has ended, and its outcome says why.
        let _ = pipe.write_all(&[number as u8]);
    }

    /// The outcome, once.
    pub(crate) fn news(&mut self) -> Option<String> {
        if self.told == Told::Already {
            return None;
        }
        let outcome = self.outcome.get()?;
        self.told = Told::Already;
        Some(match outcome {
            Outcome::Value(value) => {
                format!("PCR 11 is {} after {}", String::from_utf8_lossy(value), self.said.join(", "))
            }
            Outcome::NoValue => "this start was measured; the TPM shows no bank of SHA-256".to_owned(),
            Outcome::Failed { word, error } => {
                format!("this start is not measured: word {word}: {}", crate::failure::chain(error))
            }
        })
    }

    /// What callers are told.
    pub(crate) fn state(&self) -> Measured {
        let words = || self.said.iter().map(|word| (*word).to_owned()).collect();
        match self.outcome.get() {
            None if self.pipe.is_none() => Measured::NoTpm,
            None => Measured::Ongoing { words: words() },
            Some(Outcome::Value(value)) => {
                Measured::Done { pcr11: Some(String::from_utf8_lossy(value).into_owned()), words: words() }
            }
            Some(Outcome::NoValue) => Measured::Done { pcr11: None, words: words() },
            Some(Outcome::Failed { word, error }) => {
                Measured::Failed { why: format!("word {word}: {}", crate::failure::chain(error)) }
            }
        }
    }
}

fn way(origin: &Origin) -> Way {
    match origin {
        Origin::Live | Origin::Install => Way::Live,
        Origin::Disk { .. } => Way::Installed,
    }
}

/// Measures the words that arrive, to the last one.
fn measure(mut tpm: Tpm, mut words: File) -> Outcome {
    let mut number = [0];
    let mut last = "";
    loop {
        if let Err(error) = words.read_exact(&mut number) {
            return Outcome::Failed { word: last, error: error.into() };
        }
        let Some(word) = WORDS.get(usize::from(number[0])).copied() else {
            return Outcome::Failed { word: last, error: io::Error::from(io::ErrorKind::InvalidData).into() };
        };
        last = word;
        if let Err(error) = tpm.measure(REGISTER, word.as_bytes()) {
            return Outcome::Failed { word, error };
        }
        if word == "ready" {
            break;
        }
    }
    let mut value = [0; 64];
    match File::open(VALUE).and_then(|mut file| file.read_exact(&mut value)) {
        Ok(()) if value.iter().all(u8::is_ascii_hexdigit) => {
            value.make_ascii_lowercase();
            Outcome::Value(value)
        }
        _ => Outcome::NoValue,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_a_start_are_those_that_were_predicted() {
        let disk = Origin::Disk { disk: "vda".into(), slot: "a".into() };
        for (origin, way) in [(Origin::Live, Way::Live), (Origin::Install, Way::Live), (disk, Way::Installed)] {
            let (receiver, sender) = rustix::pipe::pipe().expect("a pipe");
            let mut words =
                Words { pipe: Some(sender.into()), outcome: Arc::default(), said: Vec::new(), told: Told::NotYet };
            words.say("enter-initrd");
            words.entered(&origin);
            words.say("sysinit");
            words.say("ready");
            assert_eq!(words.said, way.words());
            assert!(matches!(words.state(), Measured::Ongoing { .. }) && words.news().is_none());
            words.pipe = None;
            let mut numbers = Vec::new();
            File::from(receiver).read_to_end(&mut numbers).expect("the words");
            let heard: Vec<&str> = numbers.iter().map(|number| WORDS[usize::from(*number)]).collect();
            assert_eq!(heard, way.words());
        }
    }

    #[test]
    fn a_failure_is_told_once_and_kept() {
        let mut words = Words { pipe: None, outcome: Arc::default(), said: Vec::new(), told: Told::NotYet };
        words.fail("live", io::Error::from(io::ErrorKind::TimedOut));
        let news = words.news().expect("news");
        assert!(news.contains("not measured") && news.contains("live"), "{news}");
        assert_eq!(words.news(), None);
        assert!(matches!(words.state(), Measured::Failed { .. }));
    }
}
