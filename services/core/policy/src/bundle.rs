//! A bundle: the rules of a machine, their epoch and their own test cases, signed as one file.
//!
//! The sources are a folder of `*.cedar` files and `bundle.toml`. [`pack`] makes the file; [`Bundle::open`] takes it only
//! if the expected key signed it, it was written for this system's schema, every rule is sound and every case comes out
//! as it says. What is open can be asked; nothing else can.

use aios_ids::Digest;
use aios_wire::policy::{CaseReport, Times};
use serde::{Deserialize, Serialize};

use crate::cases::{self, About, Approvals, Case, CaseError};
use crate::request::SCHEMA;
use crate::rules::{RuleError, Rules};
use crate::seal::{self, SealError, SigningError};

/// The form's version.
const FORMAT: &str = "aios.policy.v1";

/// The file of the epoch and the test cases among the sources.
const ABOUT_FILE: &str = "bundle.toml";

/// How many digits of the digest an epoch has.
const DIGITS: usize = 12;

/// A policy that can be asked.
pub struct Bundle {
    epoch: Epoch,
    digest: Digest,
    signer: String,
    times: Times,
    files: Vec<RuleFile>,
    cases: Vec<Case>,
    rules: Rules,
}

/// What a policy is named by: its number, which orders policies, and digits of its digest, which tell two apart that were
/// given the same number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Epoch {
    number: u64,
    text: String,
}

impl Epoch {
    fn of(number: u64, digest: Digest) -> Self {
        Self { number, text: format!("{number}-{}", &digest.to_string()[..DIGITS]) }
    }

    /// Reads what [`Epoch::as_str`] gives.
    pub fn parse(text: &str) -> Option<Self> {
        let (number, digits) = text.split_once('-')?;
        let good = digits.len() == DIGITS && digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let epoch = Self { number: number.parse().ok()?, text: text.to_owned() };
        (good && epoch.text == format!("{}-{digits}", epoch.number)).then_some(epoch)
    }

    /// The policy's number.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The whole, as records and approvals have it.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    format: String,
    epoch: u64,
    schema: Digest,
    rules: Vec<RuleFile>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    approvals: Option<Approvals>,
    cases: Vec<Case>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleFile {
    name: String,
    text: String,
}

/// A bundle cannot be made or used.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// Whoever holds the key did not sign.
    #[error("the bundle was not signed")]
    Signing(#[source] SigningError),
    /// Not signed as it must be.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// Signed, and not a bundle.
    #[error("the bundle's content cannot be read")]
    Content(#[source] serde_json::Error),
    /// Another version of the form.
    #[error("the bundle has the form '{0}'; this system reads {FORMAT}")]
    Format(String),
    /// Written with another schema in mind.
    #[error("the bundle was written for another schema of actions; pack it again with the sources of this release")]
    Schema,
    /// A rule is wrong.
    #[error("a rule cannot be used")]
    Rule(#[from] RuleError),
    /// The test cases cannot be read, or one comes out otherwise.
    #[error("the bundle's own test cases do not hold")]
    Case(#[from] CaseError),
    /// A source file that means nothing here.
    #[error("'{0}' does not belong in a policy: there are *.cedar files and {ABOUT_FILE}")]
    Source(String),
    /// No rules or no cases.
    #[error("a policy needs at least one *.cedar file and {ABOUT_FILE} with an epoch and at least one case")]
    Empty,
}

/// Makes the signed file from sources of (file name, text). What this returns, [`Bundle::open`] takes.
pub fn pack<'a>(
    sources: impl IntoIterator<Item = (&'a str, &'a str)>,
    seed: &[u8; 32],
) -> Result<Vec<u8>, BundleError> {
    pack_signed_by(sources, &seal::public_key(seed), |bytes| Ok(seal::sign(bytes, seed)))
}

/// The same for a key whose private half is elsewhere: `sign` gets the bytes and returns the signature of `key`.
pub fn pack_signed_by<'a>(
    sources: impl IntoIterator<Item = (&'a str, &'a str)>,
    key: &[u8; 32],
    sign: impl FnOnce(&[u8]) -> Result<[u8; 64], SigningError>,
) -> Result<Vec<u8>, BundleError> {
    let mut rules = Vec::new();
    let mut about = None;
    for (name, text) in sources {
        match name {
            ABOUT_FILE => about = Some(cases::read(text)?),
            rule if rule.ends_with(".cedar") => rules.push(RuleFile { name: rule.into(), text: text.into() }),
            other => return Err(BundleError::Source(other.into())),
        }
    }
    let Some(About { epoch, approvals, cases }) = about else { return Err(BundleError::Empty) };
    if rules.is_empty() || cases.is_empty() {
        return Err(BundleError::Empty);
    }
    // The order in which a folder was read must not change the file.
    rules.sort_by(|a, b| a.name.cmp(&b.name));
    let schema = Digest::of(SCHEMA.as_bytes());
    let content = Content { format: FORMAT.into(), epoch, schema, rules, approvals, cases };
    let content = serde_json::to_string(&content).expect("the content has only text keys");
    let bytes = seal::seal(&content, key, sign).map_err(BundleError::Signing)?;
    Bundle::open(&bytes, key)?;
    Ok(bytes)
}

impl Bundle {
    /// Opens a bundle that `key` signed.
    pub fn open(bytes: &[u8], key: &[u8; 32]) -> Result<Self, BundleError> {
        let text = seal::open(bytes, key)?;
        let content: Content = serde_json::from_str(text).map_err(BundleError::Content)?;
        if content.format != FORMAT {
            return Err(BundleError::Format(content.format.chars().take(40).flat_map(char::escape_default).collect()));
        }
        if content.schema != Digest::of(SCHEMA.as_bytes()) {
            return Err(BundleError::Schema);
        }
        let rules = Rules::compile(content.rules.iter().map(|file| (file.name.as_str(), file.text.as_str())))?;
        let digest = Digest::of(bytes);
        let bundle = Self {
            epoch: Epoch::of(content.epoch, digest),
            digest,
            signer: seal::hex(key),
            times: content.approvals.map_or_else(|| Ok(Times::default()), Approvals::times)?,
            files: content.rules,
            cases: content.cases,
            rules,
        };
        cases::run(&bundle, &bundle.cases)?;
        Ok(bundle)
    }

    /// What approvals and records name this policy by.
    pub fn epoch(&self) -> &str {
        self.epoch.as_str()
    }

    /// The same with its number.
    pub fn exact_epoch(&self) -> &Epoch {
        &self.epoch
    }

    /// The SHA-256 of the file.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// How long requests for approval are good for.
    pub fn times(&self) -> Times {
        self.times
    }

    /// What comes of each of its own test cases.
    pub fn test(&self) -> Vec<CaseReport> {
        cases::report(self, &self.cases)
    }

    /// How many rules and test cases it has.
    pub fn counts(&self) -> (usize, usize) {
        (self.rules.count(), self.cases.len())
    }

    /// The key that signed it, in hexadecimal.
    pub fn signer(&self) -> &str {
        &self.signer
    }

    /// The rules as they were written.
    pub fn text(&self) -> String {
        self.files.iter().map(|file| format!("// {}\n\n{}\n", file.name, file.text)).collect()
    }

    pub(crate) fn rules(&self) -> &Rules {
        &self.rules
    }
}
