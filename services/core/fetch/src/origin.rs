//! Addresses of the web, in the one form in which they are compared: lower-case host, no default port, nothing decoded.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A URL is at most so long.
const LIMIT: usize = 2048;

/// How the bytes travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// In the clear.
    Http,
    /// In TLS.
    Https,
}

impl Scheme {
    fn word(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// Who is asked: scheme, host and port. Two origins are the same exactly when they are equal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Origin {
    scheme: Scheme,
    host: String,
    port: u16,
}

/// An origin and what is asked of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    origin: Origin,
    target: String,
}

/// The text is no address of the web that this system asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Neither `http://` nor `https://`.
    #[error("it must begin with http:// or https://")]
    Scheme,
    /// A name and pass phrase before the host.
    #[error("it must not hold a name or a pass phrase; 'secret=' uses one that the vault keeps")]
    Credential,
    /// The host.
    #[error("its host must be a name of letters, digits, dashes and dots, an address, or [an IPv6 address]")]
    Host,
    /// The port.
    #[error("its port must be a number from 1 to 65535")]
    Port,
    /// What comes behind the host.
    #[error("behind the host it must be printable ASCII without spaces, '#' and quotes")]
    Target,
    /// Too long.
    #[error("it must have at most {LIMIT} characters")]
    Long,
    /// Something behind the port of an origin.
    #[error("it must end with the host and port")]
    NotAlone,
}

impl Origin {
    /// How the bytes travel to it.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host: a name in lower-case letters, or an address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The TCP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The host as an address, when somebody wrote it as one.
    pub fn address(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    /// The host and port as HTTP names them.
    pub fn authority(&self) -> String {
        let host = match self.address() {
            Some(IpAddr::V6(address)) => format!("[{address}]"),
            _ => self.host.clone(),
        };
        if self.port == self.scheme.port() { host } else { format!("{host}:{}", self.port) }
    }
}

impl Url {
    /// Whom it asks.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// What it asks for: a path, and perhaps a query.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// Where a redirection from here leads.
    pub fn follow(&self, location: &str) -> Result<Self, UrlError> {
        if location.starts_with('/') && !location.starts_with("//") {
            return Ok(Self { origin: self.origin.clone(), target: target(location)? });
        }
        location.parse()
    }
}

impl FromStr for Url {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        if text.len() > LIMIT {
            return Err(UrlError::Long);
        }
        let (scheme, rest) = if let Some(rest) = text.strip_prefix("http://") {
            (Scheme::Http, rest)
        } else if let Some(rest) = text.strip_prefix("https://") {
            (Scheme::Https, rest)
        } else {
            return Err(UrlError::Scheme);
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, behind) = rest.split_at(end);
        if authority.contains('@') {
            return Err(UrlError::Credential);
        }
        let (host, port) = host_and_port(authority)?;
        let origin = Origin { scheme, host, port: port.unwrap_or(scheme.port()) };
        let target = match behind {
            "" => "/".to_owned(),
            query if query.starts_with('?') => target(&format!("/{query}"))?,
            path => target(path)?,
        };
        Ok(Self { origin, target })
    }
}

fn target(text: &str) -> Result<String, UrlError> {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'#' | b'"' | b'\'' | b'<' | b'>' | b'\\');
    if text.len() > LIMIT {
        return Err(UrlError::Long);
    }
    if text.bytes().all(is_plain) { Ok(text.to_owned()) } else { Err(UrlError::Target) }
}

fn host_and_port(authority: &str) -> Result<(String, Option<u16>), UrlError> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (address, behind) = rest.split_once(']').ok_or(UrlError::Host)?;
            let address: Ipv6Addr = address.parse().map_err(|_| UrlError::Host)?;
            let port = match behind {
                "" => None,
                _ => Some(behind.strip_prefix(':').ok_or(UrlError::Host)?),
            };
            (address.to_string(), port)
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (name(host)?, Some(port)),
            None => (name(authority)?, None),
        },
    };
    let port = port.map(|port| match port.parse::<u16>() {
        Ok(number) if number > 0 && port.bytes().all(|byte| byte.is_ascii_digit()) => Ok(number),
        _ => Err(UrlError::Port),
    });
    Ok((host, port.transpose()?))
}

