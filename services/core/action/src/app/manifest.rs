//! What an app says about itself: JSON with no unknown key, each mistake told with its place.

use std::collections::BTreeSet;
use std::fmt;

use aios_ids::{Digest, UnitName};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::elf::{ProgramError, check_program};
use super::service::{Service, ServiceKind};
use crate::canonical::{self, StrictError};
use crate::catalogue;
use crate::parameter::{Kind, is_hostile};

/// A manifest is at most so long.
pub const MANIFEST_LIMIT: usize = 16 * 1024;

/// A program has at most so many bytes.
pub const PROGRAM_LIMIT: usize = 8 << 20;

const SCHEMA: &str = "aios.app.v1";
const PARTS: usize = 32;
const ARGUMENTS: usize = 16;
const NEEDS: usize = 16;
const TRIED: usize = 16;
const TESTS: usize = 8;
const INPUT_LIMIT: usize = 4096;

/// An app's manifest, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The app.
    pub name: UnitName,
    /// What it does, in the words of who made it.
    pub summary: String,
    /// Who made it and for what, in the same words.
    pub origin: String,
    /// The sandbox that it wants.
    pub tier: AppTier,
    /// What of that tier it wants to have opened.
    pub rights: BTreeSet<AppRight>,
    /// Its program.
    pub program: Program,
    /// What it is told when it runs.
    pub arguments: Vec<Argument>,
    /// The store paths that have to be there.
    pub needs: Vec<String>,
    /// Why the types that there are do not do.
    pub composition: Composition,
    /// What it has to do when it is tried.
    pub tests: Vec<Test>,
    /// How it runs as a service, if it can be one.
    pub service: Option<Service>,
    text: String,
}

/// The sandbox that an app wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AppTier {
    /// Quarantine for good: its arguments, its input, its output and memory.
    T0,
    /// A program that something of the machine is opened to.
    T1,
}

/// What can be opened to an app. There is no right to the network or to anybody's files: for these there are types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AppRight {
    /// Reading and running what is in the store.
    Store,
    /// Reading what the kernel says of its own processes.
    Processes,
    /// Devices without state: null, zero, full, random, urandom.
    Devices,
}

impl AppRight {
    /// Its word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Store => "store",
            Self::Processes => "processes",
            Self::Devices => "devices",
        }
    }
}

/// A program: the contents of objects, one after the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Program {
    /// The digest of the whole.
    pub sha256: Digest,
    /// The objects.
    pub parts: Vec<String>,
}

/// One argument of an app, by its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Argument {
    /// What it is.
    pub name: String,
    /// What it may be.
    pub form: Form,
}

/// What an argument may be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// Text of at most so many bytes.
    Text(usize),
    /// A whole number from the first to the second.
    Number(i64, i64),
    /// One of these words.
    Choice(Vec<String>),
}

/// What was thought of before a new program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Composition {
    /// The types of action that were tried.
    pub tried: Vec<String>,
    /// Why they do not do.
    pub why_not: String,
}

/// One test: what goes in and what has to come out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Test {
    /// The arguments.
    #[serde(default)]
    pub args: Vec<String>,
    /// The standard input.
    #[serde(default)]
    pub input: String,
    /// The exit status.
    #[serde(default)]
    pub status: u8,
    /// The digest of the standard output, when it matters.
    #[serde(default)]
    pub output_sha256: Option<Digest>,
}

/// As it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    schema: String,
    name: String,
    summary: String,
    origin: String,
    tier: AppTier,
    #[serde(default)]
    rights: Vec<AppRight>,
    program: Value,
    #[serde(default)]
    arguments: Vec<Value>,
    #[serde(default)]
    needs: Vec<String>,
    composition: Value,
    tests: Vec<Value>,
    #[serde(default)]
    service: Option<Value>,
}

/// The manifest cannot be taken, or the app not be run so.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// Too long.
    #[error("the manifest has {0} bytes; at most {MANIFEST_LIMIT} are read")]
    Size(usize),
    /// Not JSON.
    #[error("the manifest cannot be read")]
    Json(#[from] StrictError),
    /// Not of the form.
    #[error("the manifest's {place} cannot be read")]
    Form {
        /// Where.
        place: String,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// A value that is not right.
    #[error("the manifest's {place} must be {wanted}")]
    Value {
        /// Where.
        place: String,
        /// What would be right.
        wanted: String,
    },
    /// Too few or too many arguments.
    #[error("the app takes {wanted} arguments and {given} were given: {names}")]
    Count {
        /// How many it takes.
        wanted: usize,
        /// How many there are.
        given: usize,
        /// What they are.
        names: String,
    },
    /// An argument of another form.
    #[error("the app's argument '{name}' must be {form}")]
    Argument {
        /// Which.
        name: String,
        /// What would be right.
        form: Form,
    },
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(limit) => write!(f, "text of at most {limit} bytes without control characters"),
            Self::Number(least, most) => write!(f, "a whole number from {least} to {most}"),
            Self::Choice(words) => write!(f, "one of {}", words.join(", ")),
        }
    }
}

