//! What a kernel must be told: every row of the fragments, and every row of `required.toml` with its reason.
//!
//! Three places are compared: the finished configuration, the command line sealed in our images, and, by a test of PID 1,
//! the settings it writes before the first service. A row that is not kept is an exception with its own reason, and an
//! exception that is no longer one is refused too, so the list stays true.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Deserialize;

use crate::error::{Error, Result};

/// The least share of applicable rows that must be kept, in percent.
const LEAST: usize = 95;

/// `required.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Required {
    /// Options of the kernel's configuration.
    option: Vec<Row>,
    /// Words of the sealed command line.
    parameter: Vec<Row>,
    /// What PID 1 writes below `/proc/sys`.
    setting: Vec<Row>,
}

/// One thing that must hold.
#[derive(Debug, Deserialize)]
#[serde(try_from = "RawRow")]
struct Row {
    name: String,
    /// `y`, `n`, or the value as it stands in the place where it is set.
    value: String,
    group: String,
    reason: String,
    standing: Standing,
}

/// Whether a row is kept.
#[derive(Debug, PartialEq, Eq)]
enum Standing {
    Kept,
    /// Advised and not followed, for this reason.
    Exception(String),
    /// Cannot be had with our compiler or processor family, for this reason; not counted.
    Unavailable(String),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRow {
    name: String,
    value: String,
    group: String,
    reason: String,
    exception: Option<String>,
    unavailable: Option<String>,
}

impl TryFrom<RawRow> for Row {
    type Error = String;

    fn try_from(raw: RawRow) -> Result<Self, String> {
        let RawRow { name, value, group, reason, exception, unavailable } = raw;
        let standing = match (exception, unavailable) {
            (None, None) => Standing::Kept,
            (Some(why), None) => Standing::Exception(why),
            (None, Some(why)) => Standing::Unavailable(why),
            (Some(_), Some(_)) => return Err(format!("{name} is both an exception and unavailable")),
        };
        Ok(Self { name, value, group, reason, standing })
    }
}

/// Everything that a kernel was told, and what there is to tell.
pub(super) struct Told<'a> {
    /// The finished configuration.
    pub(super) config: &'a str,
    /// What the fragments ask for.
    pub(super) fragments: &'a str,
    /// The options that the source knows.
    pub(super) known: &'a BTreeSet<String>,
    /// The words of the command line that every image of ours has.
    pub(super) line: &'a str,
}

/// What was compared and holds.
#[derive(Debug)]
pub(super) struct Report<'a> {
    asked: usize,
    /// Kept and all applicable rows, by group.
    groups: BTreeMap<&'a str, (usize, usize)>,
    exceptions: Vec<(&'a Row, &'a str)>,
    unavailable: Vec<(&'a Row, &'a str)>,
}

impl Required {
    pub(super) fn parse(text: &str) -> Result<Self> {
        toml::from_str(text).map_err(|source| Error::library("kernel-config/required.toml is not understood", source))
    }

    fn rows(&self) -> impl Iterator<Item = &Row> {
        self.option.iter().chain(&self.parameter).chain(&self.setting)
    }
}

/// What holds, or every row that does not.
pub(super) fn check<'a>(told: &Told<'_>, required: &'a Required) -> Result<Report<'a>> {
    let set = values(told.config);
    let asked = values(told.fragments);
    let words = words(told.line);
    let option = |name: &str| set.get(name).copied().unwrap_or("n");
    let mut broken = Vec::new();
    for (name, value) in &asked {
        if !known(name, told.known) {
            broken.push(format!("{name}, which a fragment asks for, is no option of this source"));
        } else if option(name) != *value {
            broken.push(format!("{name} is {}, a fragment asks for {value}", option(name)));
        }
    }
    for row in &required.option {
        if known(&row.name, told.known) {
            broken.extend(row.compare(option(&row.name)));
        } else {
            broken.push(format!("{}, which required.toml names, is no option of this source", row.name));
        }
    }
    for row in &required.parameter {
        broken.extend(row.compare(words.get(row.name.as_str()).copied().unwrap_or("not on the command line")));
    }
    for (word, value) in &words {
        if !required.parameter.iter().any(|row| row.name == *word) {
            broken.push(format!("{word}={value} is on the command line and required.toml has no row for it"));
        }
    }
    let report = Report::of(required, asked.len());
    if report.percent() < LEAST {
        broken.push(format!("{} % of the rows are kept; {LEAST} % is the least", report.percent()));
    }
    if broken.is_empty() {
        return Ok(report);
    }
    Err(Error::refused(
        format!("what the kernel is told does not hold:\n    {}", broken.join("\n    ")),
        "an option is dropped when one that it depends on is not set; look for `depends on` in the source's Kconfig",
    ))
}

