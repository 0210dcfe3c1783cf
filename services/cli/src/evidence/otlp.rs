//! Records as OpenTelemetry logs in the JSON form of OTLP: one `resourceLogs` message a line, as collectors read files.
//!
//! Nothing of the proof is in it, so it is a copy for looking at; the export in C2SP form is the one to keep.

use aios_evidence::{Kind, Record};
use serde_json::{Value, json};

use super::lines::tone;
use crate::sentence::sentence;
use crate::show::Tone;

/// One message with these records, which are of the log `origin`.
pub(crate) fn message(origin: &str, records: &[Record]) -> Value {
    let resource = [text("service.name", "aios"), text("aios.log", origin)];
    json!({
        "resourceLogs": [{
            "resource": {"attributes": resource},
            "scopeLogs": [{
                "scope": {"name": "aios.evidence", "version": env!("CARGO_PKG_VERSION")},
                "logRecords": records.iter().map(log_record).collect::<Vec<_>>(),
            }],
        }],
    })
}

/// One record. Whole numbers of 64 bits are texts in this form.
fn log_record(record: &Record) -> Value {
    let time = u128::from(record.wall) * 1_000_000;
    let (number, word) = severity(record);
    let mut attributes = vec![
        json!({"key": "aios.index", "value": {"intValue": record.index.to_string()}}),
        text("aios.kind", record.kind.as_str()),
        text("aios.writer", &record.writer),
        text("aios.boot", &record.boot),
        json!({"key": "aios.at_ms", "value": {"intValue": record.at_ms.to_string()}}),
        json!({"key": "aios.payload", "value": any(&Value::Object(record.payload.clone()))}),
    ];
    let digest = record.digest.map(|digest| digest.to_string()).unwrap_or_default();
    for (key, value) in [
        ("aios.subject", &record.subject),
        ("aios.action", &record.action),
        ("aios.digest", &digest),
        ("aios.epoch", &record.epoch),
    ] {
        if !value.is_empty() {
            attributes.push(text(key, value));
        }
    }
    json!({
        "timeUnixNano": time.to_string(),
        "observedTimeUnixNano": time.to_string(),
        "severityNumber": number,
        "severityText": word,
        "eventName": format!("aios.{}", record.kind),
        "body": {"stringValue": sentence(record)},
        "attributes": attributes,
    })
}

fn severity(record: &Record) -> (u8, &'static str) {
    match (record.kind, tone(record)) {
        (Kind::Repair, _) | (_, Tone::Bad) => (13, "WARN"),
        _ => (9, "INFO"),
    }
}

fn text(key: &str, value: &str) -> Value {
    json!({"key": key, "value": {"stringValue": value}})
}

/// A value in OpenTelemetry's own typed form.
fn any(value: &Value) -> Value {
    match value {
        Value::Null => json!({}),
        Value::Bool(flag) => json!({"boolValue": flag}),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => json!({"intValue": whole.to_string()}),
            None => json!({"doubleValue": number}),
        },
        Value::String(text) => json!({"stringValue": text}),
        Value::Array(values) => json!({"arrayValue": {"values": values.iter().map(any).collect::<Vec<_>>()}}),
        Value::Object(fields) => {
            let values: Vec<_> = fields.iter().map(|(key, value)| json!({"key": key, "value": any(value)})).collect();
            json!({"kvlistValue": {"values": values}})
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sentence::tests::record;

    #[test]
    fn a_record_keeps_all_that_it_says() {
        let mut denied =
            record(Kind::Outcome, json!({"held": false, "text": "it is not there", "observed": {"n": [1, null]}}));
        (denied.index, denied.wall, denied.action) = (7, 1_795_257_005_123, "act_x".into());
        let message = message("aios.internal/evidence/00", &[denied]);
        let log = &message["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0];
        assert_eq!(log["timeUnixNano"], "1795257005123000000");
        assert_eq!((&log["severityText"], &log["eventName"]), (&json!("WARN"), &json!("aios.outcome")));
        let attribute = |key: &str| {
            let attributes = log["attributes"].as_array().expect("a list");
            attributes.iter().find(|attribute| attribute["key"] == key).map(|attribute| attribute["value"].clone())
        };
        assert_eq!(attribute("aios.index"), Some(json!({"intValue": "7"})));
        assert_eq!(attribute("aios.action"), Some(json!({"stringValue": "act_x"})));
        let payload = attribute("aios.payload").expect("the payload");
        let observed = json!({"kvlistValue": {"values": [
            {"key": "n", "value": {"arrayValue": {"values": [{"intValue": "1"}, {}]}}},
        ]}});
        let values = payload["kvlistValue"]["values"].as_array().expect("a list");
        assert!(values.contains(&json!({"key": "observed", "value": observed})), "{payload}");
    }
}
