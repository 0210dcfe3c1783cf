//! Every run of a workflow and what came of its decisions, durable before the next one is made.
//!
//! A crash leaves a run with the rows that were written. What an unwritten row would have said is found out again: a
//! submission has the same idempotency key, so it finds its action; an answer that was not written was not given. A row
//! is written only behind the rows that its writer knew, so of two that go on with one run the second finds out.
//!
//! | a crash after | leaves |
//! |---|---|
//! | the record of the beginning | a record of a run that is not kept: nothing of it happened |
//! | the run is kept | a run without rows, to be resumed |
//! | a submission | its action; the run finds it by the key |
//! | a row | the next decision, made again from the rows |
//! | the last row, or the record of the end | an open run with nothing to do: it is closed at the next start, and its end may be recorded twice |

use std::path::Path;

use aios_ids::RunId;
use aios_workflow::{Closed, Row, Run};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

/// A run without its rows.
const RUNS: TableDefinition<&str, &[u8]> = TableDefinition::new("runs");
/// The rows, by run and number.
const ROWS: TableDefinition<(&str, u32), &[u8]> = TableDefinition::new("rows");
/// The runs that have not ended.
const OPEN: TableDefinition<&str, ()> = TableDefinition::new("open");

/// So many runs are kept; of older ones that have ended, the evidence log has the digests.
const KEPT: usize = 256;

/// So many runs of one subject may be open.
const OPEN_LIMIT: usize = 16;

/// The runs cannot be used as asked. Nothing changed.
#[derive(Debug, thiserror::Error)]
pub enum RunsError {
    /// The database failed.
    #[error("cannot {step} the runs of workflows")]
    Database {
        /// What was done.
        step: &'static str,
        /// Why not.
        #[source]
        source: Box<redb::Error>,
    },
    /// A row is not what was written.
    #[error("{id} cannot be read from the disk")]
    Row {
        /// The run.
        id: String,
        /// Why not.
        #[source]
        source: serde_json::Error,
    },
    /// There is no such run.
    #[error("there is no run {0}; 'aios workflow list' shows all")]
    Unknown(RunId),
    /// Somebody else went on with it.
    #[error("{0} has gone on meanwhile; look at it again")]
    Moved(RunId),
    /// It has ended.
    #[error("{0} has ended; 'aios workflow show {0}' tells how")]
    Closed(RunId),
    /// One subject has too many.
    #[error("{subject} has {OPEN_LIMIT} runs that have not ended; resume or cancel some")]
    TooMany {
        /// Whose.
        subject: String,
    },
}

fn failed<E: Into<redb::Error>>(step: &'static str) -> impl FnOnce(E) -> RunsError {
    move |source| RunsError::Database { step, source: Box::new(source.into()) }
}

/// The runs.
pub struct Runs {
    database: Database,
}

impl Runs {
    /// Opens or makes the file at `path`.
    pub fn open(path: &Path) -> Result<Self, RunsError> {
        let database = Database::create(path).map_err(failed("open"))?;
        let write = database.begin_write().map_err(failed("write"))?;
        write.open_table(RUNS).map_err(failed("write"))?;
        write.open_table(ROWS).map_err(failed("write"))?;
        write.open_table(OPEN).map_err(failed("write"))?;
        write.commit().map_err(failed("write"))?;
        Ok(Self { database })
    }

    /// Whether the subject may begin another run.
    pub fn has_room(&self, subject: &str) -> Result<(), RunsError> {
        let of_subject = self.open_runs()?.into_iter().filter(|run| run.subject == subject).count();
        if of_subject < OPEN_LIMIT { Ok(()) } else { Err(RunsError::TooMany { subject: subject.to_owned() }) }
    }

    /// Keeps a new run, and forgets the oldest that have ended.
    pub fn insert(&self, run: &Run) -> Result<(), RunsError> {
        let write = self.database.begin_write().map_err(failed("write"))?;
        {
            let mut runs = write.open_table(RUNS).map_err(failed("write"))?;
            let mut open = write.open_table(OPEN).map_err(failed("write"))?;
            runs.insert(run.id.as_str(), head(run).as_slice()).map_err(failed("write"))?;
            open.insert(run.id.as_str(), ()).map_err(failed("write"))?;
        }
        write.commit().map_err(failed("write"))?;
        self.forget(KEPT)
    }

