//! An app that a person makes an agent: it proposes in its own name, gets what agents get, and goes when asked.

use std::time::Duration;

use aios_action::app::program_around;
use aios_ids::Digest;
use base64::Engine as _;
use serde_json::{Value, json};

use super::actions::receipts;
use super::apps::{handed_in, manifest, put};
use super::{Aios, Status, list, text};
use crate::scenario::{Failure, ensure};

const NAME: &str = "asker";
const DOOR: &[u8] = b"/run/aios/agent-door";

/// How long the agent may take until it has its answers, and PID 1 until it starts what ended.
const PATIENCE: Duration = Duration::from_secs(180);

/// What it says at the door, in this order and without waiting for an answer.
fn messages() -> String {
    let call = |id: u32, tool: &str, arguments: Value| json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": tool, "arguments": arguments}});
    let lines = [
        json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
            "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": NAME, "version": "0"},
        }}),
        json!({"jsonrpc": "2.0", "method": "notifications/initialized"}),
        call(1, "object.put", json!({"name": "agents/asker/note", "content": "from an app"})),
        call(2, "service.enable", json!({"name": NAME})),
        call(3, "service.disable", json!({"name": NAME})),
        call(4, "agent.run", json!({"name": "example"})),
    ];
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// A program that says "hello" when it is told "once". Else it connects to the door, says what it has to say, and prints
/// whatever it hears until nobody is there any more, which is a failure.
fn program() -> Vec<u8> {
    let messages = messages();
    let length = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX).to_le_bytes();
    // The address of a Unix socket: its family in two bytes, then the path.
    let address = [&[1, 0], DOOR].concat();
    // The address begins 0x7d bytes behind the first place that needs it, and 0x67 bytes behind the second.
    let code: [&[u8]; 9] = [
        // argv[1][0] == 'o': once. socket(AF_UNIX, SOCK_STREAM, 0); connect(it, address, ...
        b"\x48\x8b\x44\x24\x10\x80\x38\x6f\x74\x6f\xbf\x01\0\0\0\xbe\x01\0\0\0\x31\xd2\xb8\x29\0\0\0\x0f\x05\x41\x89\xc4",
        b"\x44\x89\xe7\x48\x8d\x35\x7d\0\0\0\xba",
        &length(address.len()),
        // write(it, messages, ...
        b"\xb8\x2a\0\0\0\x0f\x05\x44\x89\xe7\x48\x8d\x35",
        &length(0x67 + address.len()),
        b"\xba",
        &length(messages.len()),
        // For ever: read(it, stack, 4096), write(1, stack, what came); when nothing comes any more: exit(1).
        b"\xb8\x01\0\0\0\x0f\x05\x48\x81\xec\0\x10\0\0\x44\x89\xe7\x48\x89\xe6\xba\0\x10\0\0\x31\xc0\x0f\x05\x85\xc0\x7e\x2f\
          \x89\xc2\x48\x89\xe6\xbf\x01\0\0\0\xb8\x01\0\0\0\x0f\x05\xeb\xda",
        // once: write(1, "hello\n", 6), exit(0).
        b"\xbf\x01\0\0\0\x48\x8d\x35\x1c\0\0\0\xba\x06\0\0\0\xb8\x01\0\0\0\x0f\x05\x31\xff\xeb\x05\xbf\x01\0\0\0\xb8\x3c\0\0\0\
          \x0f\x05hello\n",
    ];
    program_around(&[code.concat(), address, messages.into_bytes()].concat())
}

/// What PID 1 says of the agent.
fn agent(aios: &mut Aios) -> Result<Option<Value>, Failure> {
    let all = aios.json("agent list")?;
    Ok(list(&all)?.iter().find(|unit| unit["name"] == NAME).cloned())
}

