//! An app that a person makes a service: it runs, comes back, outlives the boot and goes.

use std::time::Duration;

use serde_json::{Value, json};

use super::actions::receipts;
use super::apps::{handed_in, manifest, put};
use super::{Aios, Status, list, text};
use crate::scenario::{Failure, ensure};

/// A program of 222 bytes that says "hello" and then, by the first letter of its argument, stays for ever ("stay"), ends with
/// status 1 after three seconds ("fall"), or ends well ("once").
const PROGRAM: &str = concat!(
    "f0VMRgIBAQAAAAAAAAAAAAIAPgABAAAAeABAAAAAAABAAAAAAAAAAAAAAAAAAAAAAAAAAEAAOAABAAAAAAAAAAEAAAAFAAAAAAAAAAAA",
    "AAAAAEAAAAAAAAAAQAAAAAAA3gAAAAAAAADeAAAAAAAAAAAQAAAAAAAASItEJBCKGLgBAAAAvwEAAABIjTVIAAAAugYAAAAPBYD7c3QO",
    "gPtmdBu4PAAAADH/DwW4BwAAADH/Mfa6/////w8F6+64BwAAADH/Mfa6uAsAAA8FuDwAAAC/AQAAAA8FaGVsbG8K",
);
const PROGRAM_SHA256: &str = "2965e6f27f5e60dd73b6f005878680ef2efc40676f2c892ae8e80de7693f4bd8";

/// How long PID 1 may take until it starts again what ended.
const BACK: Duration = Duration::from_secs(60);

/// Hands the program in under a name, as a service that does `what`, and approves it.
pub(crate) fn install(aios: &mut Aios, name: &str, what: &str) -> Result<(), Failure> {
    put(aios, "apps/stayer", PROGRAM)?;
    let mut manifest = manifest(name, "Says hello and stays", PROGRAM_SHA256, "apps/stayer");
    manifest["arguments"] = json!([{"name": "how", "form": {"choice": ["once", "stay", "fall"]}}]);
    manifest["tests"][0]["args"] = json!(["once"]);
    manifest["service"] = json!({"args": [what], "memory_mib": 8, "processes": 2});
    let (action, approval, _) = handed_in(aios, "install", &manifest)?;
    aios.approve(&approval)?;
    aios.json(&format!("action watch {action}")).map(drop)
}

/// What PID 1 says of the unit of an app.
fn unit(aios: &mut Aios, name: &str) -> Result<Option<Value>, Failure> {
    let all = aios.json("service list")?;
    Ok(list(&all)?.iter().find(|unit| unit["name"] == name && unit["role"] == "app").cloned())
}

fn is_ready(aios: &mut Aios, name: &str) -> Result<bool, Failure> {
    Ok(unit(aios, name)?.is_some_and(|unit| unit["state"] == "ready" && unit["pid"].is_u64()))
}

/// It runs from the yes on, as any other service does, and what ends is started again.
pub(crate) fn enabled(aios: &mut Aios) -> Result<(), Failure> {
    install(aios, "stayer", "stay")?;
    ensure!(unit(aios, "stayer")?.is_none(), "an app that nobody enabled runs");
    aios.json_of("service enable network", Status::Failed)?;
    let view = aios.json("service enable stayer")?;
    receipts(aios, &view)?;
    ensure!(is_ready(aios, "stayer")?, "it does not run: {:#?}", unit(aios, "stayer")?);
    let shown = aios.ok("service list")?;
    ensure!(shown.lines().any(|line| line.starts_with("APP")), "apps do not stand apart:\n{shown}");
    aios.until("service logs stayer", "what it said", BACK, |lines| lines.to_string().contains("hello"))?;

    // It stays the version that was enabled.
    let told = aios.json_of("app remove stayer", Status::Failed)?.to_string();
    ensure!(told.contains("service disable stayer"), "it is not said what to do: {told}");
    for (line, ready) in
        [("service stop stayer", false), ("service start stayer", true), ("service restart stayer", true)]
    {
        aios.json(line)?;
        ensure!(is_ready(aios, "stayer")? == ready, "after '{line}': {:#?}", unit(aios, "stayer")?);
    }

    install(aios, "faller", "fall")?;
    aios.json("service enable faller")?;
    aios.until("service list", "the app that fell to be started again", BACK, |units| {
        let all = units.as_array().map(Vec::as_slice).unwrap_or_default();
        let faller = all.iter().find(|unit| unit["name"] == "faller");
        faller.is_some_and(|unit| unit["starts"].as_u64().is_some_and(|starts| starts >= 2))
    })?;
    aios.until("service history faller", "why it was started again", BACK, |records| {
        records.to_string().contains("ended with status 1")
    })?;
    aios.json("service disable faller").map(drop)
}

/// The next boot: what was enabled runs, what was disabled does not.
pub(crate) fn back_after_a_boot(aios: &mut Aios) -> Result<(), Failure> {
    aios.until("service list", "the app after the boot", BACK, |units| {
        let all = units.as_array().map(Vec::as_slice).unwrap_or_default();
        all.iter().any(|unit| unit["name"] == "stayer" && unit["role"] == "app" && unit["state"] == "ready")
    })?;
    ensure!(unit(aios, "faller")?.is_none(), "what was disabled runs again");
    let view = aios.json("service disable stayer")?;
    receipts(aios, &view)?;
    ensure!(unit(aios, "stayer")?.is_none(), "it runs after it was disabled");
    let apps = aios.json("app list")?;
    let stayer = list(&apps)?.iter().find(|app| app["name"] == "stayer").cloned().unwrap_or_default();
    ensure!(stayer["service"].is_null() && stayer["current"] == 1, "the app is {stayer:#}");
    let refused = aios.json_of("service start stayer", Status::Failed)?;
    ensure!(text(&refused["state"], "text")?.contains("no service 'stayer'"), "it can be started: {refused:#}");
    aios.json("app remove stayer").map(drop)
}
