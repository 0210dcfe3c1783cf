//! What PID 1 looks after besides units: the watchdog, short memory, the power button, the kernel's settings, the clock.

use std::os::fd::BorrowedFd;

use rustix::event::PollFlags;

use crate::buttons::{self, Button};
use crate::pressure::{self, Pressure};
use crate::{kernel_settings, last_words, seed, wall_clock, watchdog};

/// How often the kernel's settings are looked at and the time is noted.
const ROUND_MS: u64 = 3_600_000;
/// Firmware is slow to list what it keeps, and nobody waits for that: first the machine gets ready, or takes too long.
const LAST_WORDS_AFTER_MS: u64 = 30_000;
/// After a look at short memory, what was ended has so long to be gone.
const RELIEF_MS: u64 = 1_000;

/// The state of all that.
#[derive(Debug)]
pub(crate) struct Care {
    pressure: Option<Pressure>,
    buttons: Vec<Button>,
    last_words: Option<u64>,
    feed_at: u64,
    round_at: u64,
    relieved_ms: u64,
}

/// Whether programs wait for memory, by the kernel's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Memory {
    #[default]
    Fine,
    Short,
}

/// Something that the loop has to know.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// Somebody pressed the power button.
    PowerButton,
    /// An action or agent was ended to save memory.
    Shed(String),
    /// Something about the machine for the record.
    Machine(String),
}

impl Care {
    /// Opens what there is; what is not there is told and not missed.
    pub(crate) fn begin(now_ms: u64) -> (Self, Vec<String>) {
        let mut notes = watchdog::limit(watchdog::RUNNING_S);
        let pressure = Pressure::watch();
        if let Err(error) = &pressure {
            notes.push(format!("short memory is not noticed before the kernel ends something: {error}"));
        }
        let care = Self {
            pressure: pressure.ok(),
            buttons: buttons::find(),
            last_words: Some(now_ms + LAST_WORDS_AFTER_MS),
            feed_at: now_ms,
            round_at: now_ms + ROUND_MS,
            relieved_ms: 0,
        };
        (care, notes)
    }

    /// What to wait for.
    pub(crate) fn fds(&self) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags)> {
        let pressure = self.pressure.iter().map(|pressure| (pressure.fd(), PollFlags::PRI));
        pressure.chain(self.buttons.iter().map(|button| (button.fd(), PollFlags::IN)))
    }

    /// When there is something to do even if nothing happens.
    pub(crate) fn next_deadline(&self) -> u64 {
        self.feed_at.min(self.round_at).min(self.last_words.unwrap_or(u64::MAX))
    }

    /// The machine is ready: what would have been in the way is done now.
    pub(crate) fn ready(&mut self, now_ms: u64) {
        if let Some(at) = &mut self.last_words {
            *at = now_ms;
        }
    }

    /// Does what is due.
    pub(crate) fn turn(&mut self, memory: Memory, boot_id: &str, now_ms: u64) -> Vec<News> {
        let mut news = Vec::new();
        if self.feed_at <= now_ms {
            watchdog::feed();
            self.feed_at = now_ms + watchdog::FEED_EVERY_MS;
        }
        if memory == Memory::Short && now_ms >= self.relieved_ms + RELIEF_MS {
            self.relieved_ms = now_ms;
            news.extend(pressure::relieve().map(News::Shed));
        }
        for button in &mut self.buttons {
            news.extend((0..button.presses()).map(|_| News::PowerButton));
        }
        if self.last_words.is_some_and(|at| at <= now_ms) {
            self.last_words = None;
            match last_words::take(boot_id) {
                Ok(said) => news.extend(said.map(News::Machine)),
                Err(error) => news.push(News::Machine(format!("last words of a kernel cannot be taken: {error}"))),
            }
        }
        if self.round_at <= now_ms {
            self.round_at = now_ms + ROUND_MS;
            news.extend(kernel_settings::put_right().into_iter().map(News::Machine));
            // A live medium without room for it starts without it the next time.
            let _ = wall_clock::note();
        }
        news
    }
}

/// What one start leaves for the next, at its end. Failing costs the next start a seed or a floor for its clock.
pub(crate) fn leave_for_the_next_start() {
    let _ = seed::leave();
    let _ = wall_clock::note();
}
