//! The machine's settings: one typed value, and what makes a change to it acceptable.
//!
//! A [`Settings`] that exists is checked: every value has its form and the values fit together. People and messages name
//! single settings by key (`network.links`); the keys are the struct's fields, so a key cannot exist without a type. Nothing
//! here reads a file or knows what a setting does to the machine.

use std::collections::BTreeMap;
use std::net::IpAddr;

use aios_fetch::{AllowList, Proxy, Root};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

mod address;
mod inet;
pub mod keyboard;
mod links;
pub mod migrate;
mod server;
mod source;

pub use address::{AddressError, Subnet};
pub use inet::{Destination, Inet, InetError};
pub use links::{Clause, LinkMode, LinkName, Links, LinksError, Rank, Route, Which};
pub use server::{ServerError, TimeServer};
pub use source::{ReleaseSource, SourceError};

/// Everything about the machine that a person may choose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The machine's name.
    pub hostname: String,
    /// The IANA name of the time zone.
    pub timezone: String,
    /// The console's keyboard layout.
    pub keyboard: String,
    /// What a person reads after logging in.
    pub motd: String,
    /// How the machine reaches others.
    pub network: Network,
    /// Whom `http.fetch` may ask.
    pub fetch: Fetch,
    /// The text consoles.
    pub console: Console,
    /// Newer releases of the system itself.
    pub update: Update,
}

/// How the machine reaches others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Network {
    /// What each link should have.
    #[serde(with = "address::text")]
    pub links: Links,
    /// Name servers; they come before those of leases and routers.
    #[serde(with = "address::joined")]
    pub dns: Vec<IpAddr>,
    /// The way to the open network where there is no direct one.
    #[serde(with = "address::optional")]
    pub proxy: Option<Proxy>,
    /// Time servers; they take the place of those of leases.
    #[serde(with = "address::joined")]
    pub time: Vec<TimeServer>,
}

/// Whom `http.fetch` may ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Fetch {
    /// The hosts, each with its methods.
    #[serde(with = "address::text")]
    pub allow: AllowList,
    /// Whom TLS believes.
    #[serde(with = "address::joined")]
    pub roots: Vec<Root>,
}

impl Default for Fetch {
    fn default() -> Self {
        Self { allow: AllowList::default(), roots: vec![Root::Public] }
    }
}

/// The text consoles.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Console {
    /// What stands above the login.
    pub banner: String,
}

/// Newer releases of the system itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Update {
    /// Where they are looked for when nobody says where.
    #[serde(with = "address::optional")]
    pub source: Option<ReleaseSource>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            hostname: "aios".into(),
            timezone: "UTC".into(),
            keyboard: "us".into(),
            motd: "Programs propose, people decide.".into(),
            network: Network::default(),
            fetch: Fetch::default(),
            console: Console::default(),
            update: Update::default(),
        }
    }
}

impl Default for Console {
    fn default() -> Self {
        Self { banner: "AIOS".into() }
    }
}

/// Each key with the form of its value, in words that end "it must be …".
pub const KEYS: [(&str, &str); 12] = [
    ("console.banner", "a string of at most 512 characters without control characters, such as \"AIOS\""),
    (
        "fetch.allow",
        "a string such as \"GET,HEAD https://api.example.org; POST http://192.0.2.7:8080\", or \"\" for nobody: methods of \
         GET, HEAD and POST, one space, scheme and host, '; ' between, hosts in lower-case letters, no default ports",
    ),
    (
        "fetch.roots",
        "a string of at most 4 words with a space between, each \"public\" for the public certification authorities or the \
         base64 of a certificate in DER, or \"\" for nobody",
    ),
    ("hostname", "a string of 1 to 63 lower-case letters, digits and inner dashes, such as \"workshop\""),
    ("keyboard", "a string of 1 to 32 lower-case letters, digits, '-' and '_', such as \"us\""),
    ("motd", "a string of at most 4096 characters without control characters"),
    ("network.dns", "a string of at most 3 addresses with a space between, such as \"192.0.2.53 2001:db8::53\""),
    (
        "network.links",
        "a string such as \"eth0 static 192.0.2.10/24 via 192.0.2.1; eth0.20 dhcp; * off\", or \"\" for DHCP everywhere",
    ),
    ("network.proxy", "a string such as \"http://192.0.2.7:3128\" with a numeric address and a port, or \"\" for none"),
    ("network.time", "a string of at most 4 names or addresses with a space between, or \"\" for those of the lease"),
    ("timezone", "a string such as \"UTC\" or \"Europe/Berlin\""),
    ("update.source", "a string such as \"http://192.0.2.7:8000/releases\" or \"/run/usb/release\", or \"\" for none"),
];

/// Resolvers read no more than three name servers.
const DNS_LIMIT: usize = 3;

/// More authorities of one's own than anybody has.
const ROOTS_LIMIT: usize = 4;

/// One more than is needed to outvote one that is wrong.
const TIME_LIMIT: usize = 4;

