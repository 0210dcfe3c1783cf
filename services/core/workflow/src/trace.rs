//! A run as bytes: what was decided and what came of it, line by line, each line bound to all before it.
//!
//! A row of the journal carries the chain value of its line. Deciding again from the same definition and the same events
//! gives the same lines; the first line that is another one names the step where definition or journal were altered. The
//! last chain value stands in the evidence log, so a journal that was rewritten as a whole is found as well.

use aios_action::canonical;
use aios_ids::{Digest, RunId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::definition::Definition;
use crate::event::Event;
use crate::next::{Next, Outcome, Purpose};
use crate::progress::Progress;

/// The value that binds a line to all before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Chain(Digest);

impl Chain {
    /// Before the first line of a run.
    pub fn begin(run: &RunId) -> Self {
        Self(Digest::of(format!("aios-workflow-trace 1\n{run}\n").as_bytes()))
    }

    /// With one more line.
    #[must_use]
    fn with(self, line: &str) -> Self {
        Self(Digest::of(&[self.0.as_bytes(), line.as_bytes()].concat()))
    }

    /// Over a decision and what came of it.
    #[must_use]
    pub fn with_event(self, decided: &Next, event: &Event) -> Self {
        self.with(&line(decided, event))
    }

    /// Over the end.
    #[must_use]
    pub fn with_end(self, outcome: &Outcome) -> Self {
        self.with(&last_line(outcome))
    }

    /// The value.
    pub fn digest(self) -> Digest {
        self.0
    }
}

/// A row of a run's journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// What came of what was decided.
    pub event: Event,
    /// Binds both to all before.
    pub chain: Chain,
}

/// A run that was decided again.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    /// A line for each event, and one for the end if it was reached.
    pub text: String,
    /// The chain's last value.
    pub chain: Chain,
    /// What is next.
    pub next: Next,
}

/// The first place where deciding again leads elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, step '{step}': {text}")]
pub struct Divergence {
    /// The line of the trace, from 1.
    pub line: usize,
    /// The step.
    pub step: String,
    /// What is other than it was.
    pub text: String,
}

/// Decides a run again from its definition and its journal.
pub fn replay(definition: &Definition, run: &RunId, rows: &[Row]) -> Result<Trace, Divergence> {
    let mut text = String::new();
    let (progress, mut chain) = again(definition, run, rows, |line| text.push_str(line))?;
    let next = progress.next();
    if let Next::End(outcome) = &next {
        let line = last_line(outcome);
        chain = chain.with(&line);
        text.push_str(&line);
    }
    Ok(Trace { text, chain, next })
}

/// Where a run stands that goes on, and the chain value of its last event; the journal is checked on the way.
pub fn resume<'d>(definition: &'d Definition, run: &RunId, rows: &[Row]) -> Result<(Progress<'d>, Chain), Divergence> {
    again(definition, run, rows, |_| {})
}

fn again<'d>(
    definition: &'d Definition,
    run: &RunId,
    rows: &[Row],
    mut see: impl FnMut(&str),
) -> Result<(Progress<'d>, Chain), Divergence> {
    let mut progress = Progress::begin(definition, run.clone());
    let mut chain = Chain::begin(run);
    for (place, row) in rows.iter().enumerate() {
        let decided = progress.next();
        let step = decided.step().or(row.event.step()).map_or("the end", |step| step.as_str());
        let diverges = |text: String| Divergence { line: place + 1, step: step.to_owned(), text };
        let line = line(&decided, &row.event);
        progress.apply(&row.event).map_err(|unexpected| diverges(unexpected.to_string()))?;
        chain = chain.with(&line);
        if chain != row.chain {
            return Err(diverges(
                "what is decided now, or what the journal says came of it, is not what it was then".into(),
            ));
        }
        see(&line);
    }
    Ok((progress, chain))
}

fn line(decided: &Next, event: &Event) -> String {
    let event = serde_json::to_value(event).expect("an event has only text keys");
    canonical::write(&json!({"decided": shown(decided), "then": event})) + "\n"
}

fn last_line(outcome: &Outcome) -> String {
    canonical::write(&json!({"decided": shown(&Next::End(outcome.clone()))})) + "\n"
}

/// A decision, with digests in place of contents.
fn shown(next: &Next) -> Value {
    match next {
        Next::Submit(submission) => {
            let request = serde_json::to_value(&submission.request).expect("a request has only text keys");
            let purpose = match submission.purpose {
                Purpose::Try(failed) => json!({"try": failed}),
                Purpose::Repair { round, action } => json!({"repair": round, "action": action}),
            };
            json!({
                "submit": submission.step,
                "number": submission.number,
                "purpose": purpose,
                "wait_ms": submission.wait_ms,
                "until_ms": submission.until_ms,
                "goal": submission.goal,
                "request": Digest::of(canonical::write(&request).as_bytes()),
            })
        }
        Next::Ask { step, question, until_ms } => json!({"ask": step, "question": question, "until_ms": until_ms}),
        Next::End(outcome) => json!({"end": outcome}),
    }
}