/// It is handed in as any app is, and the person who approves it is told first that it will propose.
fn approved(aios: &mut Aios) -> Result<(), Failure> {
    let program = program();
    put(aios, "apps/asker", &base64::engine::general_purpose::STANDARD.encode(&program))?;
    let mut manifest = manifest(NAME, "Asks for things", &Digest::of(&program).to_string(), "apps/asker");
    manifest["arguments"] = json!([{"name": "how", "form": {"choice": ["once", "ask"]}}]);
    manifest["tests"][0]["args"] = json!(["once"]);
    manifest["service"] = json!({"kind": "agent", "args": ["ask"], "memory_mib": 8, "processes": 2});
    let (action, approval, lines) = handed_in(aios, "install", &manifest)?;
    let first = lines.first().map(String::as_str).unwrap_or_default();
    ensure!(first.starts_with("AN AGENT:") && first.contains("agent:asker"), "it is not said what it is: {lines:#?}");
    aios.approve(&approval)?;
    aios.json(&format!("action watch {action}")).map(drop)
}

/// From the yes to the end: what it may do is done in its name, what no agent may do is denied, and only a person ends it.
pub(crate) fn proposes(aios: &mut Aios) -> Result<(), Failure> {
    approved(aios)?;
    ensure!(agent(aios)?.is_none(), "an app that nobody enabled is an agent");
    let view = aios.json(&format!("service enable {NAME}"))?;
    receipts(aios, &view)?;
    let unit = agent(aios)?.unwrap_or_default();
    ensure!(unit["role"] == "app-agent" && unit["state"] == "ready", "it does not run as an agent: {unit:#}");

    let said = |lines: &Value| {
        let lines = lines.to_string();
        lines.matches("AIInstallInitiationBlocked").count() >= 2 && lines.contains("NoMatchingPermit")
    };
    aios.until(&format!("service logs {NAME}"), "the agent's answers", PATIENCE, said)?;
    ensure!(aios.ok("object get agents/asker/note")?.trim() == "from an app", "its object is not what it put");
    let shown = aios.json(&format!("agent show {NAME}"))?;
    for (action_type, state) in [
        ("object.put", "succeeded"),
        ("service.enable", "denied"),
        ("service.disable", "denied"),
        ("agent.run", "denied"),
    ] {
        let is_it = |view: &&Value| view["request"]["type"] == action_type && view["state"]["state"] == state;
        ensure!(list(&shown["actions"])?.iter().any(|view| is_it(&view)), "{action_type} is not {state}: {shown:#}");
    }

    // It is no service that others start and stop, and stays the version that was enabled.
    for line in ["service stop", "service restart"] {
        let refused = aios.json_of(&format!("{line} {NAME}"), Status::Failed)?;
        ensure!(text(&refused["state"], "text")?.contains("no service"), "'{line}' reaches an agent: {refused:#}");
    }
    let told = aios.json_of(&format!("app remove {NAME}"), Status::Failed)?.to_string();
    ensure!(told.contains("service disable asker"), "it is not said what to do: {told}");

    // Its door is opened anew, so its conversation breaks off; it is started again and knocks again.
    aios.json("service restart agent-door")?;
    aios.until("agent list", "the agent to be started again", PATIENCE, |agents| {
        let all = agents.as_array().map(Vec::as_slice).unwrap_or_default();
        let asker = all.iter().find(|unit| unit["name"] == NAME);
        asker.is_some_and(|unit| unit["starts"].as_u64().is_some_and(|starts| starts >= 2))
    })?;
    let view = aios.json(&format!("service disable {NAME}"))?;
    receipts(aios, &view)?;
    ensure!(agent(aios)?.is_none(), "it is an agent after it was disabled");
    aios.json(&format!("app remove {NAME}")).map(drop)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::process::Command;

    use super::*;

    #[test]
    fn the_program_runs_and_has_no_door_to_knock_at_here() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("asker");
        std::fs::write(&path, program()).expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("ours");
        let once = Command::new(&path).arg("once").output().expect("it runs");
        assert_eq!((once.status.code(), once.stdout.as_slice()), (Some(0), b"hello\n".as_slice()));
        let ask = Command::new(&path).arg("ask").output().expect("it runs");
        assert_eq!((ask.status.code(), ask.stdout.len()), (Some(1), 0), "nobody answers");
    }
}
