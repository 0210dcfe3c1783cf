//! The machine's settings: one typed value, and what makes a change to it acceptable.
//!
//! A [`Settings`] that exists is checked: every value has its form and the values fit together. People and messages name
//! single settings by key (`network.mode`); the keys are the struct's fields, so a key cannot exist without a type. Nothing
//! here reads a file or knows what a setting does to the machine.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

mod address;

pub use address::{AddressError, Subnet};

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
    /// The text consoles.
    pub console: Console,
}

/// How the machine reaches others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Network {
    /// Where the address comes from.
    pub mode: NetworkMode,
    /// The address in static mode.
    #[serde(with = "address::or_empty")]
    pub address: Option<Subnet>,
    /// The default gateway in static mode.
    #[serde(with = "address::or_empty")]
    pub gateway: Option<Ipv4Addr>,
    /// Name servers; in DHCP mode they come before the lease's.
    #[serde(with = "address::joined")]
    pub dns: Vec<Ipv4Addr>,
}

/// Where the machine's address comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkMode {
    /// From the network's DHCP server.
    #[default]
    Dhcp,
    /// From the settings.
    Static,
}

/// The text consoles.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Console {
    /// What stands above the login.
    pub banner: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            hostname: "aios".into(),
            timezone: "UTC".into(),
            keyboard: "us".into(),
            motd: "Programs propose, people decide. 'help' lists the commands.".into(),
            network: Network::default(),
            console: Console::default(),
        }
    }
}

impl Default for Console {
    fn default() -> Self {
        Self { banner: "AIOS".into() }
    }
}

/// Each key with the form of its value, in words that end "it must be …".
pub const KEYS: [(&str, &str); 9] = [
    ("console.banner", "a string of at most 512 characters without control characters, such as \"AIOS\""),
    ("hostname", "a string of 1 to 63 lower-case letters, digits and inner dashes, such as \"workshop\""),
    ("keyboard", "a string of 1 to 32 lower-case letters, digits, '-' and '_', such as \"us\""),
    ("motd", "a string of at most 4096 characters without control characters"),
    ("network.address", "a string such as \"192.0.2.10/24\", or \"\" for none"),
    ("network.dns", "a string of at most 3 addresses with a space between, such as \"192.0.2.53 192.0.2.54\""),
    ("network.gateway", "a string such as \"192.0.2.1\", or \"\" for none"),
    ("network.mode", "\"dhcp\" or \"static\""),
    ("timezone", "a string such as \"UTC\" or \"Europe/Berlin\""),
];

/// Resolvers read no more than three name servers.
const DNS_LIMIT: usize = 3;

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
    #[error("{key} cannot be {value}: it must be {form}")]
    Form {
        /// The setting.
        key: &'static str,
        /// What was given, shortened.
        value: String,
        /// What would do.
        form: &'static str,
    },
    /// The value is good alone and does not fit the others.
    #[error("{key} cannot be {value}: {reason}")]
    Unfit {
        /// The setting.
        key: &'static str,
        /// What was given, shortened.
        value: String,
        /// Which other setting is in the way, and what to try.
        reason: &'static str,
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
        let mut settings = Self::default();
        for (key, value) in values {
            settings = settings.with_form(key, value)?;
        }
        settings.check_fit()?;
        Ok(settings)
    }

    /// The value of one setting.
    pub fn get(&self, key: &str) -> Result<Value, SettingError> {
        let (key, _) = known(key)?;
        Ok(self.values().remove(key).expect("every known key is a field"))
    }

    /// These settings with one value replaced.
    pub fn with(&self, key: &str, value: &Value) -> Result<Self, SettingError> {
        let changed = self.with_form(key, value)?;
        changed.check_fit()?;
        Ok(changed)
    }

    /// The keys whose values differ in `other`.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let theirs = other.values();
        self.values().into_iter().filter(|(key, value)| theirs.get(key) != Some(value)).map(|(key, _)| key).collect()
    }

    fn with_form(&self, key: &str, value: &Value) -> Result<Self, SettingError> {
        let (key, form) = known(key)?;
        let refused = || SettingError::Form { key, value: shortened(value), form };
        let mut nested = serde_json::to_value(self).expect("settings are plain strings, lists and structs");
        *leaf(&mut nested, key) = value.clone();
        let changed: Self = serde_json::from_value(nested).map_err(|_| refused())?;
        if changed.has_form(key) { Ok(changed) } else { Err(refused()) }
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
            _ => true,
        }
    }

    /// Whether the values fit together.
    fn check_fit(&self) -> Result<(), SettingError> {
        let Network { mode, address, gateway, .. } = &self.network;
        match (mode, address, gateway) {
            (NetworkMode::Static, None, _) => Err(SettingError::Unfit {
                key: "network.mode",
                value: "\"static\"".into(),
                reason: "static mode needs an address; set network.address first",
            }),
            (NetworkMode::Static, Some(subnet), Some(gateway)) if !subnet.contains(*gateway) => {
                Err(SettingError::Unfit {
                    key: "network.gateway",
                    value: format!("\"{gateway}\""),
                    reason: "it is outside the network of network.address; in dhcp mode both can be changed one after the other",
                })
            }
            _ => Ok(()),
        }
    }
}

fn known(key: &str) -> Result<(&'static str, &'static str), SettingError> {
    KEYS.into_iter()
        .find(|(name, _)| *name == key)
        .ok_or_else(|| SettingError::UnknownKey { key: key.chars().take(80).flat_map(char::escape_default).collect() })
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
            ("network.mode", json!("DHCP")),
            ("network.address", json!("10.0.2.15")),
            ("network.address", json!("10.0.2.15/33")),
            ("network.address", json!("10.0.2.0/24")),
            ("network.gateway", json!("gateway")),
            ("network.dns", json!(["192.0.2.53"])),
            ("network.dns", json!("192.0.2.53,192.0.2.54")),
            ("network.dns", json!("192.0.2.53  192.0.2.54")),
            ("network.dns", json!("192.0.2.53\nsearch evil")),
            ("network.dns", json!("192.0.2.1 192.0.2.2 192.0.2.3 192.0.2.4")),
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
            assert!(text.contains("network.mode") && !text.contains('\u{1b}'), "{text}");
        }
    }

    #[test]
    fn static_mode_needs_an_address_and_a_reachable_gateway() {
        let settings = Settings::default();
        let error = settings.with("network.mode", &json!("static")).expect_err("no address");
        assert!(error.to_string().contains("set network.address first"), "{error}");

        let settings = settings.with("network.address", &json!("192.0.2.10/24")).expect("an address");
        let settings = settings.with("network.mode", &json!("static")).expect("now it fits");
        assert!(settings.with("network.gateway", &json!("192.0.2.1")).is_ok());
        assert!(settings.with("network.gateway", &json!("198.51.100.1")).is_err());
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