    /// Forgets what has ended and is older than the newest `kept` runs.
    fn forget(&self, kept: usize) -> Result<(), RunsError> {
        let write = self.database.begin_write().map_err(failed("write"))?;
        {
            let mut runs = write.open_table(RUNS).map_err(failed("write"))?;
            let mut rows = write.open_table(ROWS).map_err(failed("write"))?;
            let open = write.open_table(OPEN).map_err(failed("read"))?;
            let ids = runs.iter().map_err(failed("read"))?.rev().skip(kept);
            let ids = ids.map(|row| Ok(row.map_err(failed("read"))?.0.value().to_owned()));
            for id in ids.collect::<Result<Vec<_>, RunsError>>()? {
                if open.get(id.as_str()).map_err(failed("read"))?.is_none() {
                    runs.remove(id.as_str()).map_err(failed("write"))?;
                    rows.retain_in((id.as_str(), 0)..=(id.as_str(), u32::MAX), |_, _| false)
                        .map_err(failed("write"))?;
                }
            }
        }
        write.commit().map_err(failed("write"))
    }

    /// Writes a row behind the `known` first ones; durable before this returns.
    pub fn append(&self, id: &RunId, known: usize, row: &Row) -> Result<(), RunsError> {
        let write = self.database.begin_write().map_err(failed("write"))?;
        {
            let open = write.open_table(OPEN).map_err(failed("read"))?;
            if open.get(id.as_str()).map_err(failed("read"))?.is_none() {
                return Err(RunsError::Closed(id.clone()));
            }
            let mut rows = write.open_table(ROWS).map_err(failed("write"))?;
            let number = u32::try_from(known).unwrap_or(u32::MAX);
            let before_is_there = match number.checked_sub(1) {
                Some(before) => rows.get((id.as_str(), before)).map_err(failed("read"))?.is_some(),
                None => true,
            };
            if !before_is_there || rows.get((id.as_str(), number)).map_err(failed("read"))?.is_some() {
                return Err(RunsError::Moved(id.clone()));
            }
            let row = serde_json::to_vec(row).expect("a row has only text keys");
            rows.insert((id.as_str(), number), row.as_slice()).map_err(failed("write"))?;
        }
        write.commit().map_err(failed("write"))
    }

    /// Ends a run. Its end stays as it was said first.
    pub fn close(&self, id: &RunId, closed: &Closed) -> Result<(), RunsError> {
        let write = self.database.begin_write().map_err(failed("write"))?;
        {
            let mut open = write.open_table(OPEN).map_err(failed("write"))?;
            if open.remove(id.as_str()).map_err(failed("write"))?.is_none() {
                return Err(RunsError::Closed(id.clone()));
            }
            let mut runs = write.open_table(RUNS).map_err(failed("write"))?;
            let found = runs.get(id.as_str()).map_err(failed("read"))?.map(|row| row.value().to_vec());
            let mut run: Run = parse(id.as_str(), &found.ok_or_else(|| RunsError::Unknown(id.clone()))?)?;
            run.closed = Some(closed.clone());
            runs.insert(id.as_str(), head(&run).as_slice()).map_err(failed("write"))?;
        }
        write.commit().map_err(failed("write"))
    }

    /// One run with its rows.
    pub fn show(&self, id: &RunId) -> Result<Run, RunsError> {
        let read = self.database.begin_read().map_err(failed("read"))?;
        let runs = read.open_table(RUNS).map_err(failed("read"))?;
        let found = runs.get(id.as_str()).map_err(failed("read"))?;
        let mut run: Run = parse(id.as_str(), found.ok_or_else(|| RunsError::Unknown(id.clone()))?.value())?;
        let rows = read.open_table(ROWS).map_err(failed("read"))?;
        let rows = rows.range((id.as_str(), 0)..=(id.as_str(), u32::MAX)).map_err(failed("read"))?;
        let rows = rows.map(|row| parse(id.as_str(), row.map_err(failed("read"))?.1.value()));
        run.rows = rows.collect::<Result<_, RunsError>>()?;
        Ok(run)
    }

