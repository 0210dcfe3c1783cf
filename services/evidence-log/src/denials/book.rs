//! From what the kernel says to what is written: pure, with the time as an argument.
//!
//! Equal refusals are one receipt, and ten seconds later one more with the number of those that followed. A subject that runs
//! against many different walls may write twenty receipts at once and one every ten seconds afterwards; what is left out is
//! counted in the next one. What the kernel or the socket lost is counted too.

use std::collections::{BTreeMap, VecDeque};

use aios_linux::audit::Received;
use aios_linux::audit::text::{AuditRecord, Call, DomainId, Refusal, Stamp};
use aios_linux::calls::name_of;

/// So many receipts of one subject at once, and one more each `REFILL_MS`.
const BURST: u64 = 20;
const REFILL_MS: u64 = 10_000;
/// So many different refusals of one subject are remembered; more are written like the first of their kind.
const REMEMBERED: usize = 64;
/// More subjects than this share what is left: names come from the image and from actions, so this is generous.
const SUBJECTS: usize = 4096;
/// So many domains are known at once, and so many refusals wait for the word on whose their domain is.
const DOMAINS: usize = 8192;
const WAITING: usize = 256;
/// A refusal waits so long.
const PATIENCE_MS: u64 = 1_000;

/// Whom a refusal met.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Whose {
    /// `service:network`, `agent:example`; empty: nobody that is known.
    pub(crate) subject: String,
    /// The action, or nothing.
    pub(crate) action: String,
    /// The digest of its envelope, or nothing.
    pub(crate) digest: String,
}

/// Finds out who a user was at a time.
pub(crate) trait Find {
    /// Who had the user `uid` when the machine's clock said `wall_ms`.
    fn find(&self, uid: u32, wall_ms: u64) -> Whose;
}

/// One receipt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Denial {
    pub(crate) whose: Whose,
    pub(crate) blocker: Blocker,
    /// The missing rights, the call's name, where the loss was.
    pub(crate) what: String,
    /// The path, address or process.
    pub(crate) target: String,
    /// How many refusals it stands for.
    pub(crate) count: u64,
}

/// What refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Blocker {
    /// Landlock, in this domain.
    Landlock { domain: DomainId },
    /// The filter of system calls.
    Seccomp { program: String, pid: u32, uid: u32 },
    /// Nothing: records of refusals are missing.
    Lost,
}

impl Blocker {
    /// Its word in the record.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Landlock { .. } => "landlock",
            Self::Seccomp { .. } => "seccomp",
            Self::Lost => "audit",
        }
    }
}

/// What is known in this boot.
#[derive(Debug, Default)]
pub(crate) struct Book {
    domains: BTreeMap<DomainId, Whose>,
    waiting: VecDeque<Waiting>,
    allowances: BTreeMap<String, Allowance>,
    highest: Option<u32>,
    overflowed: Overflowed,
    lost_by_kernel: u64,
}

#[derive(Debug)]
struct Waiting {
    refusal: Refusal,
    until_ms: u64,
}

/// Whether the socket was full, and the gap has not been seen yet.
#[derive(Debug, Default, PartialEq, Eq)]
enum Overflowed {
    #[default]
    No,
    Yes,
}

#[derive(Debug)]
struct Allowance {
    left: u64,
    filled_ms: u64,
    /// What was written of late, so that more of the same is only counted.
    written: BTreeMap<Same, Repeated>,
    /// The last receipt that was left out, with the count of all of them.
    held: Option<Denial>,
}

/// What makes refusals equal: who tried what on what. Which process and which domain it was may differ.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Same {
    blocker: &'static str,
    program: String,
    what: String,
    target: String,
    action: String,
}

#[derive(Debug)]
struct Repeated {
    since_ms: u64,
    /// The last of those that followed, with the count of all of them.
    held: Option<Denial>,
}

impl Book {
    /// Goes on with what the log says of this boot: domains of which the kernel tells only once, and losses that were
    /// counted.
    pub(crate) fn resume(domains: impl IntoIterator<Item = (DomainId, Whose)>, lost_by_kernel: u64) -> Self {
        Self { domains: domains.into_iter().collect(), lost_by_kernel, ..Self::default() }
    }

