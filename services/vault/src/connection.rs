//! One connection to another machine, in the clear or in TLS, that never takes longer than it may.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aios_fetch::{Origin, Proxy, Root, Scheme};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::tunnel::{self, TunnelError};

/// A host that has not taken the connection by then is not going to.
const CONNECTING: Duration = Duration::from_secs(10);

/// The connection cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody answers there.
    #[error("cannot connect to {at}")]
    Connect {
        /// Where.
        at: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The proxy is no way there.
    #[error("{origin} cannot be reached through {proxy}, which network.proxy names")]
    Proxy {
        /// Who.
        origin: Origin,
        /// Through whom.
        proxy: Proxy,
        /// Why not.
        #[source]
        source: TunnelError,
    },
    /// A root certificate is none.
    #[error("a certificate in fetch.roots cannot be read")]
    Root(#[source] rustls::Error),
    /// Nothing is believed.
    #[error("fetch.roots is empty, so nobody can show that they are {0}")]
    NoRoots(Origin),
    /// TLS cannot begin.
    #[error("TLS with {origin} cannot begin")]
    Begin {
        /// With whom.
        origin: Origin,
        /// Why not.
        #[source]
        source: rustls::Error,
    },
    /// The host is not who it should be, or speaks no TLS.
    #[error(
        "{origin} did not prove who it is; fetch.roots says whom this machine believes ('aios settings get fetch.roots')"
    )]
    Proof {
        /// Who.
        origin: Origin,
        /// What was wrong.
        #[source]
        source: io::Error,
    },
}

/// A connection.
pub(crate) enum Connection {
    /// In the clear.
    Clear(Timed),
    /// In TLS, with a host that proved who it is.
    Tls(Box<StreamOwned<ClientConnection, Timed>>),
}

impl Connection {
    /// Connects to exactly this address, through `proxy` where that is the way to it; in TLS the host has to prove to be the
    /// origin's.
    pub(crate) fn open(
        origin: &Origin,
        address: IpAddr,
        proxy: Option<Proxy>,
        roots: &[Root],
        until: Instant,
    ) -> Result<Self, ConnectError> {
        let at = SocketAddr::from((address, origin.port()));
        let mut stream = match proxy.filter(|proxy| proxy.leads_to(address)) {
            None => connect(at, until).map_err(|source| ConnectError::Connect { at, source })?,
            Some(proxy) => {
                let failed = |source| ConnectError::Proxy { origin: origin.clone(), proxy, source };
                let mut stream = connect(proxy.listens_at(), until).map_err(|source| failed(source.into()))?;
                tunnel::begin(&mut stream, at).map_err(failed)?;
                stream
            }
        };
        if origin.scheme() == Scheme::Http {
            return Ok(Self::Clear(stream));
        }
        let config = Arc::new(config(origin, roots)?);
        let begin = |source| ConnectError::Begin { origin: origin.clone(), source };
        let name = match origin.address() {
            Some(address) => ServerName::from(address),
            None => ServerName::try_from(origin.host().to_owned())
                .map_err(|_| begin(rustls::Error::General("the name has no form that TLS knows".into())))?,
        };
        let mut tls = ClientConnection::new(config, name).map_err(begin)?;
        // Nothing is written before the host has proved who it is.
        while tls.is_handshaking() {
            tls.complete_io(&mut stream).map_err(|source| ConnectError::Proof { origin: origin.clone(), source })?;
        }
        Ok(Self::Tls(Box::new(StreamOwned::new(tls, stream))))
    }
}

fn config(origin: &Origin, roots: &[Root]) -> Result<ClientConfig, ConnectError> {
    let mut store = RootCertStore::empty();
    for root in roots {
        match root {
            Root::Public => store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
            Root::Certificate(der) => store.add(CertificateDer::from(der.as_slice())).map_err(ConnectError::Root)?,
        }
    }
    if store.is_empty() {
        return Err(ConnectError::NoRoots(origin.clone()));
    }
    let begin = |source| ConnectError::Begin { origin: origin.clone(), source };
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls_rustcrypto::provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(begin)?;
    Ok(builder.with_root_certificates(store).with_no_client_auth())
}

fn connect(to: SocketAddr, until: Instant) -> io::Result<Timed> {
    let patience = remaining(until)?.min(CONNECTING);
    Ok(Timed { stream: TcpStream::connect_timeout(&to, patience)?, until })
}

/// A stream on which each call ends in time, so that a host that sends a byte now and then holds nobody up.
pub(crate) struct Timed {
    stream: TcpStream,
    until: Instant,
}

fn remaining(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// The kernel says of a time that is over that the call would block.
fn in_time<T>(result: io::Result<T>) -> io::Result<T> {
    result.map_err(|error| if error.kind() == ErrorKind::WouldBlock { ErrorKind::TimedOut.into() } else { error })
}

impl Read for Timed {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(remaining(self.until)?))?;
        in_time(self.stream.read(into))
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(remaining(self.until)?))?;
        in_time(self.stream.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

impl Read for Connection {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Clear(stream) => stream.read(into),
            Self::Tls(stream) => stream.read(into),
        }
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Clear(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Clear(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}
