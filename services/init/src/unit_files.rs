//! The image's tables that say what to start: units, agents, users.
//!
//! They are on the verified root, so they are trusted and still checked: one that is wrong stops the start with its
//! line, instead of a machine that runs without a part of itself.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use aios_units::unit::Kind;
use aios_units::{Graph, Mode, Unit};

use crate::failure::{Failure, at};
use crate::terminals::Terminal;

const UNITS: &str = "/usr/share/aios/units";
const AGENTS: &str = "/usr/share/aios/agents";
const USERS: &str = "/usr/share/aios/users.toml";
/// The unit that an operator's session is started like.
const SESSION: &str = "session";

/// What this boot supervises.
#[derive(Debug)]
pub(crate) struct Units {
    pub(crate) graph: Graph,
    pub(crate) session: Option<Unit>,
}

/// Reads all units and puts those of `mode` into a graph, terminal units once for each terminal.
pub(crate) fn read(mode: Mode, terminals: &[Terminal]) -> Result<Units, Failure> {
    let mut units = Vec::new();
    read_folder(Path::new(UNITS), &mut units)?;
    read_folder(Path::new(AGENTS), &mut units)?;
    let session = units.iter().find(|unit| unit.name.as_str() == SESSION).cloned();
    let mut instances = Vec::new();
    for unit in units {
        if unit.kind != Kind::Terminal {
            instances.push(unit);
            continue;
        }
        for terminal in terminals {
            instances.push(unit.on_terminal(&terminal.name).map_err(|e| Failure::new("cannot use a terminal", e))?);
        }
    }
    let graph = Graph::new(mode, instances).map_err(|error| Failure::new("the units do not fit together", error))?;
    Ok(Units { graph, session })
}

fn read_folder(folder: &Path, units: &mut Vec<Unit>) -> Result<(), Failure> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(at("list", folder))?,
    };
    for entry in entries {
        let path = entry.map_err(at("list", folder))?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".toml"))
        else {
            return Err(Failure::plain(format!("{} is no unit file: its name ends in .toml", path.display())));
        };
        let text = fs::read_to_string(&path).map_err(at("read", &path))?;
        units.push(Unit::parse(name, &text).map_err(at("use", &path))?);
    }
    Ok(())
}

/// Names and numbers of users; a user's group has the same number.
#[derive(Debug)]
pub(crate) struct Users(BTreeMap<String, u32>);

impl Users {
    /// Reads the image's table.
    pub(crate) fn read() -> Result<Self, Failure> {
        let text = fs::read_to_string(USERS).map_err(at("read", USERS))?;
        Ok(Self(toml::from_str(&text).map_err(at("use", USERS))?))
    }

    /// The number of a user or group. A number stands for itself.
    pub(crate) fn id(&self, name: &str) -> Result<u32, Failure> {
        match name {
            "root" => Ok(0),
            _ => self
                .0
                .get(name)
                .copied()
                .or_else(|| name.parse().ok())
                .ok_or_else(|| Failure::plain(format!("there is no user '{}' in {USERS}", name.escape_debug()))),
        }
    }
}
