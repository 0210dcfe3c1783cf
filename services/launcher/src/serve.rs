//! The loop: connections come, say once what to run, and hear how it ended.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::time::Instant;

use aios_identity::PeerTable;
use aios_linux::calls::CallListError;
use launcher::allotment::{self, AllotmentError};
use launcher::confine;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::caller::{self, TableError};
use crate::chain;
use crate::connection::{Connection, Ready};

/// More connections than this wait in the kernel's queue.
const CONNECTIONS: usize = 64;

/// The launcher cannot work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LauncherError {
    #[error("cannot know callers")]
    Table(#[from] TableError),
    #[error("cannot use rootfs/seccomp/action.list")]
    Calls(#[from] CallListError),
    #[error("cannot limit actions")]
    Allotment(#[from] AllotmentError),
    #[error("cannot listen")]
    Listen(#[source] io::Error),
    #[error("cannot wait for events")]
    Wait(#[source] io::Error),
}

/// Serves until the process is told to stop.
pub(crate) fn run() -> Result<Infallible, LauncherError> {
    let table = caller::table()?;
    let calls = confine::calls()?;
    allotment::prepare()?;
    let listener = aios_linux::inherited::listening_socket().map_err(LauncherError::Listen)?;
    listener.set_nonblocking(true).map_err(LauncherError::Listen)?;
    ready().map_err(LauncherError::Listen)?;
    let mut connections: Vec<Connection> = Vec::new();
    loop {
        let (caller_waits, events) = wait(&listener, &connections)?;
        let now = Instant::now();
        let mut taken: BTreeSet<u16> = connections.iter().filter_map(Connection::uid_offset).collect();
        connections = connections
            .into_iter()
            .zip(events)
            .filter_map(|(connection, ready)| connection.step(ready, &mut taken, &calls, now))
            .collect();
        if caller_waits {
            connections.extend(accept(&listener, &table, now));
        }
    }
}

/// Waits until a caller, a connection or a program needs something, or a time is over.
fn wait(listener: &UnixListener, connections: &[Connection]) -> Result<(bool, Vec<Ready>), LauncherError> {
    let accepting = if connections.len() < CONNECTIONS { PollFlags::IN } else { PollFlags::empty() };
    let mut watched = vec![PollFd::from_borrowed_fd(listener.as_fd(), accepting)];
    for connection in connections {
        watched.extend(connection.watched());
    }
    let left = connections
        .iter()
        .filter_map(Connection::deadline)
        .min()
        .map(|deadline| deadline.saturating_duration_since(Instant::now()));
    let limit = left.map(|left| Timespec {
        tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: left.subsec_nanos().into(),
    });
    match poll(&mut watched, limit.as_ref()) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(error) => return Err(LauncherError::Wait(error.into())),
    }
    let mut happened = watched.iter().map(|entry| !entry.revents().is_empty());
    let caller_waits = happened.next().unwrap_or(false);
    let events = connections.iter().map(|connection| connection.take_ready(&mut happened)).collect();
    Ok((caller_waits, events))
}

/// The next caller, if it may call.
fn accept(listener: &UnixListener, table: &PeerTable, now: Instant) -> Option<Connection> {
    let (stream, _) = match listener.accept() {
        Ok(accepted) => accepted,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
        Err(error) => {
            eprintln!("cannot accept a connection: {error}");
            return None;
        }
    };
    match caller::check(&stream, table) {
        Ok(()) => Connection::new(stream, now).inspect_err(|error| eprintln!("a connection was lost: {error}")).ok(),
        Err(error) => {
            eprintln!("a connection was closed: {}", chain(&error));
            None
        }
    }
}

fn ready() -> io::Result<()> {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else { return Ok(()) };
    UnixDatagram::unbound()?.send_to(b"READY=1", socket).map(drop)
}
