//! Single values: what a service, the loader or the clock says.

use aios_slots::{Counter, TRIES, UkiName, Version};
use aios_wire::objects::StoreVerified;
use serde_json::{Map, Value, json};

use super::{Judgement, Snapshot};
use crate::look::LookError;

/// The clock goes on between the effect and the look, and a time server may correct it a little.
const CLOCK_SLACK_S: u64 = 60;

/// An update is there when the loader's next choice is a newer release that was never tried.
pub(super) fn updated(running: Option<&Version>, next: Option<&UkiName>) -> Judgement {
    let untried = Some(Counter { left: TRIES, done: 0 });
    let held =
        next.is_some_and(|next| running.is_some_and(|running| next.version > *running) && next.counter == untried);
    let next = next.map(ToString::to_string);
    let running = running.map(ToString::to_string);
    let text = match &next {
        Some(name) => format!("the loader starts {name} next; {} runs", running.as_deref().unwrap_or("nothing known")),
        None => "the loader has no entry that it would start".to_owned(),
    };
    Judgement { held, observed: json!({"running": running, "next": next}), text }
}

pub(super) fn setting(key: &str, wanted: &Value, found: &Value, rendered: Option<&str>) -> Judgement {
    let agrees = rendered.is_none_or(|rendered| wanted.as_str() == Some(rendered));
    let text = match (wanted == found, agrees) {
        (true, true) => format!("{key} is {found}"),
        (true, false) => format!("{key} is {found} and /etc says {:?}", rendered.unwrap_or_default()),
        (false, _) => format!("{key} is {found} and not {wanted}"),
    };
    Judgement { held: wanted == found && agrees, observed: json!({"value": found, "rendered": rendered}), text }
}

/// Every setting is what it was in the generation that was asked for.
pub(super) fn settings(wanted: &Snapshot, found: &Map<String, Value>) -> Judgement {
    let Snapshot::Settings { values: wanted } = wanted else { return Judgement::blind("that generation") };
    let other: Vec<&str> =
        wanted.iter().filter(|(key, value)| found.get(*key) != Some(value)).map(|(key, _)| key.as_str()).collect();
    let text = match other.is_empty() {
        true => format!("all {} settings are those of that generation", wanted.len()),
        false => format!("another value than in that generation: {}", other.join(", ")),
    };
    Judgement { held: other.is_empty() && !wanted.is_empty(), observed: json!({"other": other}), text }
}

/// The tag is at the wanted version, or is not there when none is wanted.
pub(super) fn tag(name: &str, tag: &str, wanted: Option<u64>, found: Option<u64>) -> Judgement {
    let text = match found {
        Some(version) => format!("{tag} of {name} is at version {version}"),
        None => format!("{name} has no tag {tag}"),
    };
    Judgement { held: wanted == found, observed: json!({"version": found}), text }
}

/// The store path is what was signed, and there for programs to see.
pub(super) fn stored(path: &str, verified: &StoreVerified, visible: bool) -> Judgement {
    Judgement {
        held: verified.intact && visible,
        observed: json!({"intact": verified.intact, "visible": visible, "nar": verified.found}),
        text: match (verified.intact, visible) {
            (true, true) => format!("{path} holds what was signed and is visible"),
            (true, false) => format!("{path} holds what was signed and is not visible to programs"),
            (false, _) => format!("{path} does not hold what was signed: {}", verified.text),
        },
    }
}

/// The host answered the network service once more.
pub(super) fn reached(host: &str, port: u16, answer: Result<Value, LookError>) -> Judgement {
    match answer {
        Ok(answer) => {
            let text = format!("{host} port {port} answers at {}", answer["address"].as_str().unwrap_or("an address"));
            Judgement { held: true, observed: answer, text }
        }
        Err(error) => {
            let text = format!("{host} port {port} does not answer: {}", aios_daemon::error_chain(&error));
            Judgement { held: false, observed: json!({}), text }
        }
    }
}

/// The clock shows the time.
pub(super) fn time(wanted: u64, found: u64) -> Judgement {
    let off = found.abs_diff(wanted);
    Judgement {
        held: off <= CLOCK_SLACK_S,
        observed: json!({"unix-s": found}),
        text: format!("the clock is {off} seconds from the time"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_must_be_in_etc_too() {
        let box_name = json!("box");
        assert!(setting("hostname", &box_name, &box_name, Some("box")).held);
        assert!(!setting("hostname", &box_name, &box_name, Some("other")).held);
        assert!(!setting("hostname", &box_name, &json!("other"), Some("box")).held);
        assert!(setting("motd", &box_name, &box_name, None).held);
    }

    #[test]
    fn every_setting_counts() {
        let values = |motd: &str| {
            let Value::Object(values) = json!({"hostname": "a", "motd": motd}) else { panic!("an object") };
            values
        };
        let wanted = Snapshot::Settings { values: values("one") };
        assert!(settings(&wanted, &values("one")).held);
        assert_eq!(settings(&wanted, &values("two")).observed, json!({"other": ["motd"]}));
        assert!(!settings(&wanted, &Map::new()).held);
        assert!(!settings(&Snapshot::Nothing, &values("one")).held);
        assert!(!settings(&Snapshot::Settings { values: Map::new() }, &values("one")).held, "nothing was looked at");
    }

    #[test]
    fn a_tag_is_where_it_should_be_or_gone() {
        for (wanted, found, held) in [
            (Some(1), Some(1), true),
            (Some(1), Some(2), false),
            (Some(1), None, false),
            (None, None, true),
            (None, Some(1), false),
        ] {
            assert_eq!(tag("a", "kept", wanted, found).held, held, "{wanted:?} {found:?}");
        }
    }

    #[test]
    fn the_clock_may_have_gone_on() {
        assert!(time(1000, 1003).held && time(1000, 998).held);
        assert!(!time(1000, 2000).held && !time(1000, 0).held);
    }

    #[test]
    fn a_host_that_does_not_answer_is_not_reached() {
        assert!(reached("a", 80, Ok(json!({"address": "192.0.2.1"}))).held);
        assert!(!reached("a", 80, Err(LookError::OtherAnswer)).held);
    }

    #[test]
    fn an_update_is_a_newer_release_that_was_never_tried() {
        let running: Version = "1".parse().expect("a version");
        let held = |name: &str| updated(Some(&running), Some(&name.parse().expect("a name"))).held;
        assert!(held("aios_2+3.efi"));
        assert!(!held("aios_2+2-1.efi") && !held("aios_2.efi") && !held("aios_1+3.efi") && !held("aios_1.efi"));
        assert!(!updated(Some(&running), None).held);
    }
}
