//! Whether a host can be reached: its name looked up, one TCP connection made and closed. Nothing is sent over it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::{clock, resolv};

/// A host that has not answered by then is not reachable for anybody who waits.
const PATIENCE: Duration = Duration::from_secs(5);

/// What was reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reached {
    /// The address that was connected to.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// How long connecting took, in milliseconds.
    pub ms: u64,
}

/// It was not reached.
#[derive(Debug, thiserror::Error)]
pub enum ReachError {
    /// The name has no address.
    #[error("the name '{host}' cannot be looked up: {why}")]
    Name {
        /// The name.
        host: String,
        /// Why not.
        why: String,
    },
    /// Nobody answers there.
    #[error("cannot connect to {at}")]
    Connect {
        /// Where.
        at: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Nobody says no, either.
    #[error("{at} did not answer within {} seconds; a packet filter may be in the way", PATIENCE.as_secs())]
    Silent {
        /// Where.
        at: SocketAddr,
    },
}

/// Connects to `port` of `host`. `folder` is where the service says which name servers there are.
pub async fn check(folder: &Path, host: &str, port: u16) -> Result<Reached, ReachError> {
    let address = address(folder, host).await?;
    let (at, begin) = (SocketAddr::from((address, port)), Instant::now());
    match timeout(PATIENCE, TcpStream::connect(at)).await {
        Ok(Ok(connection)) => {
            drop(connection);
            let ms = u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
            Ok(Reached { address, port, ms })
        }
        Ok(Err(source)) => Err(ReachError::Connect { at, source }),
        Err(_) => Err(ReachError::Silent { at }),
    }
}

/// The address of a name, or the address that it is.
pub async fn address(folder: &Path, host: &str) -> Result<IpAddr, ReachError> {
    if let Ok(address) = host.parse() {
        return Ok(address);
    }
    // Written by this service whole or not at all; without it no name server is known.
    let text = std::fs::read_to_string(folder.join(resolv::FILE)).unwrap_or_default();
    let found = clock::find(&resolv::read(&text), host).await;
    found.map_err(|why| ReachError::Name { host: host.chars().take(80).flat_map(char::escape_default).collect(), why })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn who_listens_is_reached_and_who_does_not_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let reached = check(folder.path(), "127.0.0.1", port).await.expect("somebody listens");
        assert_eq!((reached.address.to_string().as_str(), reached.port), ("127.0.0.1", port));
        drop(listener);
        assert!(matches!(check(folder.path(), "127.0.0.1", port).await, Err(ReachError::Connect { .. })));
    }

    #[tokio::test]
    async fn a_name_needs_a_name_server() {
        let folder = tempfile::tempdir().expect("a folder");
        let error = check(folder.path(), "nobody.invalid", 80).await.expect_err("nobody to ask");
        assert!(error.to_string().ends_with("no name server is known"), "{error}");
    }
}
