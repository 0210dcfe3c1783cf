//! `aios update …`: the system itself.

use aios_daemon::proxy::Updater1Proxy;
use aios_slots::{UkiName, loader_choice};
use aios_wire::init::{Origin, System};
use serde_json::{Value, json};

use crate::action;
use crate::args::UpdateCommand;
use crate::failure::Failure;
use crate::show::{Format, harmless, read};
use crate::{settings, status};

pub(crate) async fn run(command: UpdateCommand, format: Format) -> Result<(), Failure> {
    match command {
        UpdateCommand::Apply { source } => {
            let source = match source {
                Some(source) => source,
                None => chosen_source().await?,
            };
            action::submit("update.apply", [("source", source.into())], format).await
        }
        UpdateCommand::Check => check(format).await,
        UpdateCommand::Status => show_status(format).await,
    }
}

/// The source that the settings name.
async fn chosen_source() -> Result<String, Failure> {
    let source: String = read("settings", &settings::connect().await?.get("update.source").await?)?;
    if source.is_empty() {
        let hint = "name one, or set it for good: 'aios settings set update.source http://ADDRESS/FOLDER'";
        return Err(Failure::failed(format!("no source of releases is set; {hint}")));
    }
    Ok(source)
}

async fn check(format: Format) -> Result<(), Failure> {
    if matches!(status::system()?.origin, Origin::Live | Origin::Install) {
        return Err(Failure::failed("this system was started from its ISO, which is not updated: install it first"));
    }
    let found: Value = read("updater", &updater().await?.check().await?)?;
    format.print(&found, |found| println!("{}", told(found)));
    Ok(())
}

/// What a source offers, in a sentence and what to do.
fn told(found: &Value) -> String {
    let text = |value: &Value| harmless(value.as_str().unwrap_or("unknown"));
    let offer = &found["offer"];
    let (version, source) = (text(&offer["version"]), text(&found["source"]));
    match offer["refused"].as_str() {
        None => format!("release {version} is at {source}: 'aios update apply' takes it"),
        Some(reason) => format!("release {version} is at {source}, and nothing is to be done: {}", harmless(reason)),
    }
}

async fn show_status(format: Format) -> Result<(), Failure> {
    let system = status::system()?;
    let releases = match &system.origin {
        Origin::Disk { .. } => releases().await?,
        Origin::Live | Origin::Install => Vec::new(),
    };
    let next = loader_choice(&releases).map(|entry| entry.version.to_string());
    let shown = json!({
        "running": system.version,
        "slot": slot(&system),
        "root": system.root_hash,
        "releases": releases.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "next": next,
    });
    format.print(&shown, |_| {
        println!("running  {}", system.version);
        println!("  slot   {}", slot(&system).as_deref().unwrap_or("none: started from the ISO, which is not updated"));
        println!("  root   {}", system.root_hash);
        for release in &releases {
            println!("release  {}  {}", release.version, standing(release));
        }
        if let Some(next) = &next {
            println!("next     {next}");
        }
    });
    Ok(())
}

fn slot(system: &System) -> Option<String> {
    match &system.origin {
        Origin::Disk { disk, slot } => Some(format!("{slot} of {disk}")),
        Origin::Live | Origin::Install => None,
    }
}

/// What the loader's counter says of a release.
fn standing(release: &UkiName) -> String {
    match release.counter {
        None => "good".into(),
        Some(_) if release.is_spent() => "given up: every try failed, or it was rolled back".into(),
        Some(counter) => format!("on trial, {} tries left", counter.left),
    }
}

/// The releases that the loader knows.
async fn releases() -> Result<Vec<UkiName>, Failure> {
    let status: Value = read("updater", &updater().await?.status().await?)?;
    let names = status["entries"].as_array().map(Vec::as_slice).unwrap_or_default();
    Ok(names.iter().filter_map(Value::as_str).filter_map(|name| name.parse().ok()).collect())
}

/// A connection to the updater.
async fn updater() -> Result<Updater1Proxy<'static>, Failure> {
    let connection = aios_daemon::connect("updater").await.map_err(|error| Failure::not_reachable("updater", error))?;
    Ok(Updater1Proxy::new(&connection).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_is_told_with_what_to_do() {
        let found = |refused: Value| json!({"source": "http://192.0.2.7/", "running": "1.0.0", "offer": {"version": "1.1.0", "refused": refused}});
        assert_eq!(told(&found(Value::Null)), "release 1.1.0 is at http://192.0.2.7/: 'aios update apply' takes it");
        let old = told(&found("version 1.1.0 is not newer\u{1b}[2J".into()));
        assert!(old.contains("nothing is to be done: version 1.1.0 is not newer") && !old.contains('\u{1b}'), "{old}");
    }

    fn check(name: &str, expected: &str) {
        assert_eq!(standing(&name.parse().expect(name)), expected, "{name}");
    }

    #[test]
    fn a_release_is_good_on_trial_or_given_up() {
        check("aios_0.1.0.efi", "good");
        check("aios_0.1.1+2-1.efi", "on trial, 2 tries left");
        check("aios_0.1.1+0-3.efi", "given up: every try failed, or it was rolled back");
    }
}