impl Row {
    /// What is wrong when this is the value that was found.
    fn compare(&self, found: &str) -> Option<String> {
        let Self { name, value, reason, .. } = self;
        match (&self.standing, found == value) {
            (Standing::Kept, false) => Some(format!("{name} is {found}, required.toml wants {value}: {reason}")),
            (Standing::Exception(_) | Standing::Unavailable(_), true) => {
                Some(format!("{name} is {value} as advised, and required.toml still calls it an exception"))
            }
            (Standing::Kept, true) | (Standing::Exception(_) | Standing::Unavailable(_), false) => None,
        }
    }
}

impl<'a> Report<'a> {
    fn of(required: &'a Required, asked: usize) -> Self {
        let mut report = Self { asked, groups: BTreeMap::new(), exceptions: Vec::new(), unavailable: Vec::new() };
        for row in required.rows() {
            let (kept, all) = report.groups.entry(&row.group).or_default();
            match &row.standing {
                Standing::Kept => (*kept, *all) = (*kept + 1, *all + 1),
                Standing::Exception(why) => {
                    *all += 1;
                    report.exceptions.push((row, why));
                }
                Standing::Unavailable(why) => report.unavailable.push((row, why)),
            }
        }
        report
    }

    fn percent(&self) -> usize {
        let (kept, all) = self.groups.values().fold((0, 0), |sum, group| (sum.0 + group.0, sum.1 + group.1));
        (kept * 100).checked_div(all).unwrap_or(100)
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} options of the fragments hold", self.asked)?;
        for (group, (kept, all)) in &self.groups {
            writeln!(f, "  {group:<12} {kept:>3} of {all}")?;
        }
        writeln!(f, "{} % of the applicable rows of required.toml are kept", self.percent())?;
        for (title, rows) in [("not followed", &self.exceptions), ("not to be had", &self.unavailable)] {
            for (row, why) in rows {
                writeln!(f, "  {title}: {} = {}: {why}", row.name, row.value)?;
            }
        }
        Ok(())
    }
}

/// The options that a Kconfig file declares.
pub(super) fn declared(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        matches!(words.next(), Some("config" | "menuconfig")).then(|| words.next()).flatten()
    })
}

fn known(name: &str, known: &BTreeSet<String>) -> bool {
    name.strip_prefix("CONFIG_").is_some_and(|name| known.contains(name))
}

