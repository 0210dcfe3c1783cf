//! What a kernel configuration must hold: every row of the fragments, and every row of `required.toml` with its reason.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::error::{Error, Result};

/// `required.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Required {
    option: Vec<Row>,
}

/// One option that must hold.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    name: String,
    /// `y`, `n`, or the value as it stands in the configuration.
    value: String,
    reason: String,
}

impl Required {
    pub(super) fn parse(text: &str) -> Result<Self> {
        toml::from_str(text).map_err(|source| Error::library("kernel-config/required.toml is not understood", source))
    }
}

/// How many rows hold, or every one that does not.
pub(super) fn check(config: &str, fragments: &str, required: &Required) -> Result<usize> {
    let set = values(config);
    let asked = values(fragments);
    let value_of = |name: &str| set.get(name).copied().unwrap_or("n");
    let mut broken = Vec::new();
    for (name, value) in &asked {
        if value_of(name) != *value {
            broken.push(format!("{name} is {}, a fragment asks for {value}", value_of(name)));
        }
    }
    for row in &required.option {
        if value_of(&row.name) != row.value {
            let (name, value, reason) = (&row.name, &row.value, &row.reason);
            broken.push(format!("{name} is {}, required.toml wants {value}: {reason}", value_of(name)));
        }
    }
    if broken.is_empty() {
        return Ok(asked.len() + required.option.len());
    }
    Err(Error::refused(
        format!("the kernel's configuration does not hold:\n    {}", broken.join("\n    ")),
        "an option is dropped when one that it depends on is not set; look for `depends on` in the source's Kconfig",
    ))
}

/// Option and value of each line; `# X is not set` is `n`.
fn values(text: &str) -> BTreeMap<&str, &str> {
    let mut values = BTreeMap::new();
    for line in text.lines().map(str::trim) {
        let unset = line.strip_prefix("# ").and_then(|rest| rest.strip_suffix(" is not set"));
        match (unset, line.split_once('=')) {
            (Some(name), _) => values.insert(name, "n"),
            (None, Some((name, value))) if name.starts_with("CONFIG_") => values.insert(name, value),
            _ => None,
        };
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const REQUIRED: &str = "[[option]]\nname = \"CONFIG_KEXEC\"\nvalue = \"n\"\nreason = \"another kernel\"\n";

    #[test]
    fn dropped_and_changed_rows_are_named() {
        let required = Required::parse(REQUIRED).expect("understood");
        let fragments = "CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=\"text\"\n";
        assert_eq!(check("CONFIG_A=y\nCONFIG_C=\"text\"\n", fragments, &required).expect("all hold"), 4);
        let broken = check("CONFIG_B=y\nCONFIG_C=\"text\"\nCONFIG_KEXEC=y\n", fragments, &required).expect_err("three");
        let text = broken.to_string();
        for part in ["CONFIG_A is n", "CONFIG_B is y", "CONFIG_KEXEC is y, required.toml wants n: another kernel"] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn unknown_keys_are_refused() {
        let error = Required::parse("[[option]]\nname = \"A\"\nvalue = \"y\"\nwhy = \"\"\n").expect_err("why");
        assert!(std::error::Error::source(&error).expect("a cause").to_string().contains("why"));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".*") {
            let _ = values(&text);
            let _ = Required::parse(&text);
        }
    }
}
