//! Each type's post-condition: what is looked at before and after, and when it holds.

mod app;
mod content;
mod export;
mod key;
mod secret;
mod unit;
mod value;

use aios_action::app::Manifest;
use aios_action::patch::{PatchError, replace_once};
use aios_action::{Envelope, contents, moment, object_content};
use aios_ids::Digest;
use aios_wire::init::ServiceState;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::look::{self, LookError};
use unit::Listed;

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
    /// What content there was, or has to be afterwards.
    Content { sha256: Option<Digest> },
    /// What the settings have to be afterwards.
    Settings { values: Map<String, Value> },
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
    read: Option<Read>,
}

/// What the runtime was given of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Read {
    sha256: Digest,
    size: u64,
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

impl Judgement {
    /// Something that had to be seen before was not looked at.
    fn blind(what: &str) -> Self {
        Self { held: false, observed: json!({}), text: format!("nobody looked at {what} before") }
    }
}

/// It cannot be said what there was before.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BeforeError {
    #[error(transparent)]
    Look(#[from] LookError),
    #[error("{path} cannot be patched")]
    Patch {
        path: String,
        #[source]
        source: PatchError,
    },
}

fn text<'a>(envelope: &'a Envelope, name: &str) -> &'a str {
    envelope.request.parameters.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn number(envelope: &Envelope, name: &str) -> u64 {
    envelope.request.parameters.get(name).and_then(Value::as_u64).unwrap_or_default()
}

/// Looks before the effect.
pub(crate) async fn before(envelope: &Envelope) -> Result<Snapshot, BeforeError> {
    let starts = |name: &str| Ok(Snapshot::Unit { starts: look::unit(name)?.map_or(0, |unit| unit.starts) });
    match envelope.request.action_type.as_str() {
        "service.restart" | "agent.run" => starts(text(envelope, "name")),
        "node.reboot" | "node.poweroff" => Ok(Snapshot::Boot { id: look::boot()? }),
        "user.add" | "user.passphrase" => {
            let changes = look::operator(text(envelope, "name")).await?.map(|operator| operator.changes);
            Ok(Snapshot::Operator { changes })
        }
        "settings.rollback" => {
            Ok(Snapshot::Settings { values: look::settings_of(number(envelope, "generation")).await? })
        }
        "object.rollback" => {
            let digest = look::object(text(envelope, "name"), number(envelope, "version")).await?;
            Ok(Snapshot::Content { sha256: Some(digest) })
        }
        "file.move" | "file.delete" => Ok(Snapshot::Content { sha256: look::granted_file(text(envelope, "path"))? }),
        "file.patch" => {
            let path = text(envelope, "path");
            let after = replace_once(&look::granted_text(path)?, text(envelope, "old"), text(envelope, "new"));
            let after = after.map_err(|source| BeforeError::Patch { path: path.to_owned(), source })?;
            Ok(Snapshot::Content { sha256: Some(Digest::of(after.as_bytes())) })
        }
        _ => Ok(Snapshot::Nothing),
    }
}

