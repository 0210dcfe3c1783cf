//! Requests and envelopes, as callers and services send them.

use aios_action::{Envelope, Request, canonical};
use aios_ids::ActionId;

use crate::{Taken, text};

pub(crate) fn requests() -> Vec<Vec<u8>> {
    let of_type = |entry: &aios_action::ActionType| {
        serde_json::json!({
            "type": entry.name, "parameters": entry.example(), "reason": "why not", "idempotency_key": "once",
            "constraints": {"memory": 1 << 20, "cpu_ms": 1000},
        })
    };
    let envelope = |text: &str| {
        let (request, _) = Request::parse(text).expect("the catalogue's own example is good");
        Envelope::new(ActionId::new(1, [1; 10]), "agent:helper".into(), request).canonical()
    };
    let texts = aios_action::CATALOGUE.iter().map(of_type).map(|value| canonical::write(&value));
    texts.flat_map(|text| [envelope(&text), text]).map(String::into_bytes).collect()
}

pub(crate) fn request(bytes: &[u8]) -> Taken {
    let Some(text) = text(bytes) else { return Taken::No };
    let value = canonical::parse(text);
    if let Ok(value) = &value {
        assert!(text.len() <= canonical::SIZE_LIMIT);
        let written = canonical::write(value);
        let again = canonical::parse(&written).expect("what was written can be read");
        assert_eq!((&again, canonical::write(&again)), (value, written), "a value has two forms");
    }
    let request = Request::parse(text);
    if let Ok((request, entry)) = &request {
        assert!(value.is_ok() && request.action_type == entry.name);
        sealed(Envelope::new(ActionId::new(1, [1; 10]), "agent:helper".into(), request.clone()));
    }
    let envelope = Envelope::parse(text);
    if let Ok((envelope, _)) = &envelope {
        assert!(request.is_err(), "a text is a request and an envelope");
        sealed(envelope.clone());
    }
    Taken::when(request.is_ok() || envelope.is_ok())
}

/// What is sealed is read back as the same, with the same digest, and keeps to its type.
fn sealed(envelope: Envelope) {
    let sealed = envelope.canonical();
    // A request of the largest size does not fit with the words around it: refused by whoever reads the envelope.
    if sealed.len() > canonical::SIZE_LIMIT {
        return;
    }
    let (again, _) = Envelope::parse(&sealed).expect("what was sealed can be read");
    assert_eq!(again.digest(), envelope.digest());
    assert_eq!(again, envelope, "the same digest, another action");
}
