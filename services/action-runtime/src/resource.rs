//! The one resource that an action's program is given, opened here and used there.

use std::io;
use std::os::fd::OwnedFd;

use action_runtime::launch::Given;
use action_runtime::task::Undo;
use aios_action::{ActionType, Adapter, GRANTED_FOLDER, Request};
use aios_daemon::init::AskError;
use aios_wire::init::{self, Reply, Role, Service};
use aios_wire::launch::{Limits, Program, Tier};
use rustix::fs::{Mode, OFlags};
use serde_json::Value;

const MEBIBYTE: u64 = 1 << 20;

/// Enough for one call; an adapter that needs more is broken.
pub(crate) const CALL_LIMITS: Limits = Limits {
    memory: 48 * MEBIBYTE,
    processes: 8,
    cpu_percent: 100,
    time_ms: 20_000,
    cpu_ms: 10_000,
    output: 1 << 20,
    written: 32 << 20,
};

/// The granted folder.
pub(crate) fn granted_folder() -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::open(GRANTED_FOLDER, flags, Mode::empty())?)
}

/// Every unit, as PID 1 tells.
pub(crate) fn units() -> Result<Vec<Service>, AskError> {
    match aios_daemon::init::ask(&init::Request::Services)? {
        Reply::Services { services } => Ok(services),
        _ => Ok(Vec::new()),
    }
}

/// PID 1 starts, stops and restarts any unit; an action only those of the role that its type is about.
pub(crate) fn check_unit(request: &Request) -> Result<(), String> {
    let wanted: &[Role] = match request.action_type.as_str() {
        "service.restart" | "service.start" | "service.stop" => &[Role::System, Role::App],
        "agent.run" => &[Role::Agent, Role::AppAgent],
        "service.enable" => &[Role::App, Role::AppAgent],
        _ => return Ok(()),
    };
    let name = request.parameters.get("name").and_then(Value::as_str).unwrap_or_default();
    let unit = units().map(|units| units.into_iter().find(|unit| unit.name == name));
    match unit {
        Ok(Some(unit)) if wanted.contains(&unit.role) => Ok(()),
        Ok(Some(_)) if request.action_type == "service.enable" => {
            Err(format!("'{name}' is a unit of the system already; hand the app in under another name"))
        }
        Ok(None) if request.action_type == "service.enable" => Ok(()),
        Ok(_) if request.action_type == "agent.run" => {
            Err(format!("there is no agent '{name}'; 'aios agent list' shows all"))
        }
        Ok(_) => Err(format!("there is no service '{name}'; 'aios service list' shows all")),
        Err(error) => Err(aios_daemon::error_chain(&error)),
    }
}

/// What the program of an action of this type works on. A connection is the runtime's: the service sees the runtime.
pub(crate) fn open(entry: &ActionType) -> io::Result<Given> {
    match entry.adapter {
        Adapter::Call(service) => connection(service),
        Adapter::Folder => Ok(Given::Folder(granted_folder()?)),
        Adapter::Program => Ok(Given::Nothing),
    }
}

/// What undoing works on.
pub(crate) fn open_for_undo(undo: &Undo) -> io::Result<Given> {
    match undo {
        Undo::Setting { .. } | Undo::Settings { .. } => connection("settings"),
        Undo::Unit { .. } => connection("init"),
        Undo::Tag { .. } | Undo::App { .. } | Undo::AppService { .. } => connection("object-store"),
        Undo::File { .. } | Undo::Move { .. } => Ok(Given::Folder(granted_folder()?)),
    }
}

fn connection(service: &str) -> io::Result<Given> {
    Ok(Given::Connection(aios_daemon::open_socket(service)?))
}

/// The program and its arguments. An adapter is told the user that its connection belongs to.
pub(crate) fn program(entry: &ActionType, request: &Request) -> (Program, Vec<Vec<u8>>) {
    if entry.adapter != Adapter::Program {
        return adapter();
    }
    let path = request.parameters.get("program").and_then(Value::as_str).unwrap_or_default();
    let words = request.parameters.get("args").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let args = words.iter().filter_map(Value::as_str).map(|word| word.as_bytes().to_vec()).collect();
    (Program::Store(path.to_owned()), args)
}

/// The adapter with its argument.
pub(crate) fn adapter() -> (Program, Vec<Vec<u8>>) {
    (Program::Adapter, vec![rustix::process::geteuid().as_raw().to_string().into_bytes()])
}

/// How far the sandbox of an action of this type is open.
pub(crate) fn tier(entry: &ActionType) -> Tier {
    if entry.adapter == Adapter::Program { Tier::Program } else { Tier::Adapter }
}

/// What an action of this type may use up.
pub(crate) fn limits(entry: &ActionType) -> Limits {
    let call = CALL_LIMITS;
    match (entry.adapter, entry.name) {
        // The vault gives up after a minute.
        (_, "http.fetch") => Limits { time_ms: 90_000, ..call },
        // The log reads all of itself, and the store makes the copy durable.
        (_, "evidence.export") => Limits { time_ms: 90_000, ..call },
        // Each name server is given its time.
        (_, "network.check") => Limits { time_ms: 60_000, ..call },
        // Fetching takes as long as the network does.
        (_, "store.add" | "update.apply") => Limits { time_ms: 15 * 60_000, ..call },
        (Adapter::Program, _) => Limits {
            memory: 128 * MEBIBYTE,
            processes: 64,
            time_ms: 5 * 60_000,
            cpu_ms: 2 * 60_000,
            output: 8 << 20,
            ..call
        },
        _ => call,
    }
}