/// A name whose last label is a number is an address and nothing else: resolvers read `1.2` and `0x7f.1` as addresses.
fn name(text: &str) -> Result<String, UrlError> {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if text.len() > 253 || !text.split('.').all(is_label) {
        return Err(UrlError::Host);
    }
    let last = text.rsplit('.').next().unwrap_or_default();
    if last.starts_with(|first: char| first.is_ascii_digit()) && text.parse::<IpAddr>().is_err() {
        return Err(UrlError::Host);
    }
    Ok(text.to_ascii_lowercase())
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.word(), self.authority())
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin, self.target)
    }
}

impl FromStr for Origin {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let url: Url = text.parse()?;
        if text.matches('/').count() == 2 && url.target == "/" { Ok(url.origin) } else { Err(UrlError::NotAlone) }
    }
}

impl TryFrom<String> for Origin {
    type Error = UrlError;

    fn try_from(text: String) -> Result<Self, UrlError> {
        text.parse()
    }
}

impl From<Origin> for String {
    fn from(origin: Origin) -> Self {
        origin.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_address_has_one_form() {
        for (text, expected) in [
            ("http://Example.ORG", "http://example.org/"),
            ("https://example.org:443/a?b=c", "https://example.org/a?b=c"),
            ("https://example.org:8443?b", "https://example.org:8443/?b"),
            ("http://10.0.2.2:8080/x", "http://10.0.2.2:8080/x"),
            ("http://[2001:DB8::1]:80/", "http://[2001:db8::1]/"),
        ] {
            assert_eq!(text.parse::<Url>().map(|url| url.to_string()), Ok(expected.to_owned()));
        }
    }

    #[test]
    fn what_readers_could_take_for_another_host_is_refused() {
        for (text, expected) in [
            ("ftp://example.org", UrlError::Scheme),
            ("HTTP://example.org", UrlError::Scheme),
            ("http://ada:phrase@example.org", UrlError::Credential),
            ("http://good.example@evil.example", UrlError::Credential),
            ("http://", UrlError::Host),
            ("http://a..b", UrlError::Host),
            ("http://a_b", UrlError::Host),
            ("http://exämple.org", UrlError::Host),
            ("http://2130706433", UrlError::Host),
            ("http://127.1", UrlError::Host),
            ("http://0x7f.1", UrlError::Host),
            ("http://10.0.0.1.", UrlError::Host),
            ("http://[::1", UrlError::Host),
            ("http://[::1]x", UrlError::Host),
            ("http://[fe80::1%eth0]", UrlError::Host),
            ("http://a:0", UrlError::Port),
            ("http://a:+1", UrlError::Port),
            ("http://a:65536", UrlError::Port),
            ("http://a/ b", UrlError::Target),
            ("http://a/\r\nHost: b", UrlError::Target),
            ("http://a/#b", UrlError::Target),
            ("http://a/\\b", UrlError::Target),
        ] {
            assert_eq!(text.parse::<Url>(), Err(expected), "{text}");
        }
        assert_eq!(format!("http://a/{}", "x".repeat(LIMIT)).parse::<Url>(), Err(UrlError::Long));
        assert_eq!("http://a/b".parse::<Origin>(), Err(UrlError::NotAlone));
        assert_eq!("http://a?b".parse::<Origin>(), Err(UrlError::NotAlone));
    }

    #[test]
    fn a_redirection_is_a_path_or_a_whole_address() {
        let here: Url = "https://a.example/x".parse().expect("a URL");
        let follow = |location: &str| here.follow(location).map(|url| url.to_string());
        assert_eq!(follow("/y?z"), Ok("https://a.example/y?z".to_owned()));
        assert_eq!(follow("http://b.example"), Ok("http://b.example/".to_owned()));
        assert!(follow("//b.example/").is_err() && follow("y").is_err() && follow("/a b").is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_comes_back_as_itself(text in "(https?://)?[a-z0-9.:\\[\\]@/?#%-]{0,40}|.{0,80}") {
            if let Ok(url) = text.parse::<Url>() {
                prop_assert_eq!(url.to_string().parse::<Url>(), Ok(url.clone()));
                prop_assert_eq!(url.origin().to_string().parse::<Origin>(), Ok(url.origin().clone()));
                let head = url.to_string();
                prop_assert!(head.bytes().all(|byte| byte.is_ascii_graphic()));
            }
        }
    }
}
