//! Whether units fit together: what each needs exists, what belongs to one belongs to no other, what cannot run together
//! is not started together.

use std::collections::{BTreeMap, BTreeSet};

use aios_ids::UnitName;

use crate::unit::{Mode, Start, Unit};

/// The units do not fit together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// Two units have one name.
    #[error("two units are called '{0}'")]
    Twice(UnitName),
    /// An image brings no apps.
    #[error("unit '{0}' is an app's: these are added while the machine runs, and no image brings one")]
    App(UnitName),
    /// A unit needs one that does not exist in a mode where it is started.
    #[error("unit '{unit}' requires '{missing}', which is not started in the same mode")]
    Missing {
        /// Who requires.
        unit: UnitName,
        /// What is not there.
        missing: UnitName,
    },
    /// A unit needs one that may not be running.
    #[error("unit '{unit}' requires '{other}', which only its callers start: leave it out, its socket is always there")]
    OnCall {
        /// Who requires.
        unit: UnitName,
        /// What starts on call.
        other: UnitName,
    },
    /// Two units that cannot run together are started together.
    #[error("'{unit}' and '{rival}' conflict, and both are started in the same mode{}", .by.as_ref().map(|by| format!(" by '{by}'")).unwrap_or_default())]
    Conflict {
        /// One.
        unit: UnitName,
        /// The other.
        rival: UnitName,
        /// Who needs both; none: the mode itself.
        by: Option<UnitName>,
    },
    /// A folder or socket would belong to two.
    #[error("'{unit}' and {other} both claim {path}")]
    Claimed {
        /// One.
        unit: UnitName,
        /// The other.
        other: String,
        /// The folder or socket.
        path: String,
    },
    /// Units wait for each other.
    #[error("units wait for each other: {}", .0.iter().map(UnitName::as_str).collect::<Vec<_>>().join(", "))]
    Circle(Vec<UnitName>),
}

/// Sockets beside those of units that PID 1 listens on.
const OWN_SOCKETS: [&str; 2] = ["init", "notify"];

/// Checks all but the order.
pub(crate) fn check(mode: Mode, units: &BTreeMap<UnitName, Unit>) -> Result<(), GraphError> {
    for unit in units.values() {
        // What is only started when it is asked for is not there for what starts by itself.
        let is_there = |other: &&Unit| unit.modes.is_empty() || other.modes.contains(&mode);
        if let Some(missing) = unit.requires.iter().find(|name| !units.get(name).is_some_and(|o| is_there(&o))) {
            return Err(GraphError::Missing { unit: unit.name.clone(), missing: missing.clone() });
        }
        let on_call = |name: &&UnitName| units.get(name).is_some_and(|other| other.start != Start::Boot);
        if let Some(other) = unit.requires.iter().find(on_call) {
            return Err(GraphError::OnCall { unit: unit.name.clone(), other: other.clone() });
        }
    }
    claims(units)?;
    let together: Vec<&Unit> = units.values().filter(|unit| unit.modes.contains(&mode)).collect();
    no_conflict(&together, None)?;
    for unit in units.values() {
        let needed = pulled_in(&unit.name, |name| units.get(name));
        let needed: Vec<&Unit> = needed.iter().filter_map(|name| units.get(name)).collect();
        no_conflict(&needed, Some(&unit.name))?;
    }
    Ok(())
}

fn no_conflict(together: &[&Unit], by: Option<&UnitName>) -> Result<(), GraphError> {
    for (index, unit) in together.iter().enumerate() {
        if let Some(rival) = together[..index].iter().find(|other| conflict(unit, other)) {
            let (unit, rival) = (rival.name.clone(), unit.name.clone());
            return Err(GraphError::Conflict { unit, rival, by: by.cloned() });
        }
    }
    Ok(())
}

/// Each folder and each socket has one owner. Units that run as one user are one owner of folders.
fn claims(units: &BTreeMap<UnitName, Unit>) -> Result<(), GraphError> {
    let mut owners: BTreeMap<&str, &Unit> = BTreeMap::new();
    for unit in units.values() {
        if unit.socket && OWN_SOCKETS.contains(&unit.name.as_str()) {
            let path = format!("{}/{}", aios_wire::SOCKET_DIR, unit.name);
            return Err(GraphError::Claimed { unit: unit.name.clone(), other: "PID 1".into(), path });
        }
        for path in unit.state.iter().chain(&unit.published) {
            let path = path.trim_end_matches('/');
            if let Some(owner) = owners.insert(path, unit).filter(|owner| owner.user != unit.user) {
                let other = format!("'{}'", owner.name);
                return Err(GraphError::Claimed { unit: unit.name.clone(), other, path: path.to_owned() });
            }
        }
    }
    Ok(())
}

/// Whether two units must not run at the same time.
pub(crate) fn conflict(one: &Unit, other: &Unit) -> bool {
    one.conflicts.contains(&other.name) || other.conflicts.contains(&one.name)
}

/// A unit and all that is started with it when it is asked for.
pub(crate) fn pulled_in<'a>(name: &UnitName, unit: impl Fn(&UnitName) -> Option<&'a Unit>) -> Vec<UnitName> {
    let mut found: BTreeSet<UnitName> = BTreeSet::new();
    let mut open = vec![name.clone()];
    while let Some(name) = open.pop() {
        if let Some(unit) = unit(&name)
            && found.insert(name)
        {
            open.extend(unit.requires.iter().chain(&unit.wants).cloned());
        }
    }
    found.into_iter().collect()
}
