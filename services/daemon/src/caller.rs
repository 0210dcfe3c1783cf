//! Who calls: a process handle from the kernel, looked up in PID 1's table, checked against the table of peers.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, OnceLock};

use aios_identity::{Peer, PeerTable};
use aios_wire::init::{Reply, Request};

use crate::init::{self, AskError};

/// Where the image keeps the table.
const PEERS: &str = "/usr/share/aios/peers.toml";

/// A process that PID 1 knows.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Who it is.
    pub peer: Peer,
    pidfd: Arc<OwnedFd>,
}

/// It cannot be said who a process is.
#[derive(Debug, thiserror::Error)]
pub enum IdentifyError {
    /// The kernel has no answer: the process is gone.
    #[error("cannot ask the kernel about the process; it may have ended")]
    Kernel(#[source] std::io::Error),
    /// PID 1 did not answer.
    #[error("cannot look the process up")]
    Table(#[from] AskError),
    /// PID 1 knows no owner of its cgroup.
    #[error("the process in cgroup {cgroup} belongs to no service, session or agent")]
    Stranger {
        /// The id of its cgroup.
        cgroup: u64,
    },
}

/// Who the process behind `pidfd` is.
pub fn identify(pidfd: BorrowedFd<'_>) -> Result<Peer, IdentifyError> {
    let cgroup = aios_linux::peer::cgroup_of(pidfd).map_err(IdentifyError::Kernel)?;
    match init::ask(&Request::Identify { cgroup })? {
        Reply::Identity { peer: Some(peer) } => Ok(peer),
        _ => Err(IdentifyError::Stranger { cgroup }),
    }
}

impl Caller {
    /// Who made the connection.
    pub fn of(stream: &UnixStream) -> Result<Self, IdentifyError> {
        let pidfd = aios_linux::peer::pidfd_of(stream).map_err(IdentifyError::Kernel)?;
        let peer = identify(pidfd.as_fd())?;
        Ok(Self { peer, pidfd: Arc::new(pidfd) })
    }

    /// The handle on the process, to hand on as the subject of a request.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Whether the table of peers opens `verb` of `service` to this caller; the error is what the caller is told.
    pub fn require(&self, service: &str, verb: &str) -> Result<(), zbus::fdo::Error> {
        let table = table().as_ref().map_err(|reason| zbus::fdo::Error::Failed(reason.to_owned()))?;
        if table.allows(service, verb, &self.peer) {
            return Ok(());
        }
        Err(zbus::fdo::Error::AccessDenied(format!(
            "{} may not use {verb} of {service}: the table of peers does not open it; submit an action instead",
            self.peer
        )))
    }
}

/// The image's table, read once: the root is read-only.
fn table() -> &'static Result<PeerTable, String> {
    static TABLE: OnceLock<Result<PeerTable, String>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let text = std::fs::read_to_string(PEERS).map_err(|error| format!("cannot read {PEERS}: {error}"))?;
        PeerTable::parse(&text).map_err(|error| crate::error_chain(&error))
    })
}
