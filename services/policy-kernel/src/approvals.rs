//! The table of approvals: what waits for a person survives a power cut, what was used is never used again.
//!
//! Each change is one redb transaction that reads the row, asks `aios_policy::approval` whether the change is possible,
//! and writes the new state, so of two callers one comes second. A crash before the commit leaves the row as it was.

use std::path::Path;

use aios_ids::{ActionId, ApprovalId};
use aios_policy::approval::{self, Change, Now, Refusal};
use aios_wire::policy::{Approval, ApprovalState};
use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};

/// Approval id to the approval's JSON. Ids sort by time.
const APPROVALS: TableDefinition<'static, &str, &str> = TableDefinition::new("approvals");

/// Action id to approval id: asking again about an action finds the request that is there.
const BY_ACTION: TableDefinition<'static, &str, &str> = TableDefinition::new("approvals-by-action");

/// How many ended approvals are kept for people to look at; the evidence log has all.
const KEPT: usize = 256;

/// How many requests of one subject may wait: a flood must not hide the one that matters.
const WAITING_LIMIT: usize = 16;

/// How many requests an agent may make in an hour, answered or not: people stop reading what comes all the time.
const HOURLY_LIMIT: usize = 40;
const HOUR_MS: u64 = 3_600_000;

/// A page cache fit for a few hundred rows.
const CACHE_BYTES: usize = 1024 * 1024;

/// The durable table.
pub(crate) struct Approvals(Database);

/// Whether a change happened now or was there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Occurrence {
    First,
    Again,
}

/// The table cannot be read or changed as asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApprovalsError {
    #[error("the table of approvals cannot be used")]
    Storage(#[source] Box<redb::Error>),
    #[error("a row of the table of approvals cannot be read")]
    Row(#[source] serde_json::Error),
    #[error("there is no approval '{0}'; 'aios approval list' shows what there is")]
    Unknown(String),
    #[error("TooManyWaiting: {WAITING_LIMIT} requests of {0} wait for a person already; answer some first")]
    TooMany(String),
    #[error(
        "TooManyAsked: {0} has asked people {HOURLY_LIMIT} times within the hour; it has to do what it may do alone, or wait"
    )]
    TooOften(String),
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// Each step of redb has an error type of its own; for a caller they are all the same.
macro_rules! storage_errors {
    ($($step:ident),*) => {
        $(impl From<redb::$step> for ApprovalsError {
            fn from(error: redb::$step) -> Self {
                Self::Storage(Box::new(error.into()))
            }
        })*
    };
}

storage_errors!(DatabaseError, TransactionError, TableError, StorageError, CommitError, SetDurabilityError);

type Result<T> = std::result::Result<T, ApprovalsError>;

