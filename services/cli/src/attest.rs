//! `aios attest`: on one screen who approved an action, what exactly ran, what it changed, what the kernel refused to it,
//! whether deciding again gives the same, and the proof.

use aios_action::{ActionView, Envelope, canonical};
use aios_evidence::{Checkpoint, Filter, Kind, Record};
use aios_identity::Peer;
use aios_wire::policy::{Decision, Verdict};
use serde::Serialize;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::sentence::sentence;
use crate::show::{Format, Ink, Tone, harmless, read};
use crate::{action, evidence, policy};

/// A line says at most so much.
const SAID: usize = 300;

pub(crate) async fn run(id: &str, format: Format) -> Result<(), Failure> {
    let view = action::view(id).await?;
    let records = evidence::query(&Filter { action: Some(id.to_owned()), ..Filter::default() }).await?;
    let head = evidence::proved(&records).await?;
    let head = head.ok_or_else(|| Failure::failed(format!("the log has no record of {id}")))?;
    let envelope = view.envelope();
    let sealed = Sealed::of(&envelope, &view, &records);
    let again = again(&envelope, &records).await;
    let shown = json!({
        "action": view,
        "approved": approved(&view, &records),
        "sealed": sealed,
        "again": again,
        "records": records,
        "proof": {
            "record": records.last().map(|record| record.index), "records": records.len(), "size": head.size,
            "root": head.root,
        },
    });
    format.print(&shown, |_| print(&view, &records, sealed, &again, &head));
    match (sealed, &again) {
        (Sealed::Changed, _) => Err(Failure::failed(format!("{id} is not what its records say"))
            .hint("compare 'aios action show' with 'aios evidence query --action'")),
        _ => Ok(()),
    }
}

/// Whether what the runtime shows is what was decided, word for word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Sealed {
    /// Its digest stands in every record that has one.
    Same,
    /// It does not.
    Changed,
}

impl Sealed {
    fn of(envelope: &Envelope, view: &ActionView, records: &[Record]) -> Self {
        let digest = envelope.digest();
        let same =
            digest == view.digest && records.iter().filter_map(|record| record.digest).all(|in_log| in_log == digest);
        if same { Self::Same } else { Self::Changed }
    }
}

/// What deciding again gives.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
enum Again {
    /// The same verdict, reason and rules.
    Same {
        /// Under which policy now.
        epoch: String,
        /// Under which policy then.
        then: String,
    },
    /// Another verdict, reason or rules.
    Other { now: String, was: String, epoch: String, then: String },
    /// It was not decided, or cannot be decided again.
    Unknown { why: String },
}

/// Has the policy kernel decide once more, on the same envelope and the subject that the record of the decision has.
async fn again(envelope: &Envelope, records: &[Record]) -> Again {
    let unknown = |why: String| Again::Unknown { why };
    let recorded = records
        .iter()
        .filter(|record| record.kind == Kind::Decision)
        .find_map(|record| serde_json::from_value::<Decision>(record.payload.get("decision")?.clone()).ok());
    let Some(recorded) = recorded else { return unknown("the log has no decision on it".to_owned()) };
    match decide(envelope, &recorded.subject).await {
        Ok(now) => compare(&recorded, &now),
        Err(failure) => unknown(failure.to_string()),
    }
}

async fn decide(envelope: &Envelope, subject: &Peer) -> Result<Decision, Failure> {
    let subject = serde_json::to_string(subject).expect("a peer has only text keys");
    let answer = policy::connect().await?.decide_again(&envelope.canonical(), &subject).await?;
    read("policy-kernel", &answer)
}

fn compare(then: &Decision, now: &Decision) -> Again {
    let said = |decision: &Decision| {
        let verdict = match decision.verdict {
            Verdict::Allowed => "allowed",
            Verdict::NeedsApproval { .. } => "allowed once a person approves",
            Verdict::Denied => "denied",
        };
        let rules =
            if decision.rules.is_empty() { String::new() } else { format!(" by {}", decision.rules.join(", ")) };
        format!("{verdict}{rules} ({})", decision.reason)
    };
    let (epoch, past, now, was) = (now.epoch.clone(), then.epoch.clone(), said(now), said(then));
    if now == was { Again::Same { epoch, then: past } } else { Again::Other { now, was, epoch, then: past } }
}