/// Why a setting cannot be read or changed. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// No setting has this key.
    #[error("there is no setting '{key}'; the settings are {}", key_names())]
    UnknownKey {
        /// What was asked for, made harmless.
        key: String,
    },
    /// The value does not have the setting's form.
    #[error("{key} cannot be {value}: {}it must be {form}", reason.as_ref().map(|reason| format!("{reason}; ")).unwrap_or_default())]
    Form {
        /// The setting.
        key: &'static str,
        /// What was given, shortened.
        value: String,
        /// What is wrong with it, where there is more to say than its form.
        reason: Option<Box<LinksError>>,
        /// What would do.
        form: &'static str,
    },
    /// The value would be kept in another spelling, and nobody could say that what was asked for is what is there.
    #[error("{key} cannot be {value}: here it is written {spelled}")]
    Spelling {
        /// The setting.
        key: &'static str,
        /// What was given, shortened.
        value: String,
        /// The same as it is kept.
        spelled: String,
    },
}

fn key_names() -> String {
    KEYS.map(|(key, _)| key).join(", ")
}

impl Settings {
    /// Every value by its key.
    pub fn values(&self) -> BTreeMap<String, Value> {
        let mut values = BTreeMap::new();
        let nested = serde_json::to_value(self).expect("settings are plain strings, lists and structs");
        flatten("", nested, &mut values);
        values
    }

    /// The settings that have these values; keys that are absent have their defaults.
    pub fn from_values(values: &BTreeMap<String, Value>) -> Result<Self, SettingError> {
        values.iter().try_fold(Self::default(), |settings, (key, value)| settings.with(key, value))
    }

    /// The value of one setting.
    pub fn get(&self, key: &str) -> Result<Value, SettingError> {
        let (key, _) = known(key)?;
        Ok(self.values().remove(key).expect("every known key is a field"))
    }

    /// These settings with one value replaced.
    pub fn with(&self, key: &str, value: &Value) -> Result<Self, SettingError> {
        let (key, form) = known(key)?;
        let refused = || SettingError::Form { key, value: shortened(value), reason: reason(key, value), form };
        let mut nested = serde_json::to_value(self).expect("settings are plain strings, lists and structs");
        *leaf(&mut nested, key) = value.clone();
        let changed: Self = serde_json::from_value(nested).map_err(|_| refused())?;
        if !changed.has_form(key) {
            return Err(refused());
        }
        match changed.get(key)? {
            kept if kept == *value => Ok(changed),
            kept => Err(SettingError::Spelling { key, value: shortened(value), spelled: shortened(&kept) }),
        }
    }

    /// The keys whose values differ in `other`.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let theirs = other.values();
        self.values().into_iter().filter(|(key, value)| theirs.get(key) != Some(value)).map(|(key, _)| key).collect()
    }

    /// What the type of a field does not say about its form.
    fn has_form(&self, key: &str) -> bool {
        match key {
            "hostname" => is_host_name(&self.hostname),
            "timezone" => is_time_zone(&self.timezone),
            "keyboard" => is_word(&self.keyboard),
            "motd" => is_text(&self.motd, 4096),
            "console.banner" => is_text(&self.console.banner, 512),
            "network.dns" => self.network.dns.len() <= DNS_LIMIT,
            "fetch.roots" => self.fetch.roots.len() <= ROOTS_LIMIT,
            "network.time" => self.network.time.len() <= TIME_LIMIT,
            _ => true,
        }
    }
}

fn known(key: &str) -> Result<(&'static str, &'static str), SettingError> {
    KEYS.into_iter()
        .find(|(name, _)| *name == key)
        .ok_or_else(|| SettingError::UnknownKey { key: key.chars().take(80).flat_map(char::escape_default).collect() })
}

fn reason(key: &str, value: &Value) -> Option<Box<LinksError>> {
    let line = value.as_str().filter(|_| key == "network.links")?;
    line.parse::<Links>().err().map(Box::new)
}

fn leaf<'a>(nested: &'a mut Value, key: &str) -> &'a mut Value {
    key.split('.').fold(nested, |value, part| &mut value[part])
}

fn flatten(prefix: &str, value: Value, values: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(fields) => flatten_fields(prefix, fields, values),
        leaf => {
            values.insert(prefix.to_owned(), leaf);
        }
    }
}

fn flatten_fields(prefix: &str, fields: Map<String, Value>, values: &mut BTreeMap<String, Value>) {
    for (name, value) in fields {
        let key = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
        flatten(&key, value, values);
    }
}

/// JSON text escapes what a terminal would obey; what is long is cut.
fn shortened(value: &Value) -> String {
    let text = value.to_string();
    let cut: String = text
        .chars()
        .take(80)
        .flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] })
        .collect();
    if text.chars().count() > 80 { format!("{cut}…") } else { cut }
}