impl Approvals {
    /// Opens the table. Nothing has ended before [`Approvals::sweep`] was told which policy decides.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let approvals = Self(Database::builder().set_cache_size(CACHE_BYTES).create(path)?);
        let transaction = approvals.begin()?;
        transaction.open_table(APPROVALS)?;
        transaction.open_table(BY_ACTION)?;
        transaction.commit()?;
        Ok(approvals)
    }

    /// Ends what belongs to an earlier boot or another policy and what is too old; says whether there was anything.
    pub(crate) fn sweep(&self, now: Now<'_>) -> Result<Occurrence> {
        let rows = self.all()?;
        if rows.len() <= KEPT && !rows.iter().any(|row| approval::ended(row, now).is_some()) {
            return Ok(Occurrence::Again);
        }
        let transaction = self.begin()?;
        {
            let mut rows = transaction.open_table(APPROVALS)?;
            let mut by_action = transaction.open_table(BY_ACTION)?;
            let mut ended = Vec::new();
            for mut row in all(&rows)? {
                if let Some(why) = approval::ended(&row, now) {
                    row.state = ApprovalState::Expired { why };
                    rows.insert(row.id.as_str(), json(&row).as_str())?;
                }
                if !matches!(row.state, ApprovalState::Waiting | ApprovalState::Granted { .. }) {
                    ended.push(row);
                }
            }
            for row in &ended[..ended.len().saturating_sub(KEPT)] {
                rows.remove(row.id.as_str())?;
                by_action.remove(row.action.as_str())?;
            }
        }
        transaction.commit()?;
        Ok(Occurrence::First)
    }

    /// Keeps a new request.
    pub(crate) fn add(&self, approval: &Approval) -> Result<()> {
        let transaction = self.begin()?;
        {
            let mut rows = transaction.open_table(APPROVALS)?;
            must_have_room(&all(&rows)?, approval)?;
            rows.insert(approval.id.as_str(), json(approval).as_str())?;
            transaction.open_table(BY_ACTION)?.insert(approval.action.as_str(), approval.id.as_str())?;
        }
        Ok(transaction.commit()?)
    }

    /// Whether one more request of this subject may wait.
    pub(crate) fn has_room(&self, approval: &Approval) -> Result<()> {
        must_have_room(&self.all()?, approval)
    }

    /// Changes one approval, or says why not.
    pub(crate) fn change(&self, id: &ApprovalId, change: &Change, now: Now<'_>) -> Result<(Approval, Occurrence)> {
        let transaction = self.begin()?;
        let result = {
            let mut rows = transaction.open_table(APPROVALS)?;
            let before = row(rows.get(id.as_str())?.map(|row| row.value().to_owned()), id)?;
            let after = approval::after(&before, change, now)?;
            if after == before {
                (before, Occurrence::Again)
            } else {
                rows.insert(id.as_str(), json(&after).as_str())?;
                (after, Occurrence::First)
            }
        };
        match result.1 {
            Occurrence::First => transaction.commit()?,
            Occurrence::Again => transaction.abort()?,
        }
        Ok(result)
    }

    /// What `change` would make of the approval; nothing changes.
    pub(crate) fn preview(&self, id: &ApprovalId, change: &Change, now: Now<'_>) -> Result<(Approval, Occurrence)> {
        let before = self.get(id)?;
        let after = approval::after(&before, change, now)?;
        let occurrence = if after == before { Occurrence::Again } else { Occurrence::First };
        Ok((after, occurrence))
    }

    /// One approval.
    pub(crate) fn get(&self, id: &ApprovalId) -> Result<Approval> {
        let rows = self.0.begin_read()?.open_table(APPROVALS)?;
        row(rows.get(id.as_str())?.map(|row| row.value().to_owned()), id)
    }

    /// The request that an action has, if it has one.
    pub(crate) fn of_action(&self, action: &ActionId) -> Result<Option<Approval>> {
        let reading = self.0.begin_read()?;
        let Some(id) = reading.open_table(BY_ACTION)?.get(action.as_str())?.map(|id| id.value().to_owned()) else {
            return Ok(None);
        };
        let rows = reading.open_table(APPROVALS)?;
        let row = rows.get(id.as_str())?.map(|row| serde_json::from_str(row.value()));
        row.transpose().map_err(ApprovalsError::Row)
    }

    /// Every approval that is kept, oldest first.
    pub(crate) fn all(&self) -> Result<Vec<Approval>> {
        all(&self.0.begin_read()?.open_table(APPROVALS)?)
    }

    /// A transaction that is on disk when its commit returns.
    fn begin(&self) -> Result<WriteTransaction> {
        let mut transaction = self.0.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        Ok(transaction)
    }
}

fn all(rows: &impl ReadableTable<&'static str, &'static str>) -> Result<Vec<Approval>> {
    let mut approvals = Vec::new();
    for row in rows.iter()? {
        approvals.push(serde_json::from_str(row?.1.value()).map_err(ApprovalsError::Row)?);
    }
    Ok(approvals)
}

fn row(text: Option<String>, id: &ApprovalId) -> Result<Approval> {
    let text = text.ok_or_else(|| ApprovalsError::Unknown(id.to_string()))?;
    serde_json::from_str(&text).map_err(ApprovalsError::Row)
}

fn json(approval: &Approval) -> String {
    serde_json::to_string(approval).expect("an approval has only text keys")
}