impl Form {
    fn accepts(&self, given: &str) -> bool {
        match self {
            Self::Text(limit) => given.len() <= *limit && !is_hostile(given),
            Self::Number(least, most) => {
                let number = given.parse::<i64>().ok().filter(|number| number.to_string() == given);
                number.is_some_and(|number| (*least..=*most).contains(&number))
            }
            Self::Choice(words) => words.iter().any(|word| word == given),
        }
    }

    fn is_right(&self) -> bool {
        match self {
            Self::Text(limit) => (1..=256).contains(limit),
            Self::Number(least, most) => least <= most,
            Self::Choice(words) => (1..=32).contains(&words.len()) && words.iter().all(|word| text(word, 1, 64)),
        }
    }
}

impl Manifest {
    /// Reads and checks a manifest.
    pub fn parse(written: &str) -> Result<Self, AppError> {
        if written.len() > MANIFEST_LIMIT {
            return Err(AppError::Size(written.len()));
        }
        let value = canonical::parse(written)?;
        let canonical = canonical::write(&value);
        let raw: Raw = part(value, "keys")?;
        require(raw.schema == SCHEMA, "schema", SCHEMA)?;
        let name = raw.name.parse().map_err(|_| wrong("name", Kind::Name.form()))?;
        require(text(&raw.summary, 1, 200), "summary", "1 to 200 bytes of text")?;
        require(text(&raw.origin, 1, 300), "origin", "1 to 300 bytes of text")?;
        let rights: BTreeSet<_> = raw.rights.iter().copied().collect();
        require(rights.len() == raw.rights.len(), "rights", "rights of which none stands twice")?;
        let fits = (raw.tier == AppTier::T0) == rights.is_empty();
        require(fits, "tier", "T0 without rights, or T1 with the rights that the app needs")?;
        let program: Program = part(raw.program, "program")?;
        let parts = program.parts.len();
        let named = program.parts.iter().all(|name| Kind::ObjectName.accepts(&name.as_str().into()));
        require((1..=PARTS).contains(&parts) && named, "program.parts", "the names of 1 to 32 objects")?;
        let arguments: Vec<Argument> = each(raw.arguments, "arguments", ARGUMENTS)?;
        for (number, argument) in arguments.iter().enumerate() {
            let good = text(&argument.name, 1, 32) && argument.form.is_right();
            require(good, format!("arguments[{number}]"), "a name and a form with limits that make sense")?;
        }
        let needs = raw.needs;
        let paths = needs.iter().all(|path| Kind::StorePath.accepts(&path.as_str().into()));
        require(needs.len() <= NEEDS && paths, "needs", "at most 16 store paths, /nix/store/<hash>-<name>")?;
        require(needs.is_empty() || rights.contains(&AppRight::Store), "needs", "empty without the right 'store'")?;
        let composition: Composition = part(raw.composition, "composition")?;
        let known = composition.tried.iter().all(|tried| catalogue::find(tried).is_some());
        let some = (1..=TRIED).contains(&composition.tried.len());
        require(
            some && known,
            "composition.tried",
            "1 to 16 types of action that there are, as 'aios action types' has them",
        )?;
        require(text(&composition.why_not, 1, 500), "composition.why_not", "1 to 500 bytes of text")?;
        let tests: Vec<Test> = each(raw.tests, "tests", TESTS)?;
        require(!tests.is_empty(), "tests", "1 to 8 tests")?;
        let service: Option<Service> = raw.service.map(|service| part(service, "service")).transpose()?;
        let manifest = Self {
            name,
            summary: raw.summary,
            origin: raw.origin,
            tier: raw.tier,
            rights,
            program,
            arguments,
            needs,
            composition,
            tests,
            service,
            text: canonical,
        };
        if let Some(service) = &manifest.service {
            require(service.is_right(), "service", "one with 512 bytes of args, 512 MiB and 64 processes at most")?;
            let fits = service.kind == ServiceKind::Plain || manifest.rights.is_empty();
            require(fits, "service.kind", "plain for an app with rights: an agent has its door and nothing else")?;
            manifest
                .check_arguments(&service.args)
                .map_err(|error| wrong("service.args", format!("ones that the app takes: {error}")))?;
        }
        for (number, test) in manifest.tests.iter().enumerate() {
            let place = format!("tests[{number}]");
            require(test.input.len() <= INPUT_LIMIT, place.clone(), "one with at most 4096 bytes of input")?;
            manifest
                .check_arguments(&test.args)
                .map_err(|error| wrong(place, format!("one that the app takes: {error}")))?;
        }
        Ok(manifest)
    }

