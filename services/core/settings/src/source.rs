//! Where releases come from: a folder on this machine, or one that a server gives over plain HTTP.
//!
//! What comes from there is believed only for its signature, so a source has no name to be checked and no secret.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

/// More than any address of a folder needs.
const LIMIT: usize = 1024;

/// A release's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReleaseSource {
    /// On this machine.
    Folder(PathBuf),
    /// On a server, as it was written.
    Http(String),
}

/// A text is no source.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{}' is no source of releases: write http://ADDRESS[:PORT]/FOLDER with a numeric address, or the path of a folder",
    text.escape_default()
)]
pub struct SourceError {
    text: String,
}

impl FromStr for ReleaseSource {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Self, SourceError> {
        let wrong = || SourceError { text: text.chars().take(200).collect() };
        if text.len() > LIMIT || text.chars().any(|letter| letter.is_control() || letter.is_whitespace()) {
            return Err(wrong());
        }
        if text.starts_with('/') {
            return Ok(Self::Folder(PathBuf::from(text)));
        }
        let rest = text.strip_prefix("http://").ok_or_else(wrong)?;
        // Names are not looked up: the programs are static, and the C library's resolver is not.
        let host = rest.split('/').next().unwrap_or_default();
        if host.parse::<SocketAddr>().is_err() && host.parse::<Ipv4Addr>().is_err() || rest.contains(['?', '#']) {
            return Err(wrong());
        }
        Ok(Self::Http(text.to_owned()))
    }
}

impl fmt::Display for ReleaseSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => path.display().fmt(f),
            Self::Http(text) => f.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_folders_and_plain_http_are_sources() {
        for good in
            ["/run/usb/release", "http://10.0.2.2:8000/release/", "http://[2001:db8::1]:80/x", "http://10.0.2.2"]
        {
            assert_eq!(good.parse::<ReleaseSource>().expect(good).to_string(), good);
        }
        for bad in [
            "",
            "release",
            "https://a/",
            "file:///a",
            "http://",
            "http:///a",
            "http://10.0.2.2/?b",
            "http://a b/",
            "http://releases.test",
            "http://me@10.0.2.2/",
        ] {
            assert!(bad.parse::<ReleaseSource>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_source_or_refused(text in ".{0,60}") {
            if let Ok(source) = text.parse::<ReleaseSource>() {
                prop_assert_eq!(source.to_string(), text);
            }
        }
    }
}