fn is_host_name(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn is_time_zone(text: &str) -> bool {
    let is_part =
        |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+-".contains(&b));
    text.len() <= 64 && text.split('/').all(is_part)
}

fn is_word(text: &str) -> bool {
    (1..=32).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
}

fn is_text(text: &str, limit: usize) -> bool {
    text.chars().count() <= limit && !text.chars().any(|c| c.is_control() && c != '\n')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn every_field_has_a_key_and_a_form() {
        let fields: Vec<String> = Settings::default().values().into_keys().collect();
        assert_eq!(fields, KEYS.map(|(key, _)| key.to_owned()));
    }

    #[test]
    fn the_defaults_are_acceptable() {
        let defaults = Settings::default();
        assert_eq!(Settings::from_values(&defaults.values()), Ok(defaults));
    }

    #[test]
    fn a_value_has_one_spelling() {
        let refused = Settings::default().with("network.dns", &json!("2001:0DB8::53")).expect_err("another spelling");
        assert!(refused.to_string().contains("here it is written \"2001:db8::53\""), "{refused}");
        Settings::default().with("network.dns", &json!("2001:db8::53")).expect("the one spelling");
    }

    #[test]
    fn a_change_changes_one_value() {
        let before = Settings::default();
        let after = before.with("hostname", &json!("workshop")).expect("a good name");
        assert_eq!(after.get("hostname"), Ok(json!("workshop")));
        assert_eq!(before.differences(&after), ["hostname"]);
    }

    #[test]
    fn bad_values_are_refused_with_the_form_that_would_do() {
        for (key, value) in [
            ("hostname", json!("")),
            ("hostname", json!("-a")),
            ("hostname", json!("a b")),
            ("hostname", json!("a\n127.0.0.1 evil")),
            ("hostname", json!("Ä")),
            ("hostname", json!("a".repeat(64))),
            ("hostname", json!(7)),
            ("hostname", json!(null)),
            ("timezone", json!("../../etc/shadow")),
            ("timezone", json!("/UTC")),
            ("keyboard", json!("us;reboot")),
            ("motd", json!("\u{1b}[2J")),
            ("motd", json!("x".repeat(4097))),
            ("console.banner", json!(["AIOS"])),
            ("fetch.allow", json!("GET https://a.example/path")),
            ("fetch.allow", json!("https://a.example")),
            ("fetch.roots", json!("private")),
            ("fetch.roots", json!("public public public public public")),
            ("network.links", json!("DHCP")),
            ("network.links", json!("eth0 static 10.0.2.15")),
            ("network.links", json!("eth0 static 10.0.2.15/33")),
            ("network.links", json!("eth0 static 10.0.2.15/24 via gateway")),
            ("network.links", json!({"eth0": "dhcp"})),
            ("network.proxy", json!("http://proxy.example:3128")),
            ("network.proxy", json!("http://192.0.2.7")),
            ("network.proxy", json!("http://ada:phrase@192.0.2.7:3128")),
            ("network.time", json!("a b c d e")),
            ("network.time", json!("time.example\nother")),
            ("network.time", json!("-x")),
            ("network.dns", json!(["192.0.2.53"])),
            ("network.dns", json!("192.0.2.53,192.0.2.54")),
            ("network.dns", json!("192.0.2.53  192.0.2.54")),
            ("network.dns", json!("192.0.2.53\nsearch evil")),
            ("network.dns", json!("192.0.2.1 192.0.2.2 192.0.2.3 192.0.2.4")),
            ("update.source", json!("https://releases.example/")),
            ("update.source", json!("http://releases.example/")),
            ("update.source", json!("releases")),
        ] {
            match Settings::default().with(key, &value) {
                Err(error @ SettingError::Form { .. }) => {
                    assert!(error.to_string().starts_with(key), "{error}");
                    assert!(!error.to_string().contains(['\u{1b}', '\n']), "{error}");
                }
                other => panic!("{key} = {value}: {other:?}"),
            }
        }
    }

    #[test]
    fn an_unknown_key_names_the_known_ones() {
        for key in ["host", "", "network", "network.", "motd.text", "\u{1b}[0m"] {
            let text = Settings::default().with(key, &json!("x")).expect_err("no such key").to_string();
            assert!(text.contains("network.links") && !text.contains('\u{1b}'), "{text}");
        }
    }

    #[test]
    fn a_refused_line_of_links_says_what_and_what_would_do() {
        let error =
            Settings::default().with("network.links", &json!("eth0 static")).expect_err("no address").to_string();
        let words = "network.links cannot be \"eth0 static\": 'eth0' is static and has no address: write one behind it";
        assert!(error.starts_with(words) && error.contains("it must be a string such as"), "{error}");
    }

    proptest! {
        #[test]
        fn any_json_is_refused_or_kept_as_it_is(key in 0..KEYS.len(), text in ".{0,80}") {
            let key = KEYS[key].0;
            let value = serde_json::from_str(&text).unwrap_or(Value::String(text));
            if let Ok(changed) = Settings::default().with(key, &value) {
                prop_assert_eq!(changed.get(key), Ok(value));
            }
        }
    }
}