    /// Its one text (RFC 8785).
    pub fn canonical(&self) -> &str {
        &self.text
    }

    /// SHA-256 of the canonical text. The program's digest is in it, so this one names the whole app.
    pub fn digest(&self) -> Digest {
        Digest::of(self.text.as_bytes())
    }

    /// Whether these bytes are the program that the manifest names, and one that can run.
    pub fn check_program(&self, program: &[u8]) -> Result<(), ProgramError> {
        if program.len() > PROGRAM_LIMIT {
            return Err(ProgramError::Large);
        }
        let (wanted, found) = (self.program.sha256, Digest::of(program));
        if wanted != found {
            return Err(ProgramError::Other { wanted, found });
        }
        Ok(check_program(program)?)
    }

    /// Whether the app may be run with these arguments.
    pub fn check_arguments<S: AsRef<str>>(&self, given: &[S]) -> Result<(), AppError> {
        if given.len() != self.arguments.len() {
            let names: Vec<_> = self.arguments.iter().map(|argument| argument.name.as_str()).collect();
            let names = if names.is_empty() { "it takes none".into() } else { names.join(", ") };
            return Err(AppError::Count { wanted: self.arguments.len(), given: given.len(), names });
        }
        for (argument, given) in self.arguments.iter().zip(given) {
            if !argument.form.accepts(given.as_ref()) {
                return Err(AppError::Argument { name: argument.name.clone(), form: argument.form.clone() });
            }
        }
        Ok(())
    }
}

fn wrong(place: impl Into<String>, wanted: impl Into<String>) -> AppError {
    AppError::Value { place: place.into(), wanted: wanted.into() }
}

fn require(holds: bool, place: impl Into<String>, wanted: &str) -> Result<(), AppError> {
    if holds { Ok(()) } else { Err(wrong(place, wanted)) }
}

fn part<T: DeserializeOwned>(value: Value, place: &str) -> Result<T, AppError> {
    serde_json::from_value(value).map_err(|source| AppError::Form { place: place.to_owned(), source })
}

fn each<T: DeserializeOwned>(values: Vec<Value>, place: &str, most: usize) -> Result<Vec<T>, AppError> {
    require(values.len() <= most, place, &format!("at most {most} of them"))?;
    values.into_iter().enumerate().map(|(number, value)| part(value, &format!("{place}[{number}]"))).collect()
}

