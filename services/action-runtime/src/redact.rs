//! What of an action's parameters may stand in the log for ever: contents only by their digest.

use aios_action::{Kind, Request, contents, find};
use aios_ids::Digest;
use serde_json::{Value, json};

/// The parameters with contents replaced by digest and size.
pub(crate) fn parameters(request: &Request) -> Value {
    let known = find(&request.action_type).map(|entry| entry.parameters).unwrap_or_default();
    let kept = request.parameters.iter().map(|(name, value)| {
        let kind = known.iter().find(|parameter| parameter.name == name).map(|parameter| parameter.kind);
        let kept = match (kind, value) {
            (Some(Kind::Text(_) | Kind::AppManifest), Value::String(text)) => summary(text),
            (Some(Kind::Contents(_)), objects) => contents(objects)
                .unwrap_or_default()
                .into_iter()
                .map(|(name, content)| json!({"name": name, "content": summary(content)}))
                .collect(),
            _ => value.clone(),
        };
        (name.clone(), kept)
    });
    Value::Object(kept.collect())
}

fn summary(text: &str) -> Value {
    json!({"sha256": Digest::of(text.as_bytes()), "size": text.len()})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(action_type: &str, given: Value) -> Value {
        let Value::Object(parameters) = given else { panic!("an object") };
        parameters_of(action_type, parameters)
    }

    fn parameters_of(action_type: &str, parameters: serde_json::Map<String, Value>) -> Value {
        let request = Request {
            action_type: action_type.into(),
            parameters,
            reason: String::new(),
            idempotency_key: None,
            constraints: aios_action::Constraints::default(),
        };
        request.check().expect("a right request");
        super::parameters(&request)
    }

    #[test]
    fn no_content_reaches_the_log() {
        let written = kept("file.write", json!({"path": "notes", "content": "my secret"}));
        assert_eq!((&written["path"], &written["content"]["size"]), (&json!("notes"), &json!(9)));
        let patched = kept("file.patch", json!({"path": "notes", "old": "secret one", "new": "secret two"}));
        let objects = json!([{"name": "a", "content": "secret one"}, {"name": "b", "content": "secret two"}]);
        let stored = kept("object.transaction", json!({"objects": objects}));
        assert_eq!(
            (&stored["objects"][1]["name"], &stored["objects"][1]["content"]["size"]),
            (&json!("b"), &json!(10))
        );
        for kept in [written, patched, stored] {
            assert!(!kept.to_string().contains("secret"), "{kept}");
        }
    }
}
