//! The tree of cgroups: where each program lives, what it may use up, and how a whole branch is frozen or killed.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use aios_units::unit::Resources;

use crate::failure::{Failure, at};

const TREE: &str = "/sys/fs/cgroup";
/// Branches that stand still while nothing may be decided or recorded.
const FROZEN: [&str; 2] = ["actions", "agents"];
/// Every branch with its share of the processors when all want more than there is: a person at a console does not wait
/// for agents, nor for a system that is still starting.
const BRANCHES: [(&str, u32); 4] = [("system", 100), ("operators", 800), ("agents", 50), ("actions", 50)];

/// Makes the branches and hands the controllers down to them.
pub(crate) fn prepare() -> Result<(), Failure> {
    let hand_down = |place: &Path| {
        let file = place.join("cgroup.subtree_control");
        fs::write(&file, "+memory +pids +cpu").map_err(at("write", file))
    };
    hand_down(Path::new(TREE))?;
    for (branch, share) in BRANCHES {
        let place = Path::new(TREE).join(branch);
        fs::create_dir_all(&place).map_err(at("make", &place))?;
        let weight = place.join("cpu.weight");
        fs::write(&weight, share.to_string()).map_err(at("write", weight))?;
        hand_down(&place)?;
    }
    Ok(())
}

/// A cgroup that a program is started in.
#[derive(Debug)]
pub(crate) struct Cgroup {
    path: PathBuf,
    /// The open folder, for `clone3`.
    pub(crate) folder: File,
    /// The id by which the kernel names it to others.
    pub(crate) id: u64,
}

/// Makes `branch/name` with its limits, or takes the one that is there.
pub(crate) fn make(branch: &str, name: &str, resources: &Resources) -> io::Result<Cgroup> {
    let path = Path::new(TREE).join(branch).join(name);
    fs::create_dir_all(&path)?;
    fs::write(path.join("memory.max"), (resources.memory_max_mib << 20).to_string())?;
    // One that wants too much ends whole, not process by process.
    fs::write(path.join("memory.oom.group"), "1")?;
    fs::write(path.join("pids.max"), resources.pids_max.to_string())?;
    let folder = File::open(&path)?;
    // In the unified hierarchy a cgroup's id is the inode number of its folder.
    let id = folder.metadata()?.ino();
    Ok(Cgroup { path, folder, id })
}

impl Cgroup {
    /// Kills everything in it, frozen or not.
    pub(crate) fn kill(&self) -> io::Result<()> {
        fs::write(self.path.join("cgroup.kill"), "1")
    }

    /// Removes it; one that still has dying processes stays and is used again.
    pub(crate) fn remove(&self) {
        let _ = fs::remove_dir(&self.path);
    }
}

/// Stops actions and agents where they are, or lets them go on.
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
