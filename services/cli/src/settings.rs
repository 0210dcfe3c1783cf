//! `aios settings …`: what the machine is told, in one typed object.

use aios_daemon::proxy::Settings1Proxy;
use aios_settings::Settings;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::action;
use crate::args::SettingsCommand;
use crate::failure::Failure;
use crate::show::{Format, harmless, read, table};

pub(crate) async fn run(command: SettingsCommand, format: Format) -> Result<(), Failure> {
    match command {
        SettingsCommand::List => {
            let all: Map<String, Value> = read("settings", &connect().await?.list().await?)?;
            format.print(&all, |all| {
                table(["SETTING", "VALUE"], all.iter().map(|(key, value)| [key.clone(), text(value)]));
            });
            Ok(())
        }
        SettingsCommand::Diff => {
            let all: Map<String, Value> = read("settings", &connect().await?.list().await?)?;
            let changed = differences(&all);
            format.print(&changed, |changed| {
                let rows = changed.iter().map(|one| [one.key.clone(), text(&one.default), text(&one.value)]);
                table(["SETTING", "DEFAULT", "VALUE"], rows);
            });
            Ok(())
        }
        SettingsCommand::Get { key } => {
            let value: Value = read("settings", &connect().await?.get(&key).await?)?;
            format.print(&value, |value| println!("{}", text(value)));
            Ok(())
        }
        SettingsCommand::Set { key, value } => {
            let value = aios_action::Kind::Value.from_word(&value);
            action::submit("settings.set", [("key", key.into()), ("value", value)], format).await
        }
        SettingsCommand::Rollback { generation } => {
            action::submit("settings.rollback", [("generation", generation.into())], format).await
        }
    }
}

/// A setting that is not as a new machine has it.
#[derive(Debug, PartialEq, Serialize)]
struct Difference {
    key: String,
    default: Value,
    value: Value,
}

fn differences(all: &Map<String, Value>) -> Vec<Difference> {
    let defaults = Settings::default().values();
    let other = defaults.into_iter().filter_map(|(key, default)| {
        let value = all.get(&key)?.clone();
        (value != default).then_some(Difference { key, default, value })
    });
    other.collect()
}

fn text(value: &Value) -> String {
    harmless(&value.as_str().map_or_else(|| value.to_string(), str::to_owned))
}

/// A connection to the settings service.
pub(crate) async fn connect() -> Result<Settings1Proxy<'static>, Failure> {
    let connection =
        aios_daemon::connect("settings").await.map_err(|error| Failure::not_reachable("settings", error))?;
    Ok(Settings1Proxy::new(&connection).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_changed_differs() {
        let mut all: Map<String, Value> = Settings::default().values().into_iter().collect();
        assert_eq!(differences(&all), []);
        all.insert("hostname".into(), "workshop".into());
        let one = Difference { key: "hostname".into(), default: "aios".into(), value: "workshop".into() };
        assert_eq!(differences(&all), [one]);
    }
}
