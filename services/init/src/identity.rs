//! Whose a cgroup is. The kernel gives the id, this table gives the peer; nothing a process says can change either.

use std::collections::BTreeMap;
use std::os::fd::AsFd;

use aios_identity::Peer;

/// The owners of all cgroups that PID 1 made and that are in use.
#[derive(Debug, Default)]
pub(crate) struct Owners(BTreeMap<u64, Peer>);

impl Owners {
    /// From now on processes in `cgroup` are `peer`.
    pub(crate) fn set(&mut self, cgroup: u64, peer: Peer) {
        self.0.insert(cgroup, peer);
    }

    /// Processes in `cgroup` are nobody any more.
    pub(crate) fn clear(&mut self, cgroup: u64) {
        self.0.remove(&cgroup);
    }

    /// Whose a cgroup is.
    pub(crate) fn of(&self, cgroup: u64) -> Option<&Peer> {
        self.0.get(&cgroup)
    }

    /// Who made a connection.
    pub(crate) fn of_connection(&self, socket: impl AsFd) -> Option<&Peer> {
        let pidfd = aios_linux::peer::pidfd_of(socket).ok()?;
        self.of(aios_linux::peer::cgroup_of(pidfd).ok()?)
    }
}
