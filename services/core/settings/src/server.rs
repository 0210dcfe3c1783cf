//! A time server: an address or a name.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// Who is asked for the time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum TimeServer {
    /// By its address.
    Address(IpAddr),
    /// By its name, in lower-case letters.
    Name(String),
}

/// The text names no server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a server must be an address or a name such as time.example.org")]
pub struct ServerError;

impl fmt::Display for TimeServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl FromStr for TimeServer {
    type Err = ServerError;

    fn from_str(text: &str) -> Result<Self, ServerError> {
        if let Some(address) = crate::inet::canonical(text) {
            let is_host = !(address.is_unspecified() || address.is_multicast());
            return if is_host { Ok(Self::Address(address)) } else { Err(ServerError) };
        }
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        // A last label of digits would be a misspelt address.
        let last = text.rsplit('.').next().unwrap_or_default();
        let is_name =
            text.len() <= 253 && text.split('.').all(is_label) && !last.bytes().all(|byte| byte.is_ascii_digit());
        if is_name { Ok(Self::Name(text.to_owned())) } else { Err(ServerError) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_and_names_are_told_apart() {
        assert!(matches!("192.0.2.1".parse(), Ok(TimeServer::Address(_))));
        assert!(matches!("2001:db8::1".parse(), Ok(TimeServer::Address(_))));
        assert!(matches!("time.example.org".parse(), Ok(TimeServer::Name(_))));
        for bad in ["", ".", "a.", "-a", "A.example", "192.0.2.256", "192.0.2", "0.0.0.0", "ff02::1", "a b", "a_b"] {
            assert_eq!(bad.parse::<TimeServer>(), Err(ServerError), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn text_round_trips_or_is_refused(text in "[a-z0-9.:-]{0,20}") {
            if let Ok(server) = text.parse::<TimeServer>() {
                prop_assert_eq!(server.to_string(), text);
            }
        }
    }
}
