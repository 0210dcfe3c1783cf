//! The table of decisions: a few hundred questions to the service as it runs, each with the answer that it must have.

use aios_action::app::{Manifest, Tested, Trial, Witnessed};

use super::*;

const TABLE: &str = include_str!("decisions.csv");

/// One line of the table.
struct Row<'a> {
    /// Its line in the file.
    line: usize,
    who: Peer,
    context: &'a str,
    action_type: String,
    answer: &'a str,
    reason: &'a str,
    parameters: Value,
}

fn rows() -> Vec<Row<'static>> {
    let lines = TABLE.lines().enumerate().filter(|(_, line)| !line.starts_with('#')).skip(1);
    lines.map(|(number, line)| row(number + 1, line)).collect()
}

fn row(line: usize, text: &str) -> Row<'_> {
    let mut fields = text.splitn(6, ',');
    let mut field = || fields.next().unwrap_or_else(|| panic!("line {line} has too few fields"));
    let (who, context, action_type, answer, reason, parameters) =
        (field(), field(), field(), field(), field(), field());
    Row {
        line,
        who: peer(who),
        context,
        action_type: serde_json::from_str(&format!("\"{action_type}\"")).expect("a text"),
        answer,
        reason,
        parameters: serde_json::from_str(parameters).unwrap_or_else(|error| panic!("line {line}: {error}")),
    }
}

fn peer(who: &str) -> Peer {
    let (kind, name) = who.split_once(':').expect("a kind and a name");
    let name = name.to_owned();
    match (kind, name.as_str()) {
        ("operator", "live") => Peer::Operator { name, strength: SessionStrength::Presence },
        ("operator", _) => Peer::Operator { name, strength: SessionStrength::PassPhrase },
        ("agent", _) => Peer::Agent { name },
        ("service", _) => Peer::Service { name },
        _ => panic!("there is no kind of peer '{kind}'"),
    }
}

/// What the runtime reports of an honest program.
fn trial(parameters: &Value) -> Trial {
    let manifest = Manifest::parse(parameters["manifest"].as_str().expect("text")).expect("a right manifest");
    Trial::of(&manifest, 159, vec![Tested::Passed], &[], Witnessed::All)
}

/// The answer of a machine in the row's context; the question is the machine's first or follows what the context says.
async fn ask(machine: &Machine, row: &Row<'_>) -> Decision {
    let mut question = envelope(&row.who, row.line as u64, &row.action_type, row.parameters.clone());
    let decide = async |envelope: &Envelope| {
        machine.kernel.decide(&envelope.canonical(), row.who.clone()).await.expect("a decision")
    };
    let request = |decision: Decision| match decision.verdict {
        Verdict::NeedsApproval { approval: Some(id) } => id,
        _ => panic!("line {}: nothing waits: {decision:?}", row.line),
    };
    match row.context {
        "plain" | "no-policy" => {}
        "log-refuses" => machine.log.refuse(&["decision"]),
        "log-refuses-request" => machine.log.refuse(&["approval-requested"]),
        "sealed-for-another" => question.subject = "operator:somebody".into(),
        "sealed-for-nobody" => question.subject.clear(),
        "future-form" => question.schema = "aios.action.v9".into(),
        "tried" => question.trial = Some(trial(&row.parameters)),
        "tried-another" => {
            let other = aios_ids::Digest::of(b"another program");
            question.trial = Some(Trial { program: other, ..trial(&row.parameters) });
        }
        "waits-already" => drop(request(decide(&question).await)),
        "rejected-before" => {
            let id = request(decide(&question).await);
            machine.kernel.reject(id.as_str(), &live(), "no").await.expect("a person says no");
        }
        "approved-before" => {
            let id = request(decide(&question).await);
            machine.approve(&id, &live(), "").await.expect("a person says yes");
        }
        "revised" => {
            let mut before = question.clone();
            before.request.reason = "another intent".into();
            request(decide(&before).await);
        }
        "sixteen-wait" | "others-sixteen-wait" => {
            let who = if row.context == "sixteen-wait" { row.who.clone() } else { Peer::Agent { name: "busy".into() } };
            let waits =
                if who.is_ai() { ("task.run", json!({"program": PROGRAM})) } else { ("node.reboot", json!({})) };
            for number in 0..16 {
                request(machine.asked(&who, 10_000 + number, waits.0, waits.1.clone()).await);
            }
        }
        "emergency" => {
            machine.kernel.start_override(&live(), 60, "a test", "").await.expect("nobody has one");
        }
        "offered" => {
            let report = machine.kernel.offer(packed(&[], 2)).await.expect("a good bundle");
            if question.request.parameters.get("digest").is_some_and(|digest| digest == "OFFERED") {
                question.request.parameters.insert("digest".into(), report.digest.to_string().into());
            }
            machine.with_ada();
            for name in ["ada", "grace", "eve"] {
                machine.kernel.offer_pass_phrase(&row.who, name, "a new one").await.expect("kept");
            }
        }
        "keyed" => {
            let key = &aios_action::find("user.key.add").expect("in the catalogue").example()["key"];
            machine.with_people_and_a_key(key.as_str().expect("text"));
        }
        "asked-forty-times" => {
            let waits =
                if row.who.is_ai() { ("task.run", json!({"program": PROGRAM})) } else { ("node.reboot", json!({})) };
            for number in 0..40 {
                let id = request(machine.asked(&row.who, 10_000 + number, waits.0, waits.1.clone()).await);
                machine.kernel.reject(id.as_str(), &live(), "no").await.expect("a person says no");
            }
        }
        other => panic!("line {}: there is no context '{other}'", row.line),
    }
    decide(&question).await
}

