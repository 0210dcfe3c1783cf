//! Each type's post-condition: what is looked at before and after, and when it holds.

use std::time::Duration;

use aios_action::Envelope;
use aios_ids::Digest;
use aios_slots::{Counter, TRIES, UkiName, Version};
use aios_wire::init::{Service, ServiceState};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::look::{self, LookError};

/// What was there before the effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "saw", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Snapshot {
    /// How often a unit had been started.
    Unit { starts: u32 },
    /// Which boot it was.
    Boot { id: String },
    /// How often a person's pass phrase had been changed; nothing when nobody of that name could log in.
    Operator { changes: Option<u32> },
    /// The post-condition is about the state afterwards alone.
    Nothing,
}

/// What the runtime hands back: the snapshot, and what the launcher told it.
#[derive(Debug)]
pub(crate) struct Before {
    snapshot: Snapshot,
    ran: Ran,
}

/// How a program ended, as the launcher told.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Ran {
    ending: Option<String>,
    status: Option<i32>,
    output: Value,
}

impl Before {
    /// Reads what the runtime hands back.
    pub(crate) fn parse(text: &str) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize)]
        struct Raw {
            before: String,
            ran: Ran,
        }
        let raw: Raw = serde_json::from_str(text)?;
        Ok(Self { snapshot: serde_json::from_str(&raw.before)?, ran: raw.ran })
    }
}

/// Whether it holds and what was seen.
#[derive(Debug)]
pub(crate) struct Judgement {
    pub(crate) held: bool,
    pub(crate) observed: Value,
    pub(crate) text: String,
}

/// How long a restarted service may take until it is ready, and a one-shot until it has ended.
const UNTIL_READY: Duration = Duration::from_secs(30);
const UNTIL_FINISHED: Duration = Duration::from_secs(15 * 60);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

fn text<'a>(envelope: &'a Envelope, name: &str) -> &'a str {
    envelope.request.parameters.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// Looks before the effect.
pub(crate) async fn before(envelope: &Envelope) -> Result<Snapshot, LookError> {
    let starts = |name: &str| Ok(Snapshot::Unit { starts: look::unit(name)?.map_or(0, |unit| unit.starts) });
    match envelope.request.action_type.as_str() {
        "service.restart" | "agent.run" => starts(text(envelope, "name")),
        "node.reboot" => Ok(Snapshot::Boot { id: look::boot()? }),
        "user.add" | "user.passphrase" => {
            let changes = look::operator(text(envelope, "name")).await?.map(|operator| operator.changes);
            Ok(Snapshot::Operator { changes })
        }
        _ => Ok(Snapshot::Nothing),
    }
}

