//! Who is at the other end of a connection: from the kernel and PID 1, checked against the table of peers.
//!
//! The same as `aios-daemon` does for the services that speak D-Bus; the launcher has no D-Bus and no runtime, so it
//! asks PID 1 by itself.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use aios_identity::{Peer, PeerTable, PeerTableError};
use aios_wire::init::{Reply, Request};

const PEERS: &str = "/usr/share/aios/peers.toml";

/// PID 1 answers from memory at once.
const PATIENCE: Duration = Duration::from_secs(5);

/// The caller may not use the launcher, or nobody can say who it is.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallerError {
    /// The kernel has no answer.
    #[error("cannot ask the kernel who called")]
    Kernel(#[source] io::Error),
    /// PID 1 has no answer.
    #[error("cannot ask PID 1 who called")]
    Init(#[source] io::Error),
    /// PID 1 knows no owner of the caller's cgroup.
    #[error("the caller in cgroup {0} belongs to no service, session or agent")]
    Stranger(u64),
    /// The table does not list it.
    #[error("{0} may not use the launcher: submit an action instead")]
    Closed(Peer),
}

/// The table of the image cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TableError {
    #[error("cannot read {PEERS}")]
    Read(#[source] io::Error),
    #[error("cannot use {PEERS}")]
    Form(#[from] PeerTableError),
}

/// Reads the table of peers, once.
pub(crate) fn table() -> Result<PeerTable, TableError> {
    let text = std::fs::read_to_string(PEERS).map_err(TableError::Read)?;
    Ok(PeerTable::parse(&text)?)
}

/// Whether the process behind `stream` may have programs launched.
pub(crate) fn check(stream: &UnixStream, table: &PeerTable) -> Result<(), CallerError> {
    let pidfd = aios_linux::peer::pidfd_of(stream).map_err(CallerError::Kernel)?;
    let cgroup = aios_linux::peer::cgroup_of(&pidfd).map_err(CallerError::Kernel)?;
    let peer = identify(cgroup).map_err(CallerError::Init)?.ok_or(CallerError::Stranger(cgroup))?;
    if table.allows("launcher", "launch", &peer) { Ok(()) } else { Err(CallerError::Closed(peer)) }
}

fn identify(cgroup: u64) -> io::Result<Option<Peer>> {
    let mut stream = UnixStream::connect(Path::new(aios_wire::SOCKET_DIR).join("init"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = serde_json::to_vec(&Request::Identify { cgroup })?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = String::new();
    BufReader::new(stream.take(aios_wire::MESSAGE_LIMIT as u64)).read_line(&mut answer)?;
    match serde_json::from_str(&answer)? {
        Reply::Identity { peer } => Ok(peer),
        other => Err(io::Error::other(format!("PID 1 answered {other:?}"))),
    }
}
