//! What one action may use up: its type's limits, lowered by what the one who asks allows; and what it left behind.

use aios_action::allowance::Use;
use aios_action::{Constraints, Request, contents, object_content};
use aios_wire::launch::Limits;
use serde_json::Value;

/// The deadline of the request is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("its deadline of {deadline_ms} ms was over {late_ms} ms before it could begin")]
pub struct TooLate {
    deadline_ms: u32,
    late_ms: u64,
}

/// The limits of an action that was asked for `age_ms` milliseconds ago.
pub fn lowered(limits: Limits, constraints: &Constraints, age_ms: u64) -> Result<Limits, TooLate> {
    let least = |limit: u32, constraint: Option<u32>| limit.min(constraint.unwrap_or(limit));
    let mut time_ms = least(limits.time_ms, constraints.time_ms);
    if let Some(deadline_ms) = constraints.deadline_ms {
        match u64::from(deadline_ms).checked_sub(age_ms) {
            None | Some(0) => return Err(TooLate { deadline_ms, late_ms: age_ms.saturating_sub(deadline_ms.into()) }),
            Some(left) => time_ms = time_ms.min(u32::try_from(left).unwrap_or(u32::MAX)),
        }
    }
    Ok(Limits {
        memory: limits.memory.min(constraints.memory.map_or(limits.memory, u64::from)),
        time_ms,
        cpu_ms: least(limits.cpu_ms, constraints.cpu_ms),
        output: least(limits.output, constraints.output),
        written: least(limits.written, constraints.written),
        ..limits
    })
}

/// What an action that was measured put into files and objects, and had other machines asked: its own contents, and an answer
/// as large as the verifier saw it.
pub fn moved(request: &Request, observed: &Value) -> Use {
    let length = |name: &str| request.parameters.get(name).and_then(Value::as_str).map_or(0, |text| text.len() as u64);
    let (written, network) = match request.action_type.as_str() {
        "file.write" => (length("content"), 0),
        "file.patch" => (length("new"), 0),
        "object.put" => (object_content(&request.parameters).map_or(0, |content| content.len() as u64), 0),
        "object.transaction" => {
            let objects = request.parameters.get("objects").and_then(contents).unwrap_or_default();
            (objects.iter().map(|(_, content)| content.len() as u64).sum(), 0)
        }
        "http.fetch" => {
            let answer = observed.get("size").and_then(Value::as_u64).unwrap_or_default();
            (answer, answer.saturating_add(length("body")))
        }
        _ => (0, 0),
    };
    Use { written, network, ..Use::default() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const LIMITS: Limits = Limits {
        memory: 1 << 20,
        processes: 8,
        cpu_percent: 100,
        time_ms: 1000,
        cpu_ms: 500,
        output: 4096,
        written: 8192,
    };

    #[test]
    fn what_is_put_away_and_what_is_fetched_is_counted() {
        let counted = |action_type: &str, parameters: Value, observed: Value| {
            let Value::Object(parameters) = parameters else { panic!("an object") };
            let request = Request::new(action_type, parameters);
            request.check().expect("a right request");
            let used = moved(&request, &observed);
            (used.written, used.network)
        };
        let objects = json!([{"name": "a", "content": "12"}, {"name": "b", "content": "345"}]);
        let post = json!({"url": "http://h/x", "object": "a", "method": "POST", "body": "1234"});
        for (action_type, parameters, observed, expected) in [
            ("file.write", json!({"path": "a", "content": "123"}), json!({}), (3, 0)),
            ("file.patch", json!({"path": "a", "old": "123", "new": "4"}), json!({}), (1, 0)),
            ("object.put", json!({"name": "a", "content": "MTIz", "encoding": "base64"}), json!({}), (3, 0)),
            ("object.transaction", json!({"objects": objects}), json!({}), (5, 0)),
            ("http.fetch", post, json!({"size": 100}), (100, 104)),
            ("file.delete", json!({"path": "a"}), json!({"size": 100}), (0, 0)),
        ] {
            assert_eq!(counted(action_type, parameters, observed), expected, "{action_type}");
        }
    }

    #[test]
    fn a_deadline_leaves_what_is_left_of_it() {
        let constraints = Constraints { deadline_ms: Some(700), ..Constraints::default() };
        assert_eq!(lowered(LIMITS, &constraints, 300).map(|limits| limits.time_ms), Ok(400));
        assert_eq!(lowered(LIMITS, &Constraints::default(), u64::MAX), Ok(LIMITS));
        let late = lowered(LIMITS, &constraints, 800).expect_err("over");
        assert_eq!(late.to_string(), "its deadline of 700 ms was over 100 ms before it could begin");
        assert!(lowered(LIMITS, &constraints, 700).is_err());
    }

    proptest! {
        #[test]
        fn a_constraint_never_raises_a_limit_and_is_never_exceeded(
            fields in prop::array::uniform6(prop::option::of(1_u32..10_000_000)),
            age_ms in 0_u64..2000,
        ) {
            let [deadline_ms, time_ms, cpu_ms, memory, output, written] = fields;
            let constraints = Constraints { deadline_ms, time_ms, cpu_ms, memory, output, written };
            let Ok(lowered) = lowered(LIMITS, &constraints, age_ms) else { return Ok(()) };
            let pairs = [
                (lowered.time_ms, LIMITS.time_ms, time_ms),
                (lowered.cpu_ms, LIMITS.cpu_ms, cpu_ms),
                (lowered.memory as u32, LIMITS.memory as u32, memory),
                (lowered.output, LIMITS.output, output),
                (lowered.written, LIMITS.written, written),
            ];
            for (got, limit, constraint) in pairs {
                prop_assert!(got > 0 && got <= limit && constraint.is_none_or(|most| got <= most));
            }
            prop_assert!(deadline_ms.is_none_or(|most| age_ms + u64::from(lowered.time_ms) <= u64::from(most)));
        }
    }
}