    /// What came from the kernel, and what is to be written now.
    pub(crate) fn receive(&mut self, received: Received, now_ms: u64, find: &impl Find) -> Vec<Denial> {
        let mut found = Vec::new();
        match received {
            Received::Overflow => self.overflowed = Overflowed::Yes,
            Received::LostByKernel(lost) => {
                let lost = u64::from(lost);
                if lost > self.lost_by_kernel {
                    found.push(missing("by-kernel", lost - self.lost_by_kernel));
                }
                self.lost_by_kernel = lost;
            }
            Received::Record(Stamp { serial, wall_ms }, record) => {
                found.extend(self.gap(serial));
                match record {
                    AuditRecord::Refused(refusal) => found.extend(self.refused(refusal, now_ms)),
                    AuditRecord::Domain(domain) => {
                        if self.domains.len() == DOMAINS {
                            self.domains.pop_first();
                        }
                        self.domains.insert(domain.id, find.find(domain.uid, wall_ms));
                        found.extend(self.known(domain.id, now_ms));
                    }
                    AuditRecord::DomainGone(domain) => {
                        // Its last refusals may stand behind it in the queue, by a little.
                        if self.waiting.iter().all(|waiting| waiting.refusal.domain != domain) {
                            self.domains.remove(&domain);
                        }
                    }
                    AuditRecord::Call(call) => {
                        let denial = Denial {
                            whose: find.find(call.uid, wall_ms),
                            blocker: Blocker::Seccomp { program: call.program, pid: call.pid, uid: call.uid },
                            what: name(call.call),
                            target: String::new(),
                            count: 1,
                        };
                        found.extend(self.allow(denial, now_ms));
                    }
                    AuditRecord::Other => {}
                }
            }
        }
        found
    }

    /// What is to be written because time has passed.
    pub(crate) fn tick(&mut self, now_ms: u64) -> Vec<Denial> {
        let mut found = Vec::new();
        while self.waiting.front().is_some_and(|waiting| waiting.until_ms <= now_ms) {
            if let Some(waiting) = self.waiting.pop_front() {
                found.extend(self.allow(landlock(waiting.refusal, Whose::default()), now_ms));
            }
        }
        for allowance in self.allowances.values_mut() {
            found.extend(allowance.tick(now_ms));
        }
        // Whoever has a full allowance is as good as new.
        self.allowances
            .retain(|_, allowance| allowance.left < BURST || allowance.held.is_some() || !allowance.written.is_empty());
        found
    }