fn must_have_room(approvals: &[Approval], new: &Approval) -> Result<()> {
    let waits = |kept: &&Approval| kept.state == ApprovalState::Waiting && kept.subject == new.subject;
    if approvals.iter().filter(waits).count() >= WAITING_LIMIT {
        return Err(ApprovalsError::TooMany(new.subject.to_string()));
    }
    let recent = |kept: &&Approval| {
        let since = new.asked.up_ms.saturating_sub(kept.asked.up_ms);
        kept.subject == new.subject && kept.asked.boot == new.asked.boot && since < HOUR_MS
    };
    if new.subject.is_ai() && approvals.iter().filter(recent).count() >= HOURLY_LIMIT {
        return Err(ApprovalsError::TooOften(new.subject.to_string()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use aios_identity::{Peer, SessionStrength};
    use aios_ids::Digest;
    use aios_policy::approval::{Looked, Use};
    use aios_wire::policy::{Ended, Times, Wanted, Whom};

    use super::*;

    const NOW: Now<'static> = Now { boot: "boot-1", epoch: "1-a", up_ms: 60_000, wall_ms: 1_800_000_000_000 };

    struct Disk(tempfile::TempDir);

    impl Disk {
        fn new() -> Self {
            Self(tempfile::tempdir().expect("a folder"))
        }

        fn path(&self) -> PathBuf {
            self.0.path().join("approvals.redb")
        }

        fn boot(&self, now: Now<'_>) -> Approvals {
            let approvals = Approvals::open(&self.path()).expect("the table opens");
            approvals.sweep(now).expect("swept");
            approvals
        }
    }

    fn waiting(number: u8) -> Approval {
        Approval {
            id: ApprovalId::new(u64::from(number), [number; 10]),
            action: ActionId::new(u64::from(number), [number; 10]),
            digest: Digest::of(&[number]),
            epoch: "1-a".into(),
            subject: Peer::Agent { name: "helper".into() },
            action_type: "service.restart".into(),
            parameters: "{}".into(),
            target: None,
            reason: String::new(),
            risk: "medium".into(),
            reversible: false,
            shows: Vec::new(),
            wanted: Wanted::default(),
            yes: Vec::new(),
            asked: NOW.moment(),
            times: Times::default(),
            closes_up_ms: None,
            code: None,
            to_sign: None,
            wrong_codes: 0,
            state: ApprovalState::Waiting,
        }
    }

    fn grant() -> Change {
        granted_by("ada")
    }

    fn granted_by(name: &str) -> Change {
        let by = Peer::Operator { name: name.into(), strength: SessionStrength::PassPhrase };
        Change::Grant { by, looked: Looked::Typed(String::new()) }
    }

    fn consume(approval: &Approval) -> Change {
        Change::Consume(Use { digest: approval.digest, epoch: approval.epoch.clone(), action: approval.action.clone() })
    }

    #[test]
    fn a_waiting_request_survives_a_boot_and_a_grant_dies_with_it() {
        let disk = Disk::new();
        let (one, two) = (waiting(1), waiting(2));
        let approvals = disk.boot(NOW);
        approvals.add(&one).expect("added");
        approvals.add(&two).expect("added");
        approvals.change(&two.id, &grant(), NOW).expect("granted");
        drop(approvals);

        let next = Now { boot: "boot-2", ..NOW };
        let approvals = disk.boot(next);
        assert_eq!(approvals.get(&one.id).expect("kept").state, ApprovalState::Waiting);
        assert_eq!(approvals.get(&two.id).expect("kept").state, ApprovalState::Expired { why: Ended::Boot });
        assert!(approvals.change(&two.id, &consume(&two), next).is_err());
        drop(approvals);

        let approvals = disk.boot(Now { epoch: "2-b", ..next });
        assert_eq!(approvals.get(&one.id).expect("kept").state, ApprovalState::Expired { why: Ended::Policy });
    }

    /// Every commit is a place where the power can fail: what was committed is there, what was not is not.
    #[test]
    fn a_kill_between_the_steps_leaves_the_last_whole_step() {
        let disk = Disk::new();
        let one = waiting(1);
        let cut_off = |approvals: &Approvals, state: ApprovalState| {
            let transaction = approvals.begin().expect("begins");
            let row = json(&Approval { state, ..one.clone() });
            transaction
                .open_table(APPROVALS)
                .expect("opens")
                .insert(one.id.as_str(), row.as_str())
                .expect("written, not committed");
            std::mem::forget(transaction);
        };

        let approvals = disk.boot(NOW);
        cut_off(&approvals, ApprovalState::Waiting);
        copy_as_after_a_power_cut(&disk, approvals);
        let approvals = disk.boot(NOW);
        assert!(matches!(approvals.get(&one.id), Err(ApprovalsError::Unknown(_))));
        approvals.add(&one).expect("added");
        cut_off(&approvals, ApprovalState::Expired { why: Ended::Time });
        copy_as_after_a_power_cut(&disk, approvals);
        let approvals = disk.boot(NOW);
        assert_eq!(approvals.get(&one.id).expect("kept").state, ApprovalState::Waiting);
        approvals.change(&one.id, &grant(), NOW).expect("granted");
        cut_off(&approvals, ApprovalState::Consumed { token: Digest::of(b"never") });
        copy_as_after_a_power_cut(&disk, approvals);
        let approvals = disk.boot(NOW);
        let (used, occurrence) = approvals.change(&one.id, &consume(&one), NOW).expect("still granted");
        assert_eq!(occurrence, Occurrence::First);
        copy_as_after_a_power_cut(&disk, approvals);
        let (again, occurrence) = disk.boot(NOW).change(&one.id, &consume(&one), NOW).expect("the same use");
        assert_eq!((again, occurrence), (used, Occurrence::Again));
    }

    /// What another machine would read from the disk at this moment becomes the file.
    fn copy_as_after_a_power_cut(disk: &Disk, approvals: Approvals) {
        let copy = disk.0.path().join("copy");
        std::fs::copy(disk.path(), &copy).expect("copied");
        // The database is never closed in order.
        std::mem::forget(approvals);
        std::fs::rename(copy, disk.path()).expect("renamed");
    }

    #[test]
    fn of_sixty_four_callers_one_uses_the_approval_and_all_get_its_token() {
        let disk = Disk::new();
        let approvals = disk.boot(NOW);
        let one = waiting(1);
        approvals.add(&one).expect("added");
        approvals.change(&one.id, &grant(), NOW).expect("granted");
        let (firsts, line) = (AtomicUsize::new(0), Barrier::new(64));
        let tokens: Vec<_> = std::thread::scope(|scope| {
            let callers: Vec<_> = (0..64)
                .map(|_| {
                    scope.spawn(|| {
                        line.wait();
                        let (used, occurrence) = approvals.change(&one.id, &consume(&one), NOW).expect("the same use");
                        firsts.fetch_add(usize::from(occurrence == Occurrence::First), Ordering::SeqCst);
                        used.state
                    })
                })
                .collect();
            callers.into_iter().map(|caller| caller.join().expect("no panic")).collect()
        });
        assert_eq!(firsts.into_inner(), 1);
        assert!(tokens.iter().all(|token| *token == tokens[0]));
    }

    #[test]
    fn of_sixty_four_actions_that_show_one_approval_only_its_own_gets_through() {
        let disk = Disk::new();
        let approvals = disk.boot(NOW);
        let one = waiting(1);
        approvals.add(&one).expect("added");
        approvals.change(&one.id, &grant(), NOW).expect("granted");
        let through: usize = std::thread::scope(|scope| {
            let callers: Vec<_> = (1..=64u8)
                .map(|number| {
                    let (approvals, id) = (&approvals, &one.id);
                    scope.spawn(move || approvals.change(id, &consume(&waiting(number)), NOW).is_ok())
                })
                .collect();
            callers.into_iter().map(|caller| usize::from(caller.join().expect("no panic"))).sum()
        });
        assert_eq!(through, 1);
    }

    /// Two people, each saying yes 32 times at once: it is granted once, by both.
    #[test]
    fn of_sixty_four_voices_of_two_people_each_person_counts_once() {
        let disk = Disk::new();
        let approvals = disk.boot(NOW);
        let one = Approval { wanted: Wanted { persons: 2, whom: Whom::Anybody }, ..waiting(1) };
        approvals.add(&one).expect("added");
        let (counted, line) = (AtomicUsize::new(0), Barrier::new(64));
        std::thread::scope(|scope| {
            for voice in 0..64 {
                let (approvals, one, counted, line) = (&approvals, &one, &counted, &line);
                scope.spawn(move || {
                    line.wait();
                    let yes = granted_by(if voice % 2 == 0 { "ada" } else { "bob" });
                    counted.fetch_add(usize::from(approvals.change(&one.id, &yes, NOW).is_ok()), Ordering::SeqCst);
                });
            }
        });
        assert_eq!(counted.into_inner(), 2);
        let kept = approvals.get(&one.id).expect("kept");
        assert!(matches!(kept.state, ApprovalState::Granted { .. }), "{kept:?}");
        assert_ne!(kept.yes[0], kept.yes[1]);
    }

    #[test]
    fn what_is_too_old_ends_by_itself_and_says_why() {
        let disk = Disk::new();
        let approvals = disk.boot(NOW);
        approvals.add(&waiting(1)).expect("added");
        assert_eq!(approvals.sweep(NOW).expect("swept"), Occurrence::Again);
        let tomorrow = Now { up_ms: NOW.up_ms + 24 * HOUR_MS, ..NOW };
        assert_eq!(approvals.sweep(tomorrow).expect("swept"), Occurrence::First);
        assert_eq!(approvals.get(&waiting(1).id).expect("kept").state, ApprovalState::Expired { why: Ended::Time });
    }

    #[test]
    fn an_agent_that_asks_all_the_time_has_to_wait_and_a_person_has_not() {
        let disk = Disk::new();
        let approvals = disk.boot(NOW);
        let asked = |number: u8, subject: &Peer, up_ms: u64| {
            let asked = Now { up_ms, ..NOW }.moment();
            let new = Approval { subject: subject.clone(), asked, ..waiting(number) };
            let added = approvals.add(&new);
            if added.is_ok() {
                let no = Change::Reject {
                    by: Peer::Operator { name: "ada".into(), strength: SessionStrength::Presence },
                    reason: String::new(),
                };
                approvals.change(&new.id, &no, NOW).expect("a person says no");
            }
            added
        };
        let agent = Peer::Agent { name: "helper".into() };
        let person = Peer::Operator { name: "ada".into(), strength: SessionStrength::PassPhrase };
        let limit = u8::try_from(HOURLY_LIMIT).expect("small");
        for number in 0..limit {
            asked(number, &agent, NOW.up_ms).expect("within the hour's share");
            asked(100 + number, &person, NOW.up_ms).expect("a person");
        }
        assert!(matches!(asked(50, &agent, NOW.up_ms + 1), Err(ApprovalsError::TooOften(_))));
        asked(200, &person, NOW.up_ms + 1).expect("a person");
        asked(50, &agent, NOW.up_ms + HOUR_MS).expect("an hour later");
    }

    #[test]
    fn a_flood_of_requests_is_cut_off_for_its_subject_only() {
        let disk = Disk::new();
        let approvals = disk.boot(NOW);
        for number in 0..WAITING_LIMIT {
            approvals.add(&waiting(u8::try_from(number).expect("small"))).expect("room");
        }
        let next = waiting(100);
        assert!(matches!(approvals.add(&next), Err(ApprovalsError::TooMany(_))));
        let other = Approval { subject: Peer::Agent { name: "other".into() }, ..next };
        approvals.add(&other).expect("another subject");
        assert_eq!(approvals.of_action(&other.action).expect("read"), Some(other));
    }

    #[test]
    fn old_ended_approvals_make_room_and_waiting_ones_stay() {
        let disk = Disk::new();
        let approvals = disk.boot(NOW);
        let no = Change::Reject {
            by: Peer::Operator { name: "ada".into(), strength: SessionStrength::Presence },
            reason: String::new(),
        };
        let numbered = |number: u64| Approval {
            id: ApprovalId::new(number, [0; 10]),
            action: ActionId::new(number, [0; 10]),
            subject: Peer::Operator { name: "ada".into(), strength: SessionStrength::Presence },
            ..waiting(1)
        };
        approvals.add(&numbered(0)).expect("added");
        for number in 1..=(KEPT as u64 + 3) {
            approvals.add(&numbered(number)).expect("added");
            approvals.change(&numbered(number).id, &no, NOW).expect("rejected");
        }
        drop(approvals);
        let approvals = disk.boot(NOW);
        assert_eq!(approvals.all().expect("read").len(), KEPT + 1);
        assert_eq!(approvals.get(&numbered(0).id).expect("kept").state, ApprovalState::Waiting);
        assert_eq!(approvals.of_action(&numbered(1).action).expect("read"), None);
    }
}
