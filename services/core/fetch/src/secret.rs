//! A secret's value, the header it goes into, and the hosts it may be sent to.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::origin::{Origin, Scheme, UrlError};

/// A shorter one would be found everywhere in an answer, and guessed.
const SHORTEST: usize = 8;

/// Headers have limits at every server.
const LONGEST: usize = 4096;

/// So many hosts can be bound to one secret.
const ORIGINS: usize = 16;

/// The header that most secrets go into.
const USUAL_FORM: &str = "Authorization: Bearer {}";

/// Stands for the value in a header.
const PLACE: &str = "{}";

/// A secret. It has no text form and is overwritten when it is dropped.
pub struct SecretValue(Zeroizing<String>);

/// The value cannot be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a secret has {SHORTEST} to {LONGEST} characters, all of them printable ASCII, with no space at either end")]
pub struct SecretError;

impl SecretValue {
    /// The characters, for those who send or seal them.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl FromStr for SecretValue {
    type Err = SecretError;

    fn from_str(text: &str) -> Result<Self, SecretError> {
        let fits = (SHORTEST..=LONGEST).contains(&text.len())
            && text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
            && text.trim() == text;
        if fits { Ok(Self(Zeroizing::new(text.to_owned()))) } else { Err(SecretError) }
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretValue")
    }
}

/// A header with a place for the value: `Authorization: Bearer {}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HeaderForm {
    name: String,
    before: String,
    after: String,
}

/// Where a secret goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Binding {
    /// Whom it may be sent to; `http://` among them sends it in the clear.
    pub hosts: Vec<Origin>,
    /// The header it goes into.
    pub header: HeaderForm,
}

/// The binding cannot be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BindingError {
    /// Not a header with one place for the value.
    #[error("the header must be a name, ': ' and a value with one {PLACE} in it, such as '{USUAL_FORM}'")]
    Header,
    /// A header that says how the request is read.
    #[error("this header says how a request is read; a secret goes into another, such as '{USUAL_FORM}'")]
    Meaning,
    /// None or too many.
    #[error("a secret has 1 to {ORIGINS} hosts, each once")]
    Hosts,
    /// Not a host.
    #[error("a host is wrong; it is a name, or http:// or https:// and a name")]
    Host(#[source] UrlError),
}

impl HeaderForm {
    /// Writes the header with the value in its place.
    pub(crate) fn write(&self, value: &SecretValue, out: &mut Vec<u8>) {
        for part in [&self.name, ": ", &self.before, value.expose(), &self.after] {
            out.extend(part.as_bytes());
        }
    }
}

impl Default for HeaderForm {
    fn default() -> Self {
        Self { name: "Authorization".into(), before: "Bearer ".into(), after: String::new() }
    }
}

impl FromStr for HeaderForm {
    type Err = BindingError;

    fn from_str(text: &str) -> Result<Self, BindingError> {
        let (name, value) = text.split_once(": ").ok_or(BindingError::Header)?;
        let (before, after) = value.split_once(PLACE).ok_or(BindingError::Header)?;
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        let is_plain = |text: &str| text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
        let fits = (1..=64).contains(&name.len())
            && name.bytes().all(is_token)
            && text.len() <= 256
            && is_plain(value)
            && !after.contains(PLACE);
        if !fits {
            return Err(BindingError::Header);
        }
        let meaning = ["host", "content-length", "transfer-encoding", "connection", "content-type", "te", "upgrade"];
        if meaning.contains(&name.to_ascii_lowercase().as_str()) {
            return Err(BindingError::Meaning);
        }
        Ok(Self { name: name.to_owned(), before: before.to_owned(), after: after.to_owned() })
    }
}

impl fmt::Display for HeaderForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}{PLACE}{}", self.name, self.before, self.after)
    }
}

impl TryFrom<String> for HeaderForm {
    type Error = BindingError;

    fn try_from(text: String) -> Result<Self, BindingError> {
        text.parse()
    }
}

impl From<HeaderForm> for String {
    fn from(form: HeaderForm) -> Self {
        form.to_string()
    }
}

