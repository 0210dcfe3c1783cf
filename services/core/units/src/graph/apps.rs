//! Units that come and go while the machine runs: those of apps.
//!
//! One comes only when nothing that ships could mean it: its name, its user and what others say of names are compared with
//! all units of the image, those of other modes too. It is tied to no other ([`crate::app`]), so its coming and going cannot
//! break the order of the rest. One that was removed goes when its process has ended, and cannot be started any more.

use std::collections::BTreeSet;

use aios_ids::UnitName;

use super::{Graph, Phase, before, places_of};
use crate::app::LIMIT;
use crate::node::{Node, Staying};
use crate::state::Effect;
use crate::unit::Unit;

/// What PID 1 itself and the kernel are called in logs and sockets.
const OWN_NAMES: [&str; 3] = ["init", "notify", "kernel"];

/// Every name that the image's units have or mention.
pub(super) fn names_of(units: &[Unit]) -> BTreeSet<UnitName> {
    let mut names: BTreeSet<UnitName> = OWN_NAMES.iter().filter_map(|name| name.parse().ok()).collect();
    for unit in units {
        names.extend([unit.name.clone(), unit.base.clone()]);
        names.extend(before(unit).chain(&unit.conflicts).cloned());
    }
    names
}

impl Graph {
    /// Adds the unit of an app, which starts at once. The same one again is there already.
    pub(super) fn add(&mut self, unit: Unit) -> Result<(), String> {
        self.takes_wishes()?;
        let name = &unit.name;
        if !unit.is_of_an_app() {
            return Err(format!("'{name}' is no app: only units of apps are added while the machine runs"));
        }
        if self.shipped.contains(name) {
            return Err(format!("the name '{name}' belongs to the system; hand the app in under another name"));
        }
        match self.node(name) {
            Some(node) if node.staying == Staying::Leaves => return Err(format!("'{name}' still ends; ask again")),
            Some(node) if node.unit == unit => return Ok(()),
            Some(_) => return Err(format!("there is another unit '{name}'; remove it first")),
            None => {}
        }
        if let Some(other) = self.nodes.iter().find(|node| node.unit.user == unit.user) {
            return Err(format!("'{name}' would be the user {}, as '{}' is", unit.user, other.unit.name));
        }
        if self.nodes.iter().filter(|node| node.unit.is_of_an_app()).count() >= LIMIT {
            return Err(format!("there are {LIMIT} apps that are services already; disable one first"));
        }
        let mut node = Node::new(unit);
        node.begin();
        self.nodes.push(node);
        self.places = places_of(&self.nodes);
        Ok(())
    }

    /// Ends the unit of an app; it is gone when its process is.
    pub(super) fn remove(&mut self, name: &UnitName, now_ms: u64, effects: &mut Vec<Effect>) -> Result<(), String> {
        self.takes_wishes()?;
        match self.node(name) {
            None => return Err(format!("there is no unit '{name}'; 'aios service list' shows all")),
            Some(node) if !node.unit.is_of_an_app() => {
                return Err(format!("'{name}' ships with the system and stays; 'aios service stop {name}' stops it"));
            }
            Some(_) => self.change(name, |node| node.leave(now_ms, effects)),
        }
        Ok(())
    }

    /// Forgets what was removed and has no process any more.
    pub(super) fn forget_gone(&mut self, effects: &mut Vec<Effect>) {
        let were = self.nodes.len();
        self.nodes.retain(|node| {
            let gone = node.staying == Staying::Leaves && !node.state.runs();
            if gone {
                effects.push(Effect::Gone(node.unit.name.clone()));
            }
            !gone
        });
        if self.nodes.len() != were {
            self.places = places_of(&self.nodes);
        }
    }

    pub(super) fn takes_wishes(&self) -> Result<(), String> {
        match self.phase {
            Phase::Before => Err("the machine is not set up yet; ask again".into()),
            Phase::Ending(_) | Phase::Ended => Err("the machine is going down".into()),
            Phase::Running => Ok(()),
        }
    }
}