/// Looks after the effect, and waits where the effect takes its time.
pub(crate) async fn measure(envelope: &Envelope, before: &Before) -> Result<Judgement, LookError> {
    let digest_of_content = || Digest::of(text(envelope, "content").as_bytes());
    Ok(match envelope.request.action_type.as_str() {
        "service.restart" => restarted(text(envelope, "name"), &before.snapshot, &[ServiceState::Ready]).await?,
        "agent.run" => {
            let name = text(envelope, "name");
            restarted(name, &before.snapshot, &[ServiceState::Ready, ServiceState::Finished]).await?
        }
        "update.apply" => {
            let (running, next) = look::next_start().await?;
            updated(running.as_ref(), next.as_ref())
        }
        "settings.set" => {
            let key = text(envelope, "key");
            let wanted = envelope.request.parameters.get("value").unwrap_or(&Value::Null);
            let rendered = if key == "hostname" { Some(look::rendered("hostname")?) } else { None };
            setting(key, wanted, &look::setting(key).await?, rendered.as_deref())
        }
        "object.put" => content(digest_of_content(), Some(look::object(text(envelope, "name")).await?), "the object"),
        "file.write" => content(digest_of_content(), look::granted_file(text(envelope, "path"))?, "the file"),
        "store.add" => {
            let path = text(envelope, "path");
            let verified = look::store_path(path).await?;
            let visible = look::is_visible(path);
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
        "policy.load" => {
            let view = look::policy().await?;
            let held = view.digest.is_some_and(|digest| digest.to_string() == text(envelope, "digest"));
            let observed = json!({"epoch": view.epoch, "bundle": view.digest});
            Judgement { held, observed, text: format!("policy {} decides", view.epoch) }
        }
        "user.add" | "user.passphrase" => {
            let name = text(envelope, "name");
            let now = look::operator(name).await?.map(|operator| operator.changes);
            person(name, &before.snapshot, now)
        }
        "task.run" => ran(&before.ran),
        "node.reboot" => rebooted(&before.snapshot, look::boot()?),
        other => Judgement { held: false, observed: json!({}), text: format!("nobody can measure {other}") },
    })
}

/// Waits until the unit was started once more and is in one of the states, or until it cannot come to that.
async fn restarted(name: &str, before: &Snapshot, good: &[ServiceState]) -> Result<Judgement, LookError> {
    let patience = if good.contains(&ServiceState::Finished) { UNTIL_FINISHED } else { UNTIL_READY };
    let until = tokio::time::Instant::now() + patience;
    loop {
        let unit = look::unit(name)?;
        let judgement = unit_judgement(name, before, unit.as_ref(), good);
        let may_change = unit.is_some_and(|unit| unit.state != ServiceState::Failed);
        if judgement.held || !may_change || tokio::time::Instant::now() >= until {
            return Ok(judgement);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

fn unit_judgement(name: &str, before: &Snapshot, unit: Option<&Service>, good: &[ServiceState]) -> Judgement {
    let Snapshot::Unit { starts: before } = before else {
        return Judgement { held: false, observed: json!({}), text: format!("nobody looked at {name} before") };
    };
    let Some(unit) = unit else {
        return Judgement { held: false, observed: json!({}), text: format!("PID 1 knows no unit '{name}'") };
    };
    let started = unit.starts > *before;
    let observed = json!({"starts-before": before, "starts": unit.starts, "state": unit.state, "pid": unit.pid});
    let state = json!(unit.state);
    let state = state.as_str().unwrap_or_default();
    let text = match (started, good.contains(&unit.state)) {
        (true, true) => format!("PID 1 started {name} once more; it is {state}"),
        (true, false) => format!("{name} was started and is {state}: {}", unit.note),
        (false, _) => format!("{name} was not started: it has had {} starts, as before", unit.starts),
    };
    Judgement { held: started && good.contains(&unit.state), observed, text }
}

/// An update is there when the loader's next choice is a newer release that was never tried.
fn updated(running: Option<&Version>, next: Option<&UkiName>) -> Judgement {
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

fn setting(key: &str, wanted: &Value, found: &Value, rendered: Option<&str>) -> Judgement {
    let agrees = rendered.is_none_or(|rendered| wanted.as_str() == Some(rendered));
    let text = match (wanted == found, agrees) {
        (true, true) => format!("{key} is {found}"),
        (true, false) => format!("{key} is {found} and /etc says {:?}", rendered.unwrap_or_default()),
        (false, _) => format!("{key} is {found} and not {wanted}"),
    };
    Judgement { held: wanted == found && agrees, observed: json!({"value": found, "rendered": rendered}), text }
}

fn content(wanted: Digest, found: Option<Digest>, what: &str) -> Judgement {
    let text = match found {
        Some(found) if found == wanted => format!("{what} has the digest {found}"),
        Some(found) => format!("{what} has the digest {found} and not {wanted}"),
        None => format!("{what} is not there"),
    };
    Judgement { held: found == Some(wanted), observed: json!({"sha256": found}), text }
}

/// A person who could not log in before is there, or one who could has had one more change.
fn person(name: &str, before: &Snapshot, now: Option<u32>) -> Judgement {
    let (held, text) = match (before, now) {
        (Snapshot::Operator { changes: None }, Some(_)) => (true, format!("'{name}' can log in")),
        (Snapshot::Operator { changes: Some(before) }, Some(now)) if now == before.saturating_add(1) => {
            (true, format!("the pass phrase of '{name}' was changed"))
        }
        (Snapshot::Operator { .. }, Some(_)) => (false, format!("the pass phrase of '{name}' is as it was")),
        (Snapshot::Operator { .. }, None) => (false, format!("nobody named '{name}' can log in")),
        _ => (false, format!("nobody looked at '{name}' before")),
    };
    Judgement { held, observed: json!({"changes": now}), text }
}

fn ran(ran: &Ran) -> Judgement {
    let ending = ran.ending.as_deref().unwrap_or("nobody knows how it ended");
    Judgement {
        held: ran.status == Some(0),
        observed: json!({"status": ran.status, "output": ran.output}),
        text: format!("as the launcher told: {ending}"),
    }
}

fn rebooted(before: &Snapshot, now: String) -> Judgement {
    let (held, text) = match before {
        Snapshot::Boot { id } if *id != now => (true, format!("the machine runs with boot id {now}")),
        Snapshot::Boot { .. } => (false, "the machine still runs with the same boot id".to_owned()),
        _ => (false, "nobody looked at the boot id before".to_owned()),
    };
    Judgement { held, observed: json!({"boot": now}), text }
}

#[cfg(test)]
mod tests {
    use aios_wire::init::Role;
    use proptest::prelude::*;

    use super::*;

    fn unit(starts: u32, state: ServiceState) -> Service {
        Service { name: "network".into(), role: Role::System, state, pid: Some(7), starts, note: String::new() }
    }

    #[test]
    fn a_restart_needs_a_new_start_and_readiness() {
        let good = [ServiceState::Ready];
        let before = Snapshot::Unit { starts: 1 };
        let held = |starts, state| unit_judgement("network", &before, Some(&unit(starts, state)), &good).held;
        assert!(held(2, ServiceState::Ready));
        assert!(!held(1, ServiceState::Ready), "it was ready before too");
        assert!(!held(2, ServiceState::Starting));
        assert!(!held(2, ServiceState::Failed));
        assert!(!unit_judgement("network", &before, None, &good).held);
        assert!(!unit_judgement("network", &Snapshot::Nothing, Some(&unit(2, ServiceState::Ready)), &good).held);
    }

    #[test]
    fn a_setting_must_be_in_etc_too() {
        let box_name = json!("box");
        assert!(setting("hostname", &box_name, &box_name, Some("box")).held);
        assert!(!setting("hostname", &box_name, &box_name, Some("other")).held);
        assert!(!setting("hostname", &box_name, &json!("other"), Some("box")).held);
        assert!(setting("motd", &box_name, &box_name, None).held);
    }

    #[test]
    fn an_update_is_a_newer_release_that_was_never_tried() {
        let running: Version = "1".parse().expect("a version");
        let held = |name: &str| updated(Some(&running), Some(&name.parse().expect("a name"))).held;
        assert!(held("aios_2+3.efi"));
        assert!(!held("aios_2+2-1.efi") && !held("aios_2.efi") && !held("aios_1+3.efi") && !held("aios_1.efi"));
        assert!(!updated(Some(&running), None).held);
    }

    #[test]
    fn what_is_not_seen_does_not_hold() {
        let wanted = Digest::of(b"content");
        assert!(content(wanted, Some(wanted), "the file").held);
        assert!(!content(wanted, Some(Digest::of(b"other")), "the file").held);
        assert!(!content(wanted, None, "the file").held);
        assert!(!ran(&Ran::default()).held);
        assert!(!ran(&Ran { status: Some(1), ..Ran::default() }).held);
        let boot = Snapshot::Boot { id: "one".into() };
        assert!(rebooted(&boot, "two".into()).held);
        assert!(!rebooted(&boot, "one".into()).held);
        assert!(!rebooted(&Snapshot::Nothing, "two".into()).held);
    }

    #[test]
    fn a_person_is_added_or_changed_once_more() {
        let held = |before, now| person("ada", &Snapshot::Operator { changes: before }, now).held;
        assert!(held(None, Some(0)) && held(Some(0), Some(1)) && held(Some(7), Some(8)));
        assert!(!held(None, None) && !held(Some(1), Some(1)) && !held(Some(1), Some(3)) && !held(Some(1), None));
        assert!(!person("ada", &Snapshot::Nothing, Some(1)).held);
    }

    #[test]
    fn the_snapshot_comes_back_as_it_was_given() {
        let snapshot = Snapshot::Unit { starts: 3 };
        let handed_back = json!({"before": json!(snapshot).to_string(), "ran": {"status": 0}}).to_string();
        let before = Before::parse(&handed_back).expect("own form");
        assert_eq!((before.snapshot, before.ran.status), (snapshot, Some(0)));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in ".{0,200}", inner in ".{0,50}") {
            let _ = Before::parse(&text);
            let _ = Before::parse(&json!({"before": inner, "ran": {}}).to_string());
        }
    }
}
