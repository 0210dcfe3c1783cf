//! `aios app …`: programs that somebody handed in and a person approved.

use std::path::Path;

use aios_action::app::{APP_PREFIX, Manifest, ServiceKind};
use aios_wire::objects::{App, AppVersion};
use clap::Subcommand;
use serde_json::Value;

use crate::action;
use crate::failure::Failure;
use crate::object;
use crate::show::{Format, harmless, read, table};

#[derive(Debug, Subcommand)]
pub(crate) enum AppCommand {
    /// Every app that there is or was
    List,
    /// An app with its versions and what it says about itself
    Show {
        /// The app
        name: String,
    },
    /// Tries a program and takes it into use once it is approved
    Install {
        /// Its manifest, as JSON; '-' reads it from the terminal
        manifest: String,
    },
    /// Hands a program in as an agent would
    Request {
        /// Its manifest, as JSON; '-' reads it from the terminal
        manifest: String,
    },
    /// Runs an app in the sandbox that it declared
    Run {
        /// The app
        name: String,
        /// Its arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Takes an app out of use; its versions stay
    Remove {
        /// The app
        name: String,
    },
    /// Takes an earlier version into use again
    Rollback {
        /// The app
        name: String,
        /// The earlier version
        version: u64,
    },
}

pub(crate) async fn run(command: AppCommand, format: Format) -> Result<(), Failure> {
    match command {
        AppCommand::List => {
            format.print(&all().await?, |apps| {
                table(["APP", "VERSION", "VERSIONS", "WHAT IT DOES"], apps.iter().map(line));
            });
            Ok(())
        }
        AppCommand::Show { name } => {
            let app = all().await?.into_iter().find(|app| app.name.as_str() == name);
            let app = app.ok_or_else(|| {
                Failure::failed(format!("there is no app '{}'", name.escape_default())).hint("aios app list")
            })?;
            format.print(&app, print);
            Ok(())
        }
        AppCommand::Install { manifest } => hand_in("app.install", manifest, format).await,
        AppCommand::Request { manifest } => hand_in("app.install.request", manifest, format).await,
        AppCommand::Run { name, args } => {
            let program = format!("{APP_PREFIX}{name}");
            action::submit("task.run", [("program", program.into()), ("args", args.into())], format).await
        }
        AppCommand::Remove { name } => action::submit("app.remove", [("name", name.into())], format).await,
        AppCommand::Rollback { name, version } => {
            action::submit("app.rollback", [("name", name.into()), ("version", version.into())], format).await
        }
    }
}

async fn hand_in(action_type: &str, manifest: String, format: Format) -> Result<(), Failure> {
    let manifest = if manifest == "-" { action::read_file(Path::new("-"))? } else { manifest };
    let checked = Manifest::parse(&manifest).map_err(|error| Failure::usage(aios_daemon::error_chain(&error)))?;
    let name = Value::from(checked.name.as_str());
    action::submit(action_type, [("name", name), ("manifest", manifest.into())], format).await
}

async fn all() -> Result<Vec<App>, Failure> {
    read("object-store", &object::connect().await?.app_list().await?)
}

fn in_use(app: &App) -> Option<&AppVersion> {
    app.versions.iter().find(|version| Some(version.version) == app.current)
}

fn line(app: &App) -> [String; 4] {
    let version = app.current.map_or_else(|| "removed".to_owned(), |version| version.to_string());
    let summary = in_use(app).and_then(|version| Manifest::parse(&version.manifest).ok());
    let summary = summary.map_or_else(String::new, |manifest| harmless(&manifest.summary));
    [app.name.to_string(), version, app.versions.len().to_string(), summary]
}

fn print(app: &App) {
    let said = app.current.map_or_else(|| "removed".to_owned(), |version| format!("version {version}"));
    println!("{}  {said}", app.name);
    if let Some(manifest) = in_use(app).and_then(|version| Manifest::parse(&version.manifest).ok()) {
        let rights: Vec<_> = manifest.rights.iter().map(|right| right.word()).collect();
        println!("  it says    \"{}\"", harmless(&manifest.summary));
        println!("  made by    \"{}\"", harmless(&manifest.origin));
        println!("  tier       {:?}", manifest.tier);
        println!("  may use    {}", if rights.is_empty() { "nothing".to_owned() } else { rights.join(", ") });
        let kept = if app.service.is_some() { "it is one" } else { "it is none" };
        if let Some(service) = &manifest.service {
            let what = if service.kind == ServiceKind::Agent { "agent  " } else { "service" };
            println!("  {what}    {kept}; started with '{}'", harmless(&service.args.join(" ")));
        }
        for argument in &manifest.arguments {
            println!("  takes      {}: {}", harmless(&argument.name), argument.form);
        }
    }
    for version in &app.versions {
        println!("  version {}  {} bytes, manifest {}", version.version, version.size, version.manifest_sha256);
        println!("             program {}", version.program_sha256);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_that_was_removed_says_so() {
        let example = aios_action::find("app.install").expect("in the catalogue").example();
        let manifest = Manifest::parse(example["manifest"].as_str().expect("text")).expect("right");
        let version = AppVersion {
            name: manifest.name.clone(),
            version: 3,
            manifest: manifest.canonical().to_owned(),
            manifest_sha256: manifest.digest(),
            program_sha256: manifest.program.sha256,
            size: 159,
            at_ms: 0,
        };
        let app =
            |current| App { name: manifest.name.clone(), current, versions: vec![version.clone()], service: None };
        assert_eq!(line(&app(Some(3))), ["greeter", "3", "1", "Says hello"]);
        assert_eq!(line(&app(None)), ["greeter", "removed", "1", ""]);
    }
}
