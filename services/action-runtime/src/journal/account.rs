//! What each subject used, minute by minute, in the journal's own transactions.
//!
//! An action is counted in the transaction that takes it in. What its program may use up is noted in the one that marks it
//! as running, and what it did use in the one that says that it ran. So a runtime that ends in between gives nobody anything
//! back: at the next start the program is charged with all that it might have used.
//!
//! Minutes are those since the machine started. Another boot begins a new account: only a person restarts the machine.

use aios_action::allowance::{Ledger, Use};
use redb::{ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};

use super::{Journal, JournalError, failed, parse};

/// By boot, minute and subject.
pub(super) const USES: TableDefinition<(&str, u64, &str), &[u8]> = TableDefinition::new("uses");

/// What was or may be used, and in which minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charge {
    /// The minute since the machine started.
    pub minute: u64,
    /// How much.
    pub used: Use,
}

impl Journal {
    /// What everybody used in this boot, as far as it counts.
    pub fn ledger(&self) -> Result<Ledger, JournalError> {
        let read = self.database.begin_read().map_err(failed("read"))?;
        let uses = read.open_table(USES).map_err(failed("read"))?;
        let mut ledger = Ledger::default();
        for row in uses.iter().map_err(failed("read"))? {
            let (key, row) = row.map_err(failed("read"))?;
            let (boot, minute, subject) = key.value();
            if boot == self.boot {
                ledger.charge_in(subject, parse(subject, row.value())?, minute);
            }
        }
        Ok(ledger)
    }

    /// Notes what `subject` used beside its actions.
    pub fn charge(&self, subject: &str, charge: Charge) -> Result<(), JournalError> {
        let write = self.database.begin_write().map_err(failed("write"))?;
        self.add(&write, subject, charge)?;
        write.commit().map_err(failed("write"))
    }

    /// Adds to what `subject` used, and forgets what is too old to count.
    pub(super) fn add(&self, write: &WriteTransaction, subject: &str, charge: Charge) -> Result<(), JournalError> {
        let mut uses = write.open_table(USES).map_err(failed("write"))?;
        let oldest = Ledger::oldest_minute(charge.minute);
        uses.retain(|(boot, minute, _), _| boot == self.boot && minute >= oldest).map_err(failed("write"))?;
        let key = (self.boot.as_str(), charge.minute, subject);
        let mut sum: Use = match uses.get(key).map_err(failed("read"))? {
            Some(row) => parse(subject, row.value())?,
            None => Use::default(),
        };
        sum.add(charge.used);
        let row = serde_json::to_vec(&sum).expect("numbers are always JSON");
        uses.insert(key, row.as_slice()).map(drop).map_err(failed("write"))
    }
}