    /// When [`Self::tick`] has something to do at the latest.
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.allowances.is_empty()
    }

    fn refused(&mut self, refusal: Refusal, now_ms: u64) -> Vec<Denial> {
        match self.domains.get(&refusal.domain).cloned() {
            Some(whose) => self.allow(landlock(refusal, whose), now_ms).into_iter().collect(),
            None => {
                let too_many = (self.waiting.len() == WAITING).then(|| self.waiting.pop_front()).flatten();
                self.waiting.push_back(Waiting { refusal, until_ms: now_ms + PATIENCE_MS });
                too_many
                    .and_then(|old| self.allow(landlock(old.refusal, Whose::default()), now_ms))
                    .into_iter()
                    .collect()
            }
        }
    }

    /// Refusals that waited for the word on their domain.
    fn known(&mut self, domain: DomainId, now_ms: u64) -> Vec<Denial> {
        let whose = self.domains.get(&domain).cloned().unwrap_or_default();
        let all = std::mem::take(&mut self.waiting);
        let (ready, waiting): (VecDeque<_>, _) = all.into_iter().partition(|one| one.refusal.domain == domain);
        self.waiting = waiting;
        ready.into_iter().filter_map(|waiting| self.allow(landlock(waiting.refusal, whose.clone()), now_ms)).collect()
    }

    /// The denial with what was left out before it, or nothing when its subject has none left.
    fn allow(&mut self, mut denial: Denial, now_ms: u64) -> Option<Denial> {
        let known = self.allowances.contains_key(&denial.whose.subject) || self.allowances.len() < SUBJECTS;
        let subject = if known { denial.whose.subject.clone() } else { String::new() };
        let new = Allowance { left: BURST, filled_ms: now_ms, written: BTreeMap::new(), held: None };
        let allowance = self.allowances.entry(subject).or_insert(new);
        let same = denial.same();
        if let Some(repeated) = allowance.written.get_mut(&same) {
            denial.count += repeated.held.take().map_or(0, |held| held.count);
            repeated.held = Some(denial);
            return None;
        }
        denial.count += allowance.held.take().map_or(0, |held| held.count);
        if allowance.take(now_ms) {
            if allowance.written.len() < REMEMBERED {
                allowance.written.insert(same, Repeated { since_ms: now_ms, held: None });
            }
            return Some(denial);
        }
        allowance.held = Some(denial);
        None
    }

    /// Counts what the full socket swallowed. Without an overflow a missing number means nothing: two records made at the
    /// same moment may change places.
    fn gap(&mut self, serial: u32) -> Option<Denial> {
        let before = self.highest.unwrap_or(serial);
        let missed = serial.wrapping_sub(before).saturating_sub(1);
        self.highest = Some(before.max(serial));
        if self.overflowed == Overflowed::No || serial <= before || missed == 0 {
            return None;
        }
        self.overflowed = Overflowed::No;
        Some(missing("by-socket", u64::from(missed)))
    }
}

impl Denial {
    fn same(&self) -> Same {
        let program = match &self.blocker {
            Blocker::Seccomp { program, .. } => program.clone(),
            Blocker::Landlock { .. } | Blocker::Lost => String::new(),
        };
        let (what, target) = (self.what.clone(), self.target.clone());
        Same { blocker: self.blocker.word(), program, what, target, action: self.whose.action.clone() }
    }
}

impl Allowance {
    /// What is to be written because time has passed: of each kind of refusal one receipt for all that followed the last,
    /// while there are any left.
    fn tick(&mut self, now_ms: u64) -> Vec<Denial> {
        self.fill(now_ms);
        let mut found = Vec::new();
        for repeated in self.written.values_mut() {
            if now_ms.saturating_sub(repeated.since_ms) >= REFILL_MS
                && self.left > 0
                && let Some(denial) = repeated.held.take()
            {
                self.left -= 1;
                repeated.since_ms = now_ms;
                found.push(denial);
            }
        }
        self.written
            .retain(|_, repeated| repeated.held.is_some() || now_ms.saturating_sub(repeated.since_ms) < REFILL_MS);
        if self.left > 0
            && let Some(denial) = self.held.take()
        {
            self.left -= 1;
            found.push(denial);
        }
        found
    }

    /// Gives back one for each period that has passed.
    fn fill(&mut self, now_ms: u64) {
        let new = now_ms.saturating_sub(self.filled_ms) / REFILL_MS;
        self.left = (self.left + new).min(BURST);
        self.filled_ms += new * REFILL_MS;
    }

    /// Takes one, if there is one.
    fn take(&mut self, now_ms: u64) -> bool {
        self.fill(now_ms);
        let some = self.left > 0;
        self.left = self.left.saturating_sub(1);
        some
    }
}

fn landlock(refusal: Refusal, whose: Whose) -> Denial {
    let blocker = Blocker::Landlock { domain: refusal.domain };
    Denial { whose, blocker, what: refusal.missing, target: refusal.target, count: 1 }
}

fn missing(what: &str, count: u64) -> Denial {
    Denial { whose: Whose::default(), blocker: Blocker::Lost, what: what.to_owned(), target: String::new(), count }
}

fn name(call: Call) -> String {
    match call {
        Call::Native(number) => name_of(number).map_or_else(|| format!("call {number}"), str::to_owned),
        Call::Foreign(number) => format!("call {number} of another architecture"),
    }
}

#[cfg(test)]
mod tests;