    /// The newest runs without their rows, at most `most`, oldest of them first.
    pub fn newest(&self, most: usize) -> Result<Vec<Run>, RunsError> {
        let read = self.database.begin_read().map_err(failed("read"))?;
        let runs = read.open_table(RUNS).map_err(failed("read"))?;
        let rows = runs.iter().map_err(failed("read"))?.rev().take(most);
        let runs = rows.map(|row| {
            let (id, row) = row.map_err(failed("read"))?;
            parse(id.value(), row.value())
        });
        let mut runs = runs.collect::<Result<Vec<_>, RunsError>>()?;
        runs.reverse();
        Ok(runs)
    }

    /// The runs that have not ended, without their rows.
    pub fn open_runs(&self) -> Result<Vec<Run>, RunsError> {
        let read = self.database.begin_read().map_err(failed("read"))?;
        let open = read.open_table(OPEN).map_err(failed("read"))?;
        let runs = read.open_table(RUNS).map_err(failed("read"))?;
        let mut found = Vec::new();
        for id in open.iter().map_err(failed("read"))? {
            let (id, ()) = id.map(|(id, unit)| (id.value().to_owned(), unit.value())).map_err(failed("read"))?;
            if let Some(row) = runs.get(id.as_str()).map_err(failed("read"))? {
                found.push(parse(&id, row.value())?);
            }
        }
        Ok(found)
    }
}

fn head(run: &Run) -> Vec<u8> {
    let head = Run { rows: Vec::new(), ..run.clone() };
    serde_json::to_vec(&head).expect("a run has only text keys")
}