fn text(text: &str, least: usize, most: usize) -> bool {
    (least..=most).contains(&text.len()) && !is_hostile(text)
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    pub(crate) fn written() -> Value {
        json!({
            "schema": "aios.app.v1",
            "name": "greeter",
            "summary": "Greets",
            "origin": "written by hand for a test",
            "tier": "T0",
            "program": {"sha256": Digest::of(b"program"), "parts": ["apps/greeter"]},
            "arguments": [
                {"name": "whom", "form": {"text": 16}},
                {"name": "how often", "form": {"number": [1, 9]}},
                {"name": "how", "form": {"choice": ["loud", "soft"]}},
            ],
            "composition": {"tried": ["file.read"], "why_not": "it greets nobody"},
            "tests": [{"args": ["ada", "2", "loud"], "status": 0, "output_sha256": Digest::of(b"ada")}],
        })
    }

    fn changed(change: impl FnOnce(&mut Value)) -> Result<Manifest, AppError> {
        let mut value = written();
        change(&mut value);
        Manifest::parse(&value.to_string())
    }

    fn told(change: impl FnOnce(&mut Value)) -> String {
        let error = changed(change).expect_err("not a right manifest");
        let source = std::error::Error::source(&error).map_or_else(String::new, |source| format!(": {source}"));
        format!("{error}{source}")
    }

    #[test]
    fn the_digest_is_of_the_meaning_and_not_of_the_spaces() {
        let manifest = Manifest::parse(&written().to_string()).expect("right");
        let pretty = serde_json::to_string_pretty(&written()).expect("text keys");
        assert_eq!(Manifest::parse(&pretty).expect("right").digest(), manifest.digest());
        assert_eq!(Manifest::parse(manifest.canonical()).expect("reads back"), manifest);
        let other = changed(|value| value["program"]["sha256"] = json!(Digest::of(b"other"))).expect("right");
        assert_ne!(other.digest(), manifest.digest());
    }

    #[test]
    fn each_mistake_is_told_with_its_place() {
        for (told, place) in [
            (told(|value| value["sudo"] = json!(true)), "keys cannot be read: unknown field `sudo`"),
            (told(|value| value["tests"][0]["exit"] = json!(1)), "tests[0] cannot be read: unknown field `exit`"),
            (told(|value| value["program"]["path"] = json!("/")), "program cannot be read: unknown field `path`"),
            (told(|value| value["arguments"][1]["form"] = json!({"file": 1})), "arguments[1] cannot be read"),
            (told(|value| value["rights"] = json!(["network"])), "unknown variant `network`"),
            (told(|value| value["rights"] = json!(["store"])), "tier must be T0 without rights"),
            (told(|value| value["tier"] = json!("T1")), "tier must be T0 without rights"),
            (told(|value| value["tier"] = json!("T3")), "unknown variant `T3`"),
            (told(|value| value["name"] = json!("../x")), "name must be"),
            (told(|value| value["program"]["parts"] = json!([])), "program.parts must be"),
            (told(|value| value["program"]["parts"] = json!(["../a"])), "program.parts must be"),
            (told(|value| value["composition"]["tried"] = json!([])), "composition.tried must be"),
            (told(|value| value["composition"]["tried"] = json!(["shell.run"])), "composition.tried must be"),
            (told(|value| value["tests"] = json!([])), "tests must be 1 to 8 tests"),
            (told(|value| value["tests"][0]["args"] = json!(["ada"])), "tests[0] must be one that the app takes"),
            (told(|value| value["summary"] = json!("a\u{202e}b")), "summary must be"),
            (told(|value| value["schema"] = json!("aios.app.v2")), "schema must be aios.app.v1"),
            (
                told(|value| value["needs"] = json!(["/nix/store/0123456789abcdfghijklmnpqrsvwxyz-hello-1.0"])),
                "needs must be empty without the right 'store'",
            ),
            (told(|value| value["service"] = json!({"args": ["ada"]})), "service.args must be ones that the app takes"),
            (told(|value| value["service"] = json!({"user": "root"})), "service cannot be read"),
            (told(|value| value["service"] = json!({"kind": "system"})), "unknown variant `system`"),
            (
                told(|value| {
                    value["tier"] = json!("T1");
                    value["rights"] = json!(["processes"]);
                    value["service"] = json!({"kind": "agent", "args": ["a", "1", "soft"]});
                }),
                "service.kind must be plain for an app with rights",
            ),
            (
                told(|value| value["service"] = json!({"args": ["a", "1", "soft"], "processes": 65})),
                "service must be one",
            ),
        ] {
            assert!(told.contains(place), "{told}");
        }
        let twice =
            written().to_string().replacen("\"name\":\"greeter\"", "\"name\":\"greeter\",\"name\":\"other\"", 1);
        assert!(matches!(Manifest::parse(&twice), Err(AppError::Json(_))));
        assert!(matches!(Manifest::parse(&" ".repeat(MANIFEST_LIMIT + 1)), Err(AppError::Size(_))));
    }

    #[test]
    fn arguments_have_their_forms() {
        let manifest = Manifest::parse(&written().to_string()).expect("right");
        assert!(manifest.check_arguments(&["ada", "9", "soft"]).is_ok());
        for wrong in [["a\nb", "1", "soft"], ["ada", "10", "soft"], ["ada", "+1", "soft"], ["ada", "1", "both"]] {
            assert!(matches!(manifest.check_arguments(&wrong), Err(AppError::Argument { .. })), "{wrong:?}");
        }
        assert!(matches!(manifest.check_arguments(&["ada"]), Err(AppError::Count { .. })));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in ".{0,300}", at in 0usize..600, byte in any::<u8>()) {
            let _ = Manifest::parse(&text);
            let mut bytes = written().to_string().into_bytes();
            let at = at % bytes.len();
            bytes[at] = byte;
            let _ = String::from_utf8(bytes).map(|text| Manifest::parse(&text));
        }
    }
}
