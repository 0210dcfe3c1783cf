//! The tree of cgroups: where each program lives, what it may use up, and how a whole branch is frozen or killed.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use aios_units::unit::Resources;

use crate::failure::{Failure, LACKING, at};

const TREE: &str = "/sys/fs/cgroup";
/// Branches that stand still while nothing may be decided or recorded.
const FROZEN: [&str; 3] = ["actions", "agents", "apps"];
/// Every branch with its share of the processors when all want more than there is: a person at a console does not wait
/// for agents, nor for a system that is still starting.
const BRANCHES: [(&str, u32); 5] = [("system", 100), ("operators", 800), ("agents", 50), ("apps", 50), ("actions", 50)];

/// What every branch limits its programs with.
const CONTROLLERS: [&str; 3] = ["memory", "pids", "cpu"];
/// The launcher counts what an action writes to disks; nobody else is counted one by one.
const OF_ACTIONS: [&str; 1] = ["io"];

/// Makes the branches and hands the controllers down to them.
pub(crate) fn prepare() -> Result<(), Failure> {
    let hand_down = |place: &Path, controllers: &[&str]| {
        let file = place.join("cgroup.subtree_control");
        let words: Vec<String> = controllers.iter().map(|name| format!("+{name}")).collect();
        fs::write(&file, words.join(" ")).map_err(at("write", file))
    };
    let all = [&CONTROLLERS[..], &OF_ACTIONS].concat();
    let file = Path::new(TREE).join("cgroup.controllers");
    let there = fs::read_to_string(&file).map_err(at("read", file))?;
    let lacking = lacking(&all, &there);
    if !lacking.is_empty() {
        let what = format!("this kernel cannot limit what programs use: without {}", lacking.join(", "));
        return Err(Failure::plain(what).hint(LACKING));
    }
    hand_down(Path::new(TREE), &all)?;
    for (branch, share) in BRANCHES {
        let place = Path::new(TREE).join(branch);
        fs::create_dir_all(&place).map_err(at("make", &place))?;
        let weight = place.join("cpu.weight");
        fs::write(&weight, share.to_string()).map_err(at("write", weight))?;
        hand_down(&place, &CONTROLLERS)?;
    }
    Ok(())
}

/// Those of `wanted` that the kernel does not list.
fn lacking<'a>(wanted: &[&'a str], listed: &str) -> Vec<&'a str> {
    wanted.iter().copied().filter(|name| !listed.split_whitespace().any(|word| word == *name)).collect()
}

/// A cgroup that a program is started in.
#[derive(Debug)]
pub(crate) struct Cgroup {
    path: PathBuf,
    /// The id by which the kernel names it to others.
    pub(crate) id: u64,
}

/// Makes `branch/name` with its limits, or takes the one that is there. Its open folder is for `clone3` and of no use after.
pub(crate) fn make(branch: &str, name: &str, resources: &Resources) -> io::Result<(Cgroup, File)> {
    let path = Path::new(TREE).join(branch).join(name);
    fs::create_dir_all(&path)?;
    limit(&path, "memory.max", resources.memory_max_mib << 20)?;
    // One that wants too much ends whole, not process by process.
    limit(&path, "memory.oom.group", 1)?;
    limit(&path, "pids.max", resources.pids_max)?;
    limit(&path, "cpu.weight", resources.cpu_weight.into())?;
    let folder = File::open(&path)?;
    // In the unified hierarchy a cgroup's id is the inode number of its folder.
    let id = folder.metadata()?.ino();
    Ok((Cgroup { path, id }, folder))
}

/// Sets a limit. Tests of this program run on machines whose controllers belong to somebody else.
fn limit(place: &Path, name: &str, value: u64) -> io::Result<()> {
    let file = place.join(name);
    if cfg!(test) && !file.exists() {
        return Ok(());
    }
    fs::write(file, value.to_string())
}

impl Cgroup {
    /// Kills everything in it, frozen or not.
    pub(crate) fn kill(&self) -> io::Result<()> {
        fs::write(self.path.join("cgroup.kill"), "1")
    }

    /// Removes it if nothing is left in it; says whether something is. A process that was killed takes a moment to go.
    pub(crate) fn remove_if_empty(&self) -> Left {
        let left = left_in(&self.path);
        if left == Left::Nothing {
            // One with folders of its own in it stays and is used again.
            let _ = fs::remove_dir(&self.path);
        }
        left
    }
}

/// Whether any action runs.
pub(crate) fn actions() -> Left {
    left_in(&Path::new(TREE).join(Branch::Actions.folder()))
}

/// Kills every action, frozen or not.
pub(crate) fn kill_actions() -> io::Result<()> {
    fs::write(Path::new(TREE).join(Branch::Actions.folder()).join("cgroup.kill"), "1")
}

/// A cgroup of which the kernel says nothing is none.
fn left_in(place: &Path) -> Left {
    let events = fs::read_to_string(place.join("cgroup.events")).unwrap_or_default();
    if events.lines().any(|line| line == "populated 1") { Left::Something } else { Left::Nothing }
}

/// Whether anything still runs in a cgroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    Nothing,
    Something,
}

/// Kills everything in the cgroups that persons sit in, so that their terminals are free.
pub(crate) fn clear_terminals() {
    let _ = fs::write(Path::new(TREE).join("operators/cgroup.kill"), "1");
    let system = fs::read_dir(Path::new(TREE).join("system")).into_iter().flatten().flatten();
    for place in system.filter(|place| place.file_name().to_string_lossy().starts_with("console-")) {
        let _ = fs::write(place.path().join("cgroup.kill"), "1");
    }
}

/// What can be ended to save memory, with the bytes that each holds.
pub(crate) fn expendable() -> Vec<Expendable> {
    let in_branch = |branch: Branch| {
        let places = fs::read_dir(Path::new(TREE).join(branch.folder())).into_iter().flatten().flatten();
        places.filter_map(move |place| {
            let bytes = fs::read_to_string(place.path().join("memory.current")).ok()?.trim().parse().ok()?;
            Some(Expendable { branch, name: place.file_name().into_string().ok()?, bytes })
        })
    };
    [Branch::Actions, Branch::Agents, Branch::Apps].into_iter().flat_map(in_branch).collect()
}

/// An action, an agent or an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Expendable {
    pub(crate) branch: Branch,
    pub(crate) name: String,
    pub(crate) bytes: u64,
}

/// What is ended first, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Branch {
    Actions,
    Agents,
    Apps,
}

impl Branch {
    fn folder(self) -> &'static str {
        match self {
            Self::Actions => "actions",
            Self::Agents => "agents",
            Self::Apps => "apps",
        }
    }
}

impl Expendable {
    /// Kills everything in it.
    pub(crate) fn end(&self) -> io::Result<()> {
        fs::write(Path::new(TREE).join(self.branch.folder()).join(&self.name).join("cgroup.kill"), "1")
    }
}

/// Stops actions, agents and apps where they are, or lets them go on.
pub(crate) fn set_frozen(frozen: Frozen) -> io::Result<()> {
    let value = match frozen {
        Frozen::Yes => "1",
        Frozen::No => "0",
    };
    FROZEN.iter().try_for_each(|branch| fs::write(Path::new(TREE).join(branch).join("cgroup.freeze"), value))
}

/// Whether a branch stands still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Frozen {
    Yes,
    No,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_controller_is_listed_by_its_whole_name() {
        assert!(lacking(&["memory", "cpu"], "cpuset cpu io memory pids\n").is_empty());
        assert_eq!(lacking(&["memory", "cpu", "pids"], "cpuset memory"), ["cpu", "pids"]);
    }
}