/// Who said yes: a person, or the rules alone.
fn approved(view: &ActionView, records: &[Record]) -> String {
    let of = |kind| records.iter().filter(move |record| record.kind == kind);
    if let Some(said) = of(Kind::ApprovalGranted).chain(of(Kind::ApprovalRejected)).next_back() {
        return sentence(said);
    }
    if of(Kind::ApprovalRequested).next().is_some() {
        return "nobody yet: it waits for a person".to_owned();
    }
    match view.rules.as_slice() {
        [] => "nobody".to_owned(),
        rules => format!("no person had to: {} decided", rules.join(", ")),
    }
}

fn print(view: &ActionView, records: &[Record], sealed: Sealed, again: &Again, head: &Checkpoint) {
    let ink = Ink::of_stdout();
    let cut = |text: String| text.chars().take(SAID).collect::<String>();
    let state = match view.state.word() {
        word @ "succeeded" => ink.paint(Tone::Good, word),
        word @ ("denied" | "failed" | "rolled-back") => ink.paint(Tone::Bad, word),
        word => ink.paint(Tone::Waits, word),
    };
    println!("{}  {}  {state}", view.id, view.request.action_type);
    println!("  asked by  {}", harmless(&view.subject));
    println!("  approved  {}", approved(view, records));
    let parameters = canonical::write(&Value::Object(view.request.parameters.clone()));
    println!("  ran       {} {}", view.request.action_type, harmless(&cut(parameters)));
    match sealed {
        Sealed::Same => println!("            sealed as {}, the same in every record", view.digest),
        Sealed::Changed => println!("            {}", ink.paint(Tone::Bad, "NOT what its records were sealed over")),
    }
    let outcomes: Vec<_> = records.iter().filter(|record| record.kind == Kind::Outcome).collect();
    if outcomes.is_empty() {
        println!("  changed   nothing that was measured");
    }
    for outcome in outcomes {
        println!("  changed   {}", cut(sentence(outcome)));
        if let Some(observed) = outcome.payload.get("observed").filter(|observed| !observed.is_null()) {
            println!("            now {}", harmless(&cut(canonical::write(observed))));
        }
    }
    for denial in records.iter().filter(|record| record.kind == Kind::Denial) {
        println!("  refused   {}", ink.paint(Tone::Bad, &cut(sentence(denial))));
    }
    match again {
        Again::Same { epoch, then } if epoch == then => println!("  again     the same, under the same policy {epoch}"),
        Again::Same { epoch, then } => {
            println!("  again     the same, though the policy is now {epoch} and was {then}")
        }
        Again::Other { now, was, epoch, then } => {
            println!("  again     {}", ink.paint(Tone::Waits, &format!("now {now}, was {was}")));
            match epoch == then {
                true => println!("            under the same policy {epoch}"),
                false => println!("            the policy is now {epoch} and was {then}"),
            }
        }
        Again::Unknown { why } => println!("  again     cannot say: {}", harmless(why)),
    }
    let receipts: Vec<_> = records.iter().map(|record| format!("{} {}", record.kind, record.index)).collect();
    println!("  records   {}", receipts.join(", "));
    println!("  proof     all of them are in the signed tree of {} records, root {}", head.size, head.root);
}

#[cfg(test)]
mod tests {
    use aios_ids::Digest;

    use super::*;

    fn decision(rules: &[&str], epoch: &str) -> Decision {
        Decision {
            verdict: Verdict::Allowed,
            reason: "PermittedByRule".into(),
            text: String::new(),
            rules: rules.iter().map(|rule| (*rule).to_owned()).collect(),
            epoch: epoch.into(),
            digest: Digest::of(b""),
            subject: Peer::Agent { name: "x".into() },
            evidence: None,
            wanted: None,
            closes_ms: None,
        }
    }

    #[test]
    fn another_rule_is_another_answer_and_another_epoch_is_said() {
        let then = decision(&["a"], "1");
        assert_eq!(compare(&then, &decision(&["a"], "2")), Again::Same { epoch: "2".into(), then: "1".into() });
        assert!(matches!(compare(&then, &decision(&["b"], "1")), Again::Other { .. }));
        // An approval's number is no part of the answer.
        let waits = |approval| Decision { verdict: Verdict::NeedsApproval { approval }, ..decision(&["a"], "1") };
        let number = "apprq_00000000000000000000000000".parse().expect("an id");
        assert!(matches!(compare(&waits(Some(number)), &waits(None)), Again::Same { .. }));
    }
}