/// Looks after the effect, and waits where the effect takes its time.
pub(crate) async fn measure(envelope: &Envelope, before: &Before) -> Result<Judgement, LookError> {
    // What is no content has the digest of nothing that was stored.
    let digest_of_content = || Digest::of(&object_content(&envelope.request.parameters).unwrap_or_default());
    let snapshot = &before.snapshot;
    Ok(match envelope.request.action_type.as_str() {
        "service.restart" => unit::restarted(text(envelope, "name"), snapshot, &[ServiceState::Ready]).await?,
        "service.start" => unit::settled(text(envelope, "name"), unit::RUNS).await?,
        "service.stop" => unit::settled(text(envelope, "name"), unit::STANDS).await?,
        "service.enable" => {
            let name = text(envelope, "name");
            let unit = unit::settled(name, unit::READY).await?;
            unit::kept(unit, name, listed(name).await?, Listed::AsAService)
        }
        "service.disable" => {
            let name = text(envelope, "name");
            let unit = unit::gone(name).await?;
            unit::kept(unit, name, listed(name).await?, Listed::AsNone)
        }
        "agent.run" => unit::restarted(text(envelope, "name"), snapshot, unit::RUNS).await?,
        "update.apply" => {
            let (running, next) = look::next_start().await?;
            value::updated(running.as_ref(), next.as_ref())
        }
        "settings.set" => {
            let key = text(envelope, "key");
            let wanted = envelope.request.parameters.get("value").unwrap_or(&Value::Null);
            let rendered = if key == "hostname" { Some(look::rendered("hostname")?) } else { None };
            value::setting(key, wanted, &look::setting(key).await?, rendered.as_deref())
        }
        "settings.rollback" => value::settings(snapshot, &look::settings().await?),
        "object.put" => {
            let found = look::object(text(envelope, "name"), 0).await?;
            content::same(digest_of_content(), Some(found), "the object")
        }
        "object.transaction" => {
            let objects = envelope.request.parameters.get("objects").and_then(contents).unwrap_or_default();
            let mut found = Vec::new();
            for (name, content) in objects {
                found.push((name, Digest::of(content.as_bytes()), look::object(name, 0).await?));
            }
            content::all_same(&found)
        }
        "evidence.export" => {
            let (sha256, files) = look::export(text(envelope, "object")).await?;
            export::exported(envelope.id.as_str(), sha256, &files, &look::log_head().await?)
        }
        "object.rollback" => {
            content::as_foreseen(snapshot, Some(look::object(text(envelope, "name"), 0).await?), "the object")
        }
        "object.tag" | "object.untag" => {
            let (name, tag) = (text(envelope, "name"), text(envelope, "tag"));
            let wanted = (envelope.request.action_type == "object.tag").then(|| number(envelope, "version"));
            value::tag(name, tag, wanted, look::tag(name, tag).await?)
        }
        "file.read" => content::read(before.ran.read, look::granted_file(text(envelope, "path"))?),
        "file.write" => content::same(digest_of_content(), look::granted_file(text(envelope, "path"))?, "the file"),
        "file.patch" => content::as_foreseen(snapshot, look::granted_file(text(envelope, "path"))?, "the file"),
        "file.move" => {
            let there = look::granted_file(text(envelope, "to"))?;
            content::moved(snapshot, look::granted_file(text(envelope, "path"))?, there)
        }
        "file.delete" => content::deleted(snapshot, look::granted_file(text(envelope, "path"))?),
        "store.add" => {
            let path = text(envelope, "path");
            value::stored(path, &look::store_path(path).await?, look::is_visible(path))
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
        "user.key.add" | "user.key.remove" => {
            let name = text(envelope, "name");
            let keys = look::operator(name).await?.map(|operator| operator.keys).unwrap_or_default();
            match envelope.request.action_type.as_str() {
                "user.key.add" => key::listed(name, text(envelope, "key"), &keys),
                _ => key::gone(name, text(envelope, "fingerprint"), &keys),
            }
        }
        "task.run" => ran(&before.ran),
        "app.install" | "app.install.request" => {
            let name = text(envelope, "name");
            match Manifest::parse(text(envelope, "manifest")) {
                Ok(manifest) => app::installed(&manifest, look::app(name).await?, look::app_program(name).await?),
                Err(_) => Judgement::blind("the manifest"),
            }
        }
        "app.remove" => app::removed(look::app(text(envelope, "name")).await?),
        "app.rollback" => app::rolled_back(number(envelope, "version"), look::app(text(envelope, "name")).await?),
        "network.check" => {
            let port = u16::try_from(number(envelope, "port")).unwrap_or_default();
            value::reached(text(envelope, "host"), port, look::reached(text(envelope, "host"), port).await)
        }
        "http.fetch" => {
            let fetched = look::fetched(envelope.id.as_str()).await?;
            let found = look::object(&fetched.object, fetched.version).await?;
            secret::fetched(text(envelope, "object"), &fetched, found)
        }
        "secret.put" | "secret.remove" => {
            let name = text(envelope, "name");
            let put_by = (envelope.request.action_type == "secret.put").then(|| envelope.id.as_str());
            secret::listed(name, put_by, look::secret(name).await?)
        }
        "time.set" => {
            let wanted = moment::parse(text(envelope, "time")).unwrap_or_default();
            value::time(wanted, look::clock_s())
        }
        "node.reboot" | "node.poweroff" => rebooted(snapshot, look::boot()?),
        other => Judgement { held: false, observed: json!({}), text: format!("nobody can measure {other}") },
    })
}

/// What the object store keeps an app as.
async fn listed(name: &str) -> Result<Listed, LookError> {
    Ok(if look::is_service(name).await? { Listed::AsAService } else { Listed::AsNone })
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
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_not_seen_does_not_hold() {
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
        let read = Read { sha256: Digest::of(b"x"), size: 1 };
        for snapshot in [Snapshot::Unit { starts: 3 }, Snapshot::Content { sha256: None }] {
            let ran = json!({"status": 0, "read": read});
            let handed_back = json!({"before": json!(snapshot).to_string(), "ran": ran}).to_string();
            let before = Before::parse(&handed_back).expect("own form");
            assert_eq!((before.snapshot, before.ran.status, before.ran.read), (snapshot, Some(0), Some(read)));
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in ".{0,200}", inner in ".{0,50}") {
            let _ = Before::parse(&text);
            let _ = Before::parse(&json!({"before": inner, "ran": {}}).to_string());
        }
    }
}