/// Option and value of each line; `# X is not set` is `n`.
pub(super) fn values(text: &str) -> BTreeMap<&str, &str> {
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

/// Word and value of a command line; a word alone has the value `y`.
fn words(line: &str) -> BTreeMap<&str, &str> {
    line.split_whitespace().map(|word| word.split_once('=').unwrap_or((word, "y"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn row(name: &str, more: &str) -> String {
        format!("name = \"{name}\"\nvalue = \"n\"\ngroup = \"off\"\nreason = \"another kernel\"\n{more}\n")
    }

    fn required(option: &str, parameter: &str) -> Result<Required> {
        Required::parse(&format!("setting = []\n{parameter}\n[[option]]\n{option}"))
    }

    /// The text of the complaint about a configuration, or nothing.
    fn complaint(config: &str, fragments: &str, line: &str, required: &Required) -> String {
        let known = ["A", "B", "C", "KEXEC"].map(str::to_owned).into();
        let told = Told { config, fragments, known: &known, line };
        check(&told, required).map_or_else(|error| error.to_string(), |_| String::new())
    }

    #[test]
    fn dropped_and_changed_rows_are_named() {
        let required = required(&row("CONFIG_KEXEC", ""), "parameter = []").expect("understood");
        let fragments = "CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=\"text\"\n";
        assert_eq!(complaint("CONFIG_A=y\nCONFIG_C=\"text\"\n", fragments, "", &required), "");
        let text = complaint("CONFIG_B=y\nCONFIG_C=\"text\"\nCONFIG_KEXEC=y\n", fragments, "", &required);
        for part in ["CONFIG_A is n", "CONFIG_B is y", "CONFIG_KEXEC is y, required.toml wants n: another kernel"] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn names_that_the_source_does_not_know_are_refused() {
        // Both hold by value: what is unknown is never set.
        let required = required(&row("CONFIG_KEXECC", ""), "parameter = []").expect("understood");
        let text = complaint("", "CONFIG_AA=n\n", "", &required);
        assert!(text.contains("CONFIG_AA, which a fragment asks for, is no option"), "{text}");
        assert!(text.contains("CONFIG_KEXECC, which required.toml names, is no option"), "{text}");
    }

    #[test]
    fn an_exception_lasts_as_long_as_it_is_one() {
        let options: String = (0..30).map(|_| format!("{}\n[[option]]\n", row("CONFIG_A", ""))).collect();
        let required = required(&(options + &row("CONFIG_KEXEC", "exception = \"wanted\"")), "parameter = []");
        let required = required.expect("understood");
        assert_eq!(complaint("CONFIG_KEXEC=y\n", "", "", &required), "");
        assert!(complaint("", "", "", &required).contains("still calls it an exception"));
        let known = ["A", "KEXEC"].map(str::to_owned).into();
        let told = Told { config: "CONFIG_KEXEC=y\n", fragments: "", known: &known, line: "" };
        let report = check(&told, &required).expect("holds").to_string();
        assert!(report.contains("96 %") && report.contains("CONFIG_KEXEC = n: wanted"), "{report}");
    }

    #[test]
    fn too_many_exceptions_are_refused() {
        let required = required(&row("CONFIG_KEXEC", "exception = \"wanted\""), "parameter = []").expect("understood");
        assert!(complaint("CONFIG_KEXEC=y\n", "", "", &required).contains("0 % of the rows are kept"));
    }

    #[test]
    fn the_command_line_is_compared_both_ways() {
        let parameter = format!("[[parameter]]\n{}", row("vsyscall", ""));
        let required = required(&row("CONFIG_A", ""), &parameter).expect("understood");
        assert_eq!(complaint("", "", "vsyscall=n", &required), "");
        assert!(complaint("", "", "", &required).contains("vsyscall is not on the command line"));
        assert!(complaint("", "", "vsyscall=n debug", &required).contains("debug=y is on the command line"));
    }

    #[test]
    fn unknown_keys_are_refused() {
        let error = required(&row("CONFIG_A", "why = \"\""), "parameter = []").expect_err("why");
        assert!(std::error::Error::source(&error).expect("a cause").to_string().contains("why"));
        let both = row("CONFIG_A", "exception = \"a\"\nunavailable = \"b\"");
        assert!(required(&both, "parameter = []").is_err());
    }

    #[test]
    fn declarations_are_found() {
        let text = "menu \"x\"\nconfig A\n\tbool \"config B\"\n\tdepends on C\nmenuconfig D # e\n";
        assert_eq!(declared(text).collect::<Vec<_>>(), ["A", "D"]);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".*") {
            let _ = values(&text);
            let _ = words(&text);
            let _ = declared(&text).count();
            let _ = Required::parse(&text);
        }
    }
}