fn parse<T: serde::de::DeserializeOwned>(id: &str, row: &[u8]) -> Result<T, RunsError> {
    serde_json::from_slice(row).map_err(|source| RunsError::Row { id: id.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use aios_workflow::{Chain, Definition, Ending, Event, Next, Outcome, resume};
    use serde_json::json;

    use super::*;

    fn definition(steps: usize) -> Definition {
        let steps: Vec<_> = (0..steps)
            .map(|place| {
                json!({"id": format!("s{place}"), "action": "object.put", "parameters": {"name": "x", "content": ""}})
            })
            .collect();
        Definition::parse(&json!({"name": "x", "steps": steps}).to_string()).expect("a good definition")
    }

    fn run(number: u64, definition: &Definition) -> Run {
        Run {
            id: RunId::new(number, [0; 10]),
            name: definition.name().clone(),
            definition: definition.canonical(),
            digest: definition.digest(),
            subject: "operator:ada".into(),
            evidence: number,
            closed: None,
            rows: Vec::new(),
        }
    }

    /// The row that answers what is next.
    fn next_row(definition: &Definition, run: &Run) -> Option<Row> {
        let (progress, chain) = resume(definition, &run.id, &run.rows).expect("the rows that were written");
        let Next::Submit(asked) = progress.next() else { return None };
        let (step, number, spent_ms) = (asked.step, asked.number, progress.spent_ms() + 1);
        let event =
            Event::Ended { step, number, action: None, end: Ending::Succeeded, output: BTreeMap::new(), spent_ms };
        Some(Row { chain: chain.with_event(&progress.next(), &event), event })
    }

    fn closed(run: &Run) -> Closed {
        Closed { outcome: Outcome::Succeeded, trace: Chain::begin(&run.id), evidence: 9 }
    }

    /// Kills the runtime after each of its writes: what a copy of the file at that moment holds is where the next one
    /// begins, and each comes to the same end.
    #[test]
    fn what_was_written_before_a_kill_is_where_the_next_runtime_begins() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("runs");
        let definition = definition(4);
        let kept = run(1, &definition);
        let mut copies = Vec::new();
        let mut copy = |number: usize| {
            let copy = folder.path().join(format!("copy-{number}"));
            std::fs::copy(&path, &copy).expect("copied");
            copies.push(copy);
        };
        let runs = Runs::open(&path).expect("opened");
        runs.insert(&kept).expect("kept");
        copy(0);
        for number in 0..4 {
            let known = runs.show(&kept.id).expect("there");
            runs.append(&kept.id, number, &next_row(&definition, &known).expect("a row")).expect("written");
            copy(number + 1);
        }
        let whole = runs.show(&kept.id).expect("there");
        for (number, copy) in copies.iter().enumerate() {
            let runs = Runs::open(copy).expect("opened after a kill");
            let mut found = runs.show(&kept.id).expect("there");
            assert_eq!(found.rows, whole.rows[..number]);
            assert_eq!(runs.open_runs().expect("read").len(), 1);
            while let Some(row) = next_row(&definition, &found) {
                runs.append(&kept.id, found.rows.len(), &row).expect("written");
                found.rows.push(row);
            }
            assert_eq!(runs.show(&kept.id).expect("there").rows, whole.rows);
        }
    }

    #[test]
    fn of_two_that_go_on_with_a_run_the_second_finds_out() {
        let folder = tempfile::tempdir().expect("a folder");
        let runs = Runs::open(&folder.path().join("runs")).expect("opened");
        let definition = definition(2);
        let kept = run(1, &definition);
        runs.insert(&kept).expect("kept");
        let row = next_row(&definition, &kept).expect("a row");
        assert!(matches!(runs.append(&kept.id, 1, &row), Err(RunsError::Moved(_))), "a row is missing before");
        runs.append(&kept.id, 0, &row).expect("written");
        assert!(matches!(runs.append(&kept.id, 0, &row), Err(RunsError::Moved(_))));
        assert_eq!(runs.show(&kept.id).expect("there").rows, std::slice::from_ref(&row));

        runs.close(&kept.id, &closed(&kept)).expect("closed");
        assert!(matches!(runs.append(&kept.id, 1, &row), Err(RunsError::Closed(_))));
        assert!(matches!(runs.close(&kept.id, &closed(&kept)), Err(RunsError::Closed(_))));
        assert_eq!(runs.show(&kept.id).expect("there").closed, Some(closed(&kept)));
        let other = RunId::new(2, [0; 10]);
        assert!(matches!(runs.show(&other), Err(RunsError::Unknown(_))));
        assert!(matches!(runs.append(&other, 0, &row), Err(RunsError::Closed(_))));
    }

    #[test]
    fn the_oldest_ended_runs_are_forgotten_and_open_ones_never() {
        let folder = tempfile::tempdir().expect("a folder");
        let runs = Runs::open(&folder.path().join("runs")).expect("opened");
        let definition = definition(1);
        for number in 0..8 {
            let kept = run(number, &definition);
            runs.insert(&kept).expect("kept");
            runs.append(&kept.id, 0, &next_row(&definition, &kept).expect("a row")).expect("written");
            if number > 0 {
                runs.close(&kept.id, &closed(&kept)).expect("closed");
            }
        }
        runs.forget(4).expect("forgotten");
        let newest: Vec<_> = runs.newest(100).expect("listed").into_iter().map(|run| run.evidence).collect();
        assert_eq!(newest, [0, 4, 5, 6, 7]);
        let gone = RunId::new(3, [0; 10]);
        assert!(matches!(runs.show(&gone), Err(RunsError::Unknown(_))));
        runs.insert(&run(3, &definition)).expect("kept");
        assert!(runs.show(&gone).expect("there").rows.is_empty(), "rows of a forgotten run came back");
    }

    #[test]
    fn one_subject_has_a_bounded_number_of_open_runs() {
        let folder = tempfile::tempdir().expect("a folder");
        let runs = Runs::open(&folder.path().join("runs")).expect("opened");
        let definition = definition(1);
        for number in 0..16 {
            runs.has_room("operator:ada").expect("room");
            runs.insert(&run(number, &definition)).expect("kept");
        }
        assert!(matches!(runs.has_room("operator:ada"), Err(RunsError::TooMany { .. })));
        runs.has_room("operator:eve").expect("another subject's room");
        runs.close(&RunId::new(3, [0; 10]), &closed(&run(3, &definition))).expect("closed");
        runs.has_room("operator:ada").expect("room");
    }
}