const PROGRAM: &str = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-hello-1.0/bin/hello";

#[tokio::test]
async fn every_row_of_the_table_has_its_answer_and_is_in_the_log() {
    let rows = rows();
    assert!(rows.len() >= 200, "{} rows", rows.len());
    let (mut wrong, mut plain) = (Vec::new(), Machine::start().await);
    for (place, row) in rows.iter().enumerate() {
        let own;
        let machine = match row.context {
            "plain" => {
                // Fewer than may wait at once.
                if place % 15 == 0 {
                    plain = Machine::start().await;
                }
                &plain
            }
            "no-policy" => {
                own = Machine::start_with(Err("taken away by the test".into())).await;
                &own
            }
            _ => {
                own = Machine::start().await;
                &own
            }
        };
        let decision = ask(machine, row).await;
        let answer = match decision.verdict {
            Verdict::Allowed => "allowed",
            Verdict::NeedsApproval { .. } => "needs-approval",
            Verdict::Denied => "denied",
        };
        if (answer, decision.reason.as_str()) != (row.answer, row.reason) {
            wrong.push(format!(
                "line {}: expected {} {}, found {answer} {}: {}",
                row.line, row.answer, row.reason, decision.reason, decision.text
            ));
        }
        // What was told was recorded before, or it is a denial that says so.
        let digest = decision.digest.to_string();
        let recorded = machine.log.kept().records.iter().any(|(_, record)| record.to_string().contains(&digest));
        if (row.reason == "EvidenceUnavailable") == (decision.evidence.is_some() && recorded) {
            wrong.push(format!("line {}: the answer is not in the log", row.line));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A table in which a type, a reason or a kind of subject is missing would prove little.
#[test]
fn the_table_has_every_type_for_every_kind_of_subject() {
    let rows = rows();
    for entry in aios_action::CATALOGUE {
        for kind in ["operator:", "agent:", "service:"] {
            let asked = rows.iter().any(|row| row.action_type == entry.name && row.who.to_string().starts_with(kind));
            assert!(asked, "nobody of {kind} asks for {}", entry.name);
        }
    }
    for (place, row) in rows.iter().enumerate() {
        let twice = rows[..place].iter().any(|other| {
            (&other.who, other.context, &other.action_type, &other.parameters)
                == (&row.who, row.context, &row.action_type, &row.parameters)
        });
        assert!(!twice, "line {} stands twice", row.line);
    }
}
