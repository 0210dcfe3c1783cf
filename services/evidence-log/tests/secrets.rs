//! A thousand secrets pushed into the log through every kind of record, and none of them in any of its files.

use aios_evidence::{Form, Kind};
use evidence_log::{Draft, Log, Stamp, open};
use serde_json::{Map, Value, json};

const CANARY: &str = "canary-7f3a";

/// A value of a field's form that holds nothing secret.
fn harmless(form: Form) -> Value {
    match form {
        Form::Text | Form::Epoch => json!("plain"),
        Form::Whole => json!(7),
        Form::Flag => json!(true),
        Form::Json => json!({"plain": [1, 2]}),
        Form::Peer | Form::Subject => json!({"kind": "agent", "name": "example"}),
        Form::Digest => json!("ab".repeat(32)),
        Form::Inner => json!({"subject": {"kind": "agent", "name": "example"}}),
        Form::Parameters => json!({}),
    }
}

/// Payloads of a kind with secrets wherever a writer could put one by mistake: in a field that the kind does not have, in
/// one of another form, among the parameters of an action.
fn payloads(kind: Kind, number: &mut u64) -> Vec<Value> {
    let mut secret = || {
        *number += 1;
        format!("{CANARY}-{number}")
    };
    let whole: Map<String, Value> =
        kind.fields().iter().map(|field| (field.name.to_owned(), harmless(field.form))).collect();
    let mut payloads = Vec::new();
    for place in 0..12 {
        let mut payload = whole.clone();
        let value = match place % 4 {
            0 => json!(secret()),
            1 => json!({"deep": [secret(), {"er": secret()}]}),
            2 => json!([[secret()]]),
            _ => json!({ secret(): 1 }),
        };
        payload.insert(format!("pass_phrase_{place}"), value);
        payloads.push(Value::Object(payload));
    }
    for field in kind.fields() {
        // What is text or the writer's own choice is the writer's to keep clean; every other form refuses another one.
        let wrong = match field.form {
            Form::Text | Form::Epoch => json!([secret()]),
            Form::Json | Form::Inner => continue,
            Form::Peer | Form::Subject => json!({"kind": "agent", "name": "example", "token": secret()}),
            Form::Parameters => json!({"content": secret(), "path": "notes", "token": secret()}),
            _ => json!(secret()),
        };
        let mut payload = whole.clone();
        payload.insert(field.name.to_owned(), wrong);
        if field.form == Form::Parameters {
            payload.insert("type".into(), json!("file.write"));
        }
        payloads.push(Value::Object(payload));
    }
    payloads
}

fn append(log: &Log, kind: Kind, payload: &Value) {
    let draft = Draft { kind, action: "act_1".into(), writer: "service:test".into(), payload: payload.to_string() };
    let stamp = Stamp { boot: "b".into(), at_ms: 1, wall: 1_790_000_000_000 };
    log.append(&[draft], &stamp).pop().expect("one").expect("written, whatever it holds");
}

#[test]
fn no_secret_reaches_a_file_of_the_log() {
    let folder = tempfile::tempdir().expect("a folder");
    let (log, ..) = open(folder.path(), || Ok([7; 96])).expect("a new log");
    append(&log, Kind::Boot, &json!({"key": log.key().ed25519_line(), "key_ml_dsa": log.key().ml_dsa_line()}));
    let mut number = 0;
    while number < 1000 {
        for kind in Kind::ALL {
            for payload in payloads(*kind, &mut number) {
                append(&log, *kind, &payload);
            }
        }
    }
    log.store_checkpoint().expect("stored");
    assert!(log.verify().expect("sound").kinds.len() == Kind::ALL.len(), "every kind was written");
    let mut files = 0;
    for file in std::fs::read_dir(folder.path()).expect("readable") {
        let path = file.expect("a file").path();
        let bytes = std::fs::read(&path).expect("readable");
        files += 1;
        let found = bytes.windows(CANARY.len()).position(|window| window == CANARY.as_bytes());
        assert_eq!(found, None, "{}", path.display());
    }
    assert!(files >= 5, "segment, hashes, places, index and checkpoint");
    let segment = std::fs::read(folder.path().join("segment")).expect("readable");
    assert!(segment.windows(8).any(|window| window == b"withheld"), "the commitments are there");
}
