//! Talking to a Nix binary cache over plain HTTP. Nothing that it says is believed here.

use std::io::{self, Read};
use std::net::IpAddr;
use std::time::Duration;

use aios_fetch::Proxy;
use nix_derivation::StorePath;
use nix_narinfo::MAX_NARINFO_SIZE;

/// One request, from connecting to its last byte.
const REQUEST_LIMIT: Duration = Duration::from_secs(15 * 60);

/// The longest silence in it.
const SILENCE_LIMIT: Duration = Duration::from_secs(30);

/// A cache that can be asked.
#[derive(Debug)]
pub(crate) struct Cache {
    base: String,
    agent: ureq::Agent,
}

/// The address is not one of a cache that can be asked.
#[derive(Debug, thiserror::Error)]
#[error("'{url}' is no address of a cache: {reason}")]
pub struct CacheUrlError {
    url: String,
    reason: &'static str,
}

/// The cache did not give what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// It answered with an error, or not at all.
    #[error("cannot get {url}")]
    Get {
        /// What was asked for.
        url: String,
        /// What went wrong.
        #[source]
        source: Box<ureq::Error>,
    },
    /// The answer broke off.
    #[error("cannot read {url}")]
    Read {
        /// What was asked for.
        url: String,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
    /// The answer is longer than a record can be.
    #[error("{url} is longer than {MAX_NARINFO_SIZE} bytes")]
    TooLong {
        /// What was asked for.
        url: String,
    },
}

impl Cache {
    /// The cache at `url`: `http://`, a numeric address, perhaps a port and a path. One of the open network is asked through
    /// `proxy`.
    pub(crate) fn new(url: &str, proxy: Option<Proxy>) -> Result<Self, CacheUrlError> {
        let refused =
            |reason| CacheUrlError { url: url.chars().take(80).flat_map(char::escape_default).collect(), reason };
        let rest = url.strip_prefix("http://").ok_or_else(|| {
            refused(
                "only http:// is spoken; it needs no secrecy, because every path is believed for its signature alone",
            )
        })?;
        if url.len() > 512 || !url.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~:/[]".contains(&byte)) {
            return Err(refused("it must be at most 512 letters, digits and -._~:/[]"));
        }
        let authority = rest.split('/').next().unwrap_or_default();
        let Some(address) = numeric_host(authority) else {
            return Err(refused(
                "the host must be a numeric address, such as 192.0.2.7:8080; names are not looked up yet",
            ));
        };
        let proxy = proxy.filter(|proxy| proxy.leads_to(address));
        let proxy = proxy.map(|proxy| ureq::Proxy::new(&proxy.to_string())).transpose();
        let agent = ureq::Agent::config_builder()
            .proxy(proxy.map_err(|_| refused("network.proxy has a form that this service does not know"))?)
            // A cache that points elsewhere could make this service talk to whatever listens there.
            .max_redirects(0)
            .user_agent(concat!("aios-object-store/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(Duration::from_secs(10)))
            .timeout_recv_response(Some(SILENCE_LIMIT))
            .timeout_per_read(Some(SILENCE_LIMIT))
            .timeout_global(Some(REQUEST_LIMIT))
            .build();
        Ok(Self { base: url.trim_end_matches('/').to_owned(), agent: agent.into() })
    }

    /// The record of one path, as the cache has it.
    pub(crate) fn record(&self, path: &StorePath) -> Result<Vec<u8>, CacheError> {
        let base = path.to_basename();
        let hash = base.split('-').next().unwrap_or_default();
        let url = format!("{}/{hash}.narinfo", self.base);
        let mut bytes = Vec::new();
        let mut body = self.get(&url)?.take(MAX_NARINFO_SIZE as u64 + 1);
        body.read_to_end(&mut bytes).map_err(|source| CacheError::Read { url: url.clone(), source })?;
        if bytes.len() > MAX_NARINFO_SIZE { Err(CacheError::TooLong { url }) } else { Ok(bytes) }
    }

    /// The archive at a place relative to the cache, still packed.
    pub(crate) fn archive(&self, place: &str) -> Result<impl Read + use<>, CacheError> {
        self.get(&format!("{}/{place}", self.base))
    }

    fn get(&self, url: &str) -> Result<impl Read + use<>, CacheError> {
        let failed = |source| CacheError::Get { url: url.to_owned(), source: Box::new(source) };
        let answer = self.agent.get(url).call().map_err(failed)?;
        if answer.status() != 200 {
            return Err(failed(ureq::Error::StatusCode(answer.status().as_u16())));
        }
        Ok(answer.into_body().into_reader())
    }
}

/// The address that is the host, where it is one and the port a port.
fn numeric_host(authority: &str) -> Option<IpAddr> {
    let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, port)) => (host, port.strip_prefix(':').or(Some(""))),
        None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
    };
    let bracketed = authority.starts_with('[');
    let good_port = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|number| number > 0));
    host.parse().ok().filter(|host: &IpAddr| host.is_ipv6() == bracketed && good_port)
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
    fn a_cache_of_the_open_network_is_asked_through_the_proxy_and_a_neighbour_is_not() {
        let (proxy, asked) = proxy("a record");
        let path = "/nix/store/00000000000000000000000000000000-x".as_bytes();
        let path = StorePath::from_absolute_path(path).expect("a path");
        let far = Cache::new("http://93.184.216.34:8080/cache", Some(proxy)).expect("an address");
        assert_eq!(far.record(&path).expect("it is there"), b"a record");
        assert_eq!(asked.recv().expect("asked"), "CONNECT 93.184.216.34:8080 HTTP/1.1");
        let get = asked.recv().expect("asked");
        assert!(get.starts_with("GET /cache/") && get.ends_with(".narinfo HTTP/1.1"), "{get}");
        let near = Cache::new("http://127.0.0.1:1", Some(proxy)).expect("an address");
        assert!(
            near.record(&path).is_err() && asked.try_recv().is_err(),
            "nobody listens there, and nobody else is asked"
        );
    }

    #[test]
    fn only_numeric_plain_http_is_an_address() {
        for good in
            ["http://10.0.2.2", "http://10.0.2.2:8080", "http://10.0.2.2:8080/cache/", "http://[2001:db8::7]:80/x"]
        {
            Cache::new(good, None).expect(good);
        }
        for bad in [
            "",
            "http://",
            "http:///x",
            "https://10.0.2.2",
            "file:///etc",
            "http://cache.example.org",
            "http://localhost:80",
            "http://10.0.2.2:0",
            "http://10.0.2.2:99999",
            "http://10.0.2.2:80x",
            "http://user@10.0.2.2",
            "http://10.0.2.2/?q",
            "http://10.0.2.2/ x",
            "http://2001:db8::7",
            "http://[10.0.2.2]",
            "http://[::1]x",
        ] {
            assert!(Cache::new(bad, None).is_err(), "{bad}");
        }
    }
}
