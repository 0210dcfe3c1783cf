//! What of an action's parameters may stand in the log for ever: contents only by their digest.

use aios_ids::Digest;
use serde_json::{Map, Value, json};

/// The parameters with contents replaced by digest and size.
pub(crate) fn parameters(parameters: &Map<String, Value>) -> Value {
    let kept = parameters.iter().map(|(name, value)| match (name.as_str(), value) {
        ("content", Value::String(text)) => {
            (name.clone(), json!({"sha256": Digest::of(text.as_bytes()), "size": text.len()}))
        }
        _ => (name.clone(), value.clone()),
    });
    Value::Object(kept.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_content_reaches_the_log() {
        let given = json!({"path": "notes", "content": "my secret"});
        let kept = parameters(given.as_object().expect("an object"));
        assert_eq!(kept["path"], "notes");
        assert_eq!(kept["content"]["size"], 9);
        assert!(!kept.to_string().contains("secret"));
    }
}