impl Binding {
    /// The binding that these words mean. A host without a scheme is meant with TLS.
    pub fn from_words<'a>(
        hosts: impl IntoIterator<Item = &'a str>,
        header: Option<&str>,
    ) -> Result<Self, BindingError> {
        let whole = |host: &str| if host.contains("://") { host.to_owned() } else { format!("https://{host}") };
        let hosts = hosts.into_iter().map(|host| whole(host).parse().map_err(BindingError::Host));
        let hosts = hosts.collect::<Result<Vec<Origin>, _>>()?;
        let twice = hosts.iter().enumerate().any(|(place, host)| hosts[..place].contains(host));
        if hosts.is_empty() || hosts.len() > ORIGINS || twice {
            return Err(BindingError::Hosts);
        }
        Ok(Self { hosts, header: header.map_or(Ok(HeaderForm::default()), str::parse)? })
    }

    /// Whether the secret may be sent to `origin`.
    pub fn covers(&self, origin: &Origin) -> bool {
        self.hosts.contains(origin)
    }

    /// Whether it travels in the clear to one of its hosts.
    pub fn is_sent_in_the_clear(&self) -> bool {
        self.hosts.iter().any(|host| host.scheme() == Scheme::Http)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_value_cannot_end_its_header_and_has_no_text() {
        for wrong in ["short", "with\r\nHost: b", "with\nline", " padded-value", "nul\0inside", "häßlich-lang", ""] {
            assert!(wrong.parse::<SecretValue>().is_err(), "{wrong:?}");
        }
        assert!("x".repeat(LONGEST + 1).parse::<SecretValue>().is_err());
        let value: SecretValue = "canary-0123".parse().expect("a value");
        assert_eq!(format!("{value:?}"), "SecretValue");
    }

    #[test]
    fn a_header_has_one_place_and_says_nothing_about_the_request() {
        assert_eq!(USUAL_FORM.parse(), Ok(HeaderForm::default()));
        assert_eq!("X-Key: {}".parse::<HeaderForm>().map(|form| form.to_string()), Ok("X-Key: {}".to_owned()));
        for (text, expected) in [
            ("Authorization", BindingError::Header),
            ("Authorization: Bearer", BindingError::Header),
            ("A: {}{}", BindingError::Header),
            ("A b: {}", BindingError::Header),
            ("A: {}\r\nB: c", BindingError::Header),
            ("Host: {}", BindingError::Meaning),
            ("content-length: {}", BindingError::Meaning),
        ] {
            assert_eq!(text.parse::<HeaderForm>(), Err(expected), "{text}");
        }
    }

    #[test]
    fn a_secret_goes_to_its_hosts_and_in_the_clear_only_where_that_was_said() {
        let binding = Binding::from_words(["api.example", "http://10.0.2.2:8080"], None).expect("a binding");
        let covers = |origin: &str| binding.covers(&origin.parse().expect("an origin"));
        assert!(covers("https://api.example") && covers("http://10.0.2.2:8080"));
        assert!(!covers("http://api.example") && !covers("https://api.example:8443"));
        assert!(!covers("https://evil.api.example") && !covers("https://10.0.2.2:8080"));
        assert!(binding.is_sent_in_the_clear());
        let safe = Binding::from_words(["api.example"], None).expect("a binding");
        assert!(!safe.is_sent_in_the_clear());
        for wrong in [&[][..], &["a", "https://a"]] {
            assert_eq!(Binding::from_words(wrong.iter().copied(), None), Err(BindingError::Hosts));
        }
        assert!(matches!(Binding::from_words(["a/b"], None), Err(BindingError::Host(_))));
    }

    proptest! {
        #[test]
        fn any_header_is_refused_or_comes_back_as_itself(text in "[A-Za-z-]{0,9}:? ?[a-z {}\r\n]{0,20}|.{0,40}") {
            if let Ok(form) = text.parse::<HeaderForm>() {
                prop_assert_eq!(form.to_string(), text);
            }
        }

        #[test]
        fn a_written_header_is_one_line(text in ".{0,40}") {
            if let Ok(value) = text.parse::<SecretValue>() {
                let mut out = Vec::new();
                HeaderForm::default().write(&value, &mut out);
                prop_assert!(out.iter().all(|byte| (b' '..=b'~').contains(byte)));
            }
        }
    }
}
