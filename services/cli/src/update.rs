//! `aios update …`: the system itself.

use aios_daemon::proxy::Updater1Proxy;
use aios_slots::{UkiName, loader_choice};
use aios_wire::init::{Origin, System};
use serde_json::{Value, json};

use crate::action;
use crate::args::UpdateCommand;
use crate::failure::Failure;
use crate::show::{Format, read};
use crate::status;

pub(crate) async fn run(command: UpdateCommand, format: Format) -> Result<(), Failure> {
    match command {
        UpdateCommand::Apply { source } => action::submit("update.apply", [("source", source.into())], format).await,
        UpdateCommand::Status => show_status(format).await,
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
    let connection = aios_daemon::connect("updater").await.map_err(|error| Failure::not_reachable("updater", error))?;
    let status: Value = read("updater", &Updater1Proxy::new(&connection).await?.status().await?)?;
    let names = status["entries"].as_array().map(Vec::as_slice).unwrap_or_default();
    Ok(names.iter().filter_map(Value::as_str).filter_map(|name| name.parse().ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

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
