//! Serving on the socket that PID 1 passed, and connecting to the sockets of others.

use std::convert::Infallible;
use std::io;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::time::Duration;

use zbus::connection::Builder;
use zbus::object_server::Interface;

use crate::caller::Caller;
use crate::report::error_chain;
use crate::transport::server;
use crate::work::{Piece, Work};

/// The service cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// PID 1 passed no socket.
    #[error("cannot take over the listening socket")]
    Socket(#[source] io::Error),
    /// The kernel takes no more connections.
    #[error("cannot accept connections")]
    Accept(#[source] io::Error),
}

/// Answers callers until the process is told to stop. `path` is the object's, such as `/org/aios/Evidence1`; `object`
/// makes the object that answers one caller.
pub async fn serve<I: Interface>(path: &'static str, object: impl Fn(Caller) -> I) -> Result<Infallible, ServeError> {
    serve_all(move |caller, offered| offered.serve_at(path, object(caller))).await
}

/// The same for a service with several objects: `offer` adds those that answer one caller.
pub async fn serve_all(offer: impl Fn(Caller, Builder<'static>) -> Builder<'static>) -> Result<Infallible, ServeError> {
    accept(|caller, stream| match server(stream) {
        Ok(offered) => drop(tokio::spawn(answer(offer(caller, offered)))),
        Err(error) => eprintln!("a connection was lost before it began: {error}"),
    })
    .await
}

/// Answers callers until there was nothing to do for a while: neither a connection nor other `work` of the service.
pub async fn serve_on_call<I: Interface>(
    work: &Work,
    path: &'static str,
    object: impl Fn(Caller) -> I,
) -> Result<(), ServeError> {
    accept_on_call(work, |caller, stream, piece| {
        let offered = match server(stream) {
            Ok(offered) => offered.serve_at(path, object(caller)),
            Err(error) => return eprintln!("a connection was lost before it began: {error}"),
        };
        tokio::spawn(async move {
            answer(offered).await;
            drop(piece);
        });
    })
    .await
}

/// Hands each connection of a known caller to `meet`. A stranger's connection is closed.
pub async fn accept(mut meet: impl FnMut(Caller, UnixStream)) -> Result<Infallible, ServeError> {
    let mut door = Door::open()?;
    loop {
        door.next(&mut meet).await?;
    }
}

/// The same until there was nothing to do for a while. `meet` keeps the piece of work for as long as it has the connection.
/// Who calls after that waits at the socket, which is PID 1's, and has the service started.
pub async fn accept_on_call(work: &Work, mut meet: impl FnMut(Caller, UnixStream, Piece)) -> Result<(), ServeError> {
    let mut door = Door::open()?;
    loop {
        tokio::select! {
            // Whoever is at the door is let in before anybody thinks of leaving.
            biased;
            met = door.next(|caller, stream| meet(caller, stream, work.begin())) => met?,
            () = work.is_over() => return Ok(()),
        }
    }
}

/// The socket that PID 1 passed.
struct Door(tokio::net::UnixListener);

impl Door {
    fn open() -> Result<Self, ServeError> {
        let listener = aios_linux::inherited::listening_socket().map_err(ServeError::Socket)?;
        listener.set_nonblocking(true).map_err(ServeError::Socket)?;
        let listener = tokio::net::UnixListener::from_std(listener).map_err(ServeError::Socket)?;
        give_signs_of_life();
        Ok(Self(listener))
    }

    /// Waits for one connection.
    async fn next(&mut self, meet: impl FnOnce(Caller, UnixStream)) -> Result<(), ServeError> {
        let (stream, _) = self.0.accept().await.map_err(ServeError::Accept)?;
        let stream = stream.into_std().map_err(ServeError::Accept)?;
        // Asking PID 1 takes a fraction of a millisecond and PID 1 never calls back, so it may be waited for.
        match Caller::of(&stream) {
            Ok(caller) => meet(caller, stream),
            Err(stranger) => eprintln!("a connection was closed: {}", error_chain(&stranger)),
        }
        Ok(())
    }
}

async fn answer(offered: Builder<'static>) {
    match offered.build().await {
        Ok(connection) => connection.closed().await,
        Err(error) => eprintln!("a connection was lost before it began: {}", error_chain(&error)),
    }
}

/// Opens a socket of a service: the service sees this process as its caller, whoever uses the descriptor later.
pub fn open_socket(service: &str) -> io::Result<UnixStream> {
    UnixStream::connect(Path::new(aios_wire::SOCKET_DIR).join(service))
}

/// PID 1 holds the sockets, so a connection to a service that is down or starting succeeds and then waits. A start takes
/// a few seconds on a slow machine; what takes longer than this is not going to answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// Connects to a service as a D-Bus peer.
pub async fn connect(service: &str) -> zbus::Result<zbus::Connection> {
    let stream = open_socket(service)?;
    let greeting = Builder::unix_stream(stream).p2p().build();
    tokio::time::timeout(PATIENCE, greeting).await.unwrap_or_else(|_| {
        let text = format!("{service} did not answer within {} s; it may be down", PATIENCE.as_secs());
        Err(io::Error::new(io::ErrorKind::TimedOut, text).into())
    })
}

/// Tells PID 1 that this service can be called.
pub fn ready() -> io::Result<()> {
    notify("READY=1")
}

/// Tells PID 1 what this service is doing, in a sentence.
pub fn status(sentence: &str) -> io::Result<()> {
    notify(&format!("STATUS={}", sentence.replace('\n', " ")))
}

/// Tells PID 1 that this service works and that nothing may be done: actions and agents stand still until its next start.
/// `why` says what to do.
pub fn hold(why: &str) -> io::Result<()> {
    notify(&format!("HOLD={}", why.replace('\n', " ")))
}

/// Tells PID 1 as often as it wants to know that this program's loop still turns.
fn give_signs_of_life() {
    let limit = std::env::var("WATCHDOG_USEC").ok().and_then(|limit| limit.parse().ok()).map(Duration::from_micros);
    if let Some(limit) = limit {
        tokio::spawn(async move {
            loop {
                // A sign that does not arrive is what PID 1 counts.
                let _ = notify("WATCHDOG=1");
                tokio::time::sleep(limit / 3).await;
            }
        });
    }
}

fn notify(message: &str) -> io::Result<()> {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else { return Ok(()) };
    UnixDatagram::unbound()?.send_to(message.as_bytes(), socket).map(drop)
}
