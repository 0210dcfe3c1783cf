//! Talking to a Nix binary cache over plain HTTP. Nothing that it says is believed here.

use std::io::{self, Read};
use std::net::IpAddr;
use std::time::Duration;

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
    /// The cache at `url`: `http://`, a numeric address, perhaps a port and a path.
    pub(crate) fn new(url: &str) -> Result<Self, CacheUrlError> {
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
        if !is_numeric_authority(authority) {
            return Err(refused(
                "the host must be a numeric address, such as 192.0.2.7:8080; names are not looked up yet",
            ));
        }
        let agent = ureq::Agent::config_builder()
            .proxy(None)
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

fn is_numeric_authority(authority: &str) -> bool {
    let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, port)) => (host, port.strip_prefix(':').or(Some(""))),
        None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
    };
    let bracketed = authority.starts_with('[');
    let good_host = host.parse().is_ok_and(|host: IpAddr| host.is_ipv6() == bracketed);
    good_host && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|number| number > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_numeric_plain_http_is_an_address() {
        for good in
            ["http://10.0.2.2", "http://10.0.2.2:8080", "http://10.0.2.2:8080/cache/", "http://[2001:db8::7]:80/x"]
        {
            Cache::new(good).expect(good);
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
            assert!(Cache::new(bad).is_err(), "{bad}");
        }
    }
}
