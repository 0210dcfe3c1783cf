//! Where a release is fetched from: a folder of files, on this machine or over plain HTTP.
//!
//! Nothing that comes from here is believed: the description is signed, each file has its size and digest in it, and
//! each block of the root its place in the hash tree. So the transport needs no secrecy and no identity.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::time::Duration;

use aios_fetch::{Proxy, Url};
use aios_settings::ReleaseSource;

/// How long a server may be silent.
const PATIENCE: Duration = Duration::from_secs(30);

/// A release's folder.
#[derive(Debug)]
pub(crate) enum Source {
    /// On this machine.
    Folder(PathBuf),
    /// On a server; with a slash at the end.
    Http { base: String, agent: ureq::Agent },
}

/// A file of the release cannot be fetched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SourceError {
    #[error("cannot open '{}'", path.display())]
    Open {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("network.proxy cannot be used")]
    Proxy {
        #[source]
        source: Box<ureq::Error>,
    },
    #[error("cannot fetch {url}")]
    Fetch {
        url: String,
        #[source]
        source: Box<ureq::Error>,
    },
    #[error("cannot read {name} from its source")]
    Read {
        name: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("{name} is longer than the {limit} bytes it may have")]
    TooLong { name: &'static str, limit: u64 },
}

impl Source {
    /// Prepares fetching from there; nothing is fetched yet. A server of the open network is asked through `proxy`.
    pub(crate) fn of(source: ReleaseSource, proxy: Option<Proxy>) -> Result<Self, SourceError> {
        let base = match source {
            ReleaseSource::Folder(path) => return Ok(Self::Folder(path)),
            ReleaseSource::Http(base) => base,
        };
        let address = base.parse::<Url>().ok().and_then(|url| url.origin().address());
        let proxy = proxy.filter(|proxy| address.is_some_and(|address| proxy.leads_to(address)));
        let proxy = proxy.map(|proxy| ureq::Proxy::new(&proxy.to_string())).transpose();
        let agent = ureq::Agent::config_builder()
            .proxy(proxy.map_err(|source| SourceError::Proxy { source: Box::new(source) })?)
            // A server that points elsewhere could make this program talk to whatever listens there.
            .max_redirects(0)
            .timeout_connect(Some(PATIENCE))
            .timeout_recv_response(Some(PATIENCE))
            .timeout_per_read(Some(PATIENCE))
            .build()
            .into();
        Ok(Self::Http { base: format!("{}/", base.trim_end_matches('/')), agent })
    }

    /// The beginning of a file, as a stream of at most `limit` bytes.
    pub(crate) fn open(&self, name: &'static str, limit: u64) -> Result<Box<dyn Read>, SourceError> {
        match self {
            Self::Folder(folder) => {
                let path = folder.join(name);
                let file = File::open(&path).map_err(|source| SourceError::Open { path, source })?;
                Ok(Box::new(file.take(limit)))
            }
            Self::Http { base, agent } => {
                let url = format!("{base}{name}");
                let answer = agent.get(&url).call();
                let answer = answer.map_err(|source| SourceError::Fetch { url, source: Box::new(source) })?;
                Ok(Box::new(answer.into_body().into_reader().take(limit)))
            }
        }
    }

    /// A whole file of at most `limit` bytes.
    pub(crate) fn read(&self, name: &'static str, limit: u64) -> Result<Vec<u8>, SourceError> {
        let mut bytes = Vec::new();
        let read = self.open(name, limit + 1)?.read_to_end(&mut bytes);
        read.map_err(|source| SourceError::Read { name, source })?;
        if bytes.len() as u64 > limit { Err(SourceError::TooLong { name, limit }) } else { Ok(bytes) }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::net::TcpListener;
    use std::sync::mpsc::{Receiver, channel};

    use super::*;

    /// A proxy that is the host at the other end of its tunnel too; tells what it was asked for first.
    fn proxy(content: &'static str) -> (Proxy, Receiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let proxy = format!("http://{}", listener.local_addr().expect("an address")).parse().expect("a proxy");
        let (heads, asked) = channel();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let mut lines = BufReader::new(stream.try_clone().expect("a copy")).lines().map_while(Result::ok);
                for answer in ["".to_owned(), format!("Content-Length: {}\r\n\r\n{content}", content.len())] {
                    let _ = heads.send(lines.next().unwrap_or_default());
                    lines.find(String::is_empty);
                    let end = if answer.is_empty() { "\r\n" } else { "" };
                    let _ = write!(stream, "HTTP/1.1 200 OK\r\n{answer}{end}");
                }
            }
        });
        (proxy, asked)
    }

    #[test]
    fn a_server_of_the_open_network_is_asked_through_the_proxy_and_a_neighbour_is_not() {
        let (proxy, asked) = proxy("a release");
        let source = |url: &str| Source::of(url.parse().expect("a source"), Some(proxy)).expect("a way to it");
        assert_eq!(source("http://93.184.216.34/r").read("release", 9).expect("it is there"), b"a release");
        assert_eq!(asked.recv().expect("asked"), "CONNECT 93.184.216.34:80 HTTP/1.1");
        assert_eq!(asked.recv().expect("asked"), "GET /r/release HTTP/1.1");
        assert!(source("http://127.0.0.1:1").read("release", 9).is_err(), "nobody listens there");
        assert!(asked.try_recv().is_err(), "and nobody else is asked");
    }

    #[test]
    fn a_file_that_is_too_long_is_not_read_to_its_end() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("f"), [0; 11]).expect("written");
        let source = Source::Folder(folder.path().to_owned());
        assert!(source.read("f", 11).is_ok());
        assert!(matches!(source.read("f", 10), Err(SourceError::TooLong { .. })));
    }
}
