//! A run decided again. What was decided is compared with the run's journal, and the journal with the evidence log: the
//! definition's digest from before the first step, how each action ended, the digest of the whole trace at the end.

use aios_evidence::{Filter, Kind, Record};
use aios_ids::Digest;
use aios_workflow::{Definition, Ending, Event, Next, Row, Run, Trace};
use serde::Serialize;

use super::connect;
use crate::evidence;
use crate::failure::Failure;
use crate::show::{Format, read};

/// What deciding again gave.
#[derive(Debug, Serialize)]
struct Answer {
    run: String,
    definition: Digest,
    lines: usize,
    trace_digest: Digest,
    /// Whether the evidence log has this digest as the run's end.
    ended: bool,
    /// Actions whose end in the journal is their end in the evidence log.
    actions: usize,
    trace: String,
}

pub(super) async fn run(id: &str, other: Option<Definition>, trace: bool, format: Format) -> Result<(), Failure> {
    let run: Run = read("action-runtime", &connect().await?.journal(id).await?)?;
    let own = Definition::parse(&run.definition)
        .map_err(|error| Failure::failed(format!("the kept definition cannot be read: {error}")))?;
    let is_other = other.is_some();
    let definition = other.unwrap_or(own);
    let diverges = |text: String| Failure::failed(format!("{id} diverges: {text}"));
    let again = aios_workflow::replay(&definition, &run.id, &run.rows).map_err(|found| diverges(found.to_string()))?;
    let records =
        evidence::query(&Filter { kind: Some(Kind::Workflow), action: Some(id.to_owned()), ..Filter::default() })
            .await?;
    compare(&run, &definition, &again, &records).map_err(diverges)?;
    let actions = compare_actions(&run.rows).await?.map_err(diverges)?;
    let answer = Answer {
        run: id.to_owned(),
        definition: definition.digest(),
        lines: again.text.lines().count(),
        trace_digest: again.chain.digest(),
        ended: run.closed.is_some(),
        actions,
        trace: again.text,
    };
    format.print(&answer, |answer| {
        if trace {
            print!("{}", answer.trace);
        }
        let end = if answer.ended { "the digest in the evidence log" } else { "the run has not ended" };
        println!("the same: {} lines, {end}", answer.lines);
        println!("  trace       {}", answer.trace_digest);
        println!("  definition  {}", answer.definition);
        println!("  actions     {} ended as the evidence log says", answer.actions);
    });
    if is_other && definition.digest() != run.digest {
        return Err(Failure::failed(format!(
            "{id} ran another definition, {}; what differs was not reached",
            run.digest
        )));
    }
    Ok(())
}

/// Compares a run that was decided again with what the evidence log has of it.
fn compare(run: &Run, definition: &Definition, again: &Trace, records: &[Record]) -> Result<(), String> {
    let of = |what: &str, field: &str| {
        let record = records.iter().find(|record| record.payload.get("what").is_some_and(|said| said == what))?;
        record.payload.get(field)?.as_str().map(str::to_owned)
    };
    let begun = of("begun", "definition").ok_or("the evidence log has no record of its beginning")?;
    if begun != run.digest.to_string() {
        return Err(format!("it began with definition {begun}, and the one that is kept is {}", run.digest));
    }
    let kept = Definition::parse(&run.definition).map(|kept| kept.digest());
    if !kept.is_ok_and(|kept| kept == run.digest) {
        return Err("the definition that is kept does not have the digest that it began with".into());
    }
    let Some(closed) = &run.closed else { return Ok(()) };
    let Next::End(outcome) = &again.next else {
        return Err(format!("it ended, and now step '{}' would be next", again.next.step().map_or("", |s| s.as_str())));
    };
    if *outcome != closed.outcome {
        return Err(format!("it ended as {:?}, and now as {outcome:?}", closed.outcome));
    }
    let ended = of("ended", "trace").ok_or("the evidence log has no record of its end")?;
    let same_definition = definition.digest() == run.digest;
    if same_definition && ended != again.chain.digest().to_string() {
        return Err(format!("its trace is {}, and the evidence log says {ended}", again.chain.digest()));
    }
    Ok(())
}

/// Compares how each action ended with the evidence log; the outer error is a log that cannot be asked.
async fn compare_actions(rows: &[Row]) -> Result<Result<usize, String>, Failure> {
    let mut same = 0;
    for row in rows {
        let Event::Ended { step, action: Some(action), end, .. } = &row.event else { continue };
        let Some(expected) = recorded_as(end) else { continue };
        let kind = Some(Kind::Result);
        let filter = Filter { kind, action: Some(action.to_string()), ..Filter::default() };
        let results = evidence::query(&filter).await?;
        let found = results.last().and_then(Record::outcome).unwrap_or("nothing");
        if found != expected {
            return Ok(Err(format!("step '{step}': {action} {expected} here, and {found} in the evidence log")));
        }
        same += 1;
    }
    Ok(Ok(same))
}

/// The word of the record of such an end; none where the end is another service's record, or nobody's.
fn recorded_as(end: &Ending) -> Option<&'static str> {
    match end {
        Ending::Succeeded => Some("succeeded"),
        Ending::Failed { .. } => Some("failed"),
        Ending::RolledBack { .. } => Some("rolled-back"),
        Ending::Cancelled => Some("cancelled"),
        Ending::Denied { .. } | Ending::NotTaken { .. } | Ending::Void { .. } | Ending::Interrupted => None,
    }
}
