//! The answer file: everything an installation asks, as TOML.
//!
//! Read in two steps: the file with its unknown keys refused, then [`Answers`], in which every value has its form. The
//! same file is good for a virtual machine, a real one and `cargo xtask disk`.

use std::fmt;

use aios_ids::{IdError, UnitName};
use aios_luks::PASS_PHRASE_LIMIT;
use aios_policy::operators::{HashError, Operator, Operators, OperatorsError, SALT_LENGTH, hash};
use aios_settings::{SettingError, Settings};
use aios_wire::init::Afterwards;
use serde::Deserialize;
use zeroize::Zeroizing;

/// The most that is read.
pub const LIMIT: usize = 64 * 1024;

/// The user id of the first operator, to whom PID 1 gives `/root`; `live` has the same and is never on the same machine.
const FIRST_OPERATOR: u32 = 1000;

/// A shorter pass phrase of the data is guessed by whoever has the disk.
const LEAST_PASS_PHRASE: usize = 8;

/// Checked answers. The operator's pass phrase is only kept as its hash.
#[derive(Debug, Clone)]
pub struct Answers {
    /// Which disk.
    pub disk: Selector,
    /// Whether a disk with something on it may be taken.
    pub existing: Existing,
    /// Whether the data partition is encrypted.
    pub data: Data,
    /// The people who can log in.
    pub operators: Operators,
    /// The machine's settings.
    pub settings: Settings,
    /// What comes after.
    pub after: Afterwards,
}

/// How a disk is chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// By its device file, such as `/dev/vda`.
    Path(String),
    /// By the serial number its maker gave it.
    Serial(String),
    /// The one disk that has nothing on it.
    OnlyEmpty,
}

/// What may happen to what is on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// It stays; the installation is refused.
    Keep,
    /// It is destroyed.
    Erase,
}

/// How the data lies on the disk.
#[derive(Debug, Clone)]
pub enum Data {
    /// As it is.
    Plain,
    /// Encrypted, and opened with this at every start.
    Encrypted(PassPhrase),
}

/// The pass phrase of the data, overwritten when it is dropped.
#[derive(Clone)]
pub struct PassPhrase(Zeroizing<String>);

impl PassPhrase {
    fn new(text: String) -> Result<Self, AnswersError> {
        let text = Zeroizing::new(text);
        let typed = (LEAST_PASS_PHRASE..=PASS_PHRASE_LIMIT).contains(&text.len());
        match typed && !text.chars().any(char::is_control) {
            true => Ok(Self(text)),
            false => Err(AnswersError::DataPassPhrase { bytes: text.len() }),
        }
    }

    /// What has to be typed.
    pub fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for PassPhrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PassPhrase")
    }
}

/// The answers cannot be used. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum AnswersError {
    /// Longer than [`LIMIT`].
    #[error("the answers are longer than {LIMIT} bytes")]
    TooLong,
    /// Not text.
    #[error("the answers are not UTF-8 text")]
    NotText,
    /// Not this TOML; the source shows the line.
    #[error("the answers cannot be read")]
    Form(#[from] toml::de::Error),
    /// A disk selector of no known form.
    #[error("disk = \"{}\" selects nothing: write \"/dev/NAME\", \"serial:NUMBER\" or \"only-empty\"", text.escape_default())]
    Selector {
        /// What was written.
        text: String,
    },
    /// The operator's name.
    #[error("the operator's name cannot be used")]
    Name(#[from] IdError),
    /// Both forms of the pass phrase, or neither.
    #[error("the answers need either pass_phrase or pass_phrase_hash for the operator, and not both")]
    PassPhrase,
    /// One for the data that is too short, too long, or not to be typed in one line.
    #[error(
        "data_pass_phrase needs {LEAST_PASS_PHRASE} to {PASS_PHRASE_LIMIT} bytes without control characters, and has {bytes}"
    )]
    DataPassPhrase {
        /// How many it has.
        bytes: usize,
    },
    /// A pass phrase that cannot be hashed.
    #[error("the operator's pass phrase cannot be used")]
    Hash(#[from] HashError),
    /// A hash that is not the system's.
    #[error("the operator cannot be used")]
    Operator(#[from] OperatorsError),
    /// The machine's name.
    #[error("the machine's name cannot be used")]
    Hostname(#[from] SettingError),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAnswers {
    disk: String,
    #[serde(default)]
    erase: bool,
    operator: String,
    pass_phrase: Option<String>,
    pass_phrase_hash: Option<String>,
    data_pass_phrase: Option<String>,
    hostname: Option<String>,
    #[serde(default)]
    after: RawAfter,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "lowercase")]
enum RawAfter {
    #[default]
    PowerOff,
    Reboot,
}

impl Answers {
    /// Reads the file. `salt` is fresh randomness for the pass phrase's hash.
    pub fn parse(bytes: &[u8], salt: &[u8; SALT_LENGTH]) -> Result<Self, AnswersError> {
        if bytes.len() > LIMIT {
            return Err(AnswersError::TooLong);
        }
        let raw: RawAnswers = toml::from_str(str::from_utf8(bytes).map_err(|_| AnswersError::NotText)?)?;
        let argon2id = match (raw.pass_phrase, raw.pass_phrase_hash) {
            (Some(text), None) => hash(&text, salt)?,
            (None, Some(hash)) => hash,
            _ => return Err(AnswersError::PassPhrase),
        };
        let name: UnitName = raw.operator.parse()?;
        let operators =
            Operators::new(vec![Operator { name, uid: FIRST_OPERATOR, argon2id, changes: 0, keys: Vec::new() }])?;
        let settings = match raw.hostname {
            Some(name) => Settings::default().with("hostname", &serde_json::Value::String(name))?,
            None => Settings::default(),
        };
        Ok(Self {
            disk: Selector::parse(&raw.disk)?,
            data: raw.data_pass_phrase.map_or(Ok(Data::Plain), |text| PassPhrase::new(text).map(Data::Encrypted))?,
            existing: if raw.erase { Existing::Erase } else { Existing::Keep },
            operators,
            settings,
            after: match raw.after {
                RawAfter::PowerOff => Afterwards::PowerOff,
                RawAfter::Reboot => Afterwards::Reboot,
            },
        })
    }
}

impl Selector {
    /// Reads the text form.
    pub fn parse(text: &str) -> Result<Self, AnswersError> {
        let wrong = || AnswersError::Selector { text: text.chars().take(80).collect() };
        let plain = |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/');
        match text.strip_prefix("/dev/") {
            Some(name) if plain(name) => Ok(Self::Path(text.to_owned())),
            _ if text == "only-empty" => Ok(Self::OnlyEmpty),
            _ => match text.strip_prefix("serial:") {
                Some(serial) if !serial.trim().is_empty() => Ok(Self::Serial(serial.trim().to_owned())),
                _ => Err(wrong()),
            },
        }
    }
}
