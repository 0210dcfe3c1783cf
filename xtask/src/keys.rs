//! `cargo xtask keys`: the keys that sign what we build, and the public halves that machines know.
//!
//! The folder lies outside the tree. On first use it is made with keys for development and marked as such; a key folder
//! without that mark is somebody's own, and nothing is ever made in it. Secure Boot and TPM policies need RSA, which
//! openssl makes; releases and policy bundles are signed with Ed25519: one line of 64 hexadecimal digits a file, the seed
//! in `.key`, the public key in `.pub`. The private halves may be elsewhere ([`Signer`]).

mod make;
mod rotate;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use aios_ids::Digest;
use aios_image::authenticode::Certificate;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ed25519_dalek::{Signature, VerifyingKey};

use crate::cache::user_folder;
use crate::error::{Error, OnFile, Result};
use crate::signer::{Algorithm, Signer, VARIABLE};
use crate::tool::Tool;

/// In the folder while its keys are the ones made here.
const MARK: &str = "DEVELOPMENT-KEYS";

const MARK_TEXT: &str = "These keys were made by `cargo xtask` on this machine, without any protection. Whoever has them\n\
                         can sign for every machine that trusts them. They are for development.\n";

/// A key, by what it signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Name {
    /// Changes of the exchange key.
    Platform,
    /// Changes of what may boot.
    Exchange,
    /// What boots.
    Programs,
    /// TPM policies of an installed system.
    PcrInstalled,
    /// TPM policies of the live system.
    PcrLive,
    /// TPM policies of the recovery image.
    PcrRecovery,
    /// Releases and sums.
    Release,
    /// Policy bundles.
    Policy,
}

/// How the public half of a key is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A certificate, `NAME.pem`.
    Certificate,
    /// A public RSA key, `NAME.pem`.
    PublicRsa,
    /// An Ed25519 key, `NAME.pub`.
    Ed25519,
}

impl Name {
    pub(crate) const ALL: [Self; 8] = [
        Self::Platform,
        Self::Exchange,
        Self::Programs,
        Self::PcrInstalled,
        Self::PcrLive,
        Self::PcrRecovery,
        Self::Release,
        Self::Policy,
    ];

    /// As its files are called and as a program that signs is told.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Platform => "PK",
            Self::Exchange => "KEK",
            Self::Programs => "db",
            Self::PcrInstalled => "pcr-installed",
            Self::PcrLive => "pcr-live",
            Self::PcrRecovery => "pcr-recovery",
            Self::Release => "release",
            Self::Policy => "policy",
        }
    }

    fn kind(self) -> Kind {
        match self {
            Self::Platform | Self::Exchange | Self::Programs => Kind::Certificate,
            Self::PcrInstalled | Self::PcrLive | Self::PcrRecovery => Kind::PublicRsa,
            Self::Release | Self::Policy => Kind::Ed25519,
        }
    }

    fn signs(self) -> &'static str {
        match self {
            Self::Platform => "the exchange key",
            Self::Exchange => "what may boot",
            Self::Programs => "what boots",
            Self::PcrInstalled => "TPM policies of an installed system",
            Self::PcrLive => "TPM policies of the live system",
            Self::PcrRecovery => "TPM policies of the recovery image",
            Self::Release => "releases and sums",
            Self::Policy => "policy bundles",
        }
    }

    fn public_file(self) -> String {
        match self.kind() {
            Kind::Certificate | Kind::PublicRsa => format!("{}.pem", self.word()),
            Kind::Ed25519 => format!("{}.pub", self.word()),
        }
    }

    fn algorithm(self) -> Algorithm {
        match self.kind() {
            Kind::Certificate | Kind::PublicRsa => Algorithm::Rsa,
            Kind::Ed25519 => Algorithm::Ed25519,
        }
    }
}

/// Whether keys protect anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Made here, without protection.
    Development,
    /// Somebody's own.
    Release,
}

/// The key folder, complete and usable.
pub(crate) struct Keys {
    folder: PathBuf,
    signer: Signer,
}

/// What `cargo xtask keys` does beyond showing them.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Makes a new key in place of one; the old one is kept beside.
    Rotate {
        /// The key, as `cargo xtask keys` calls it.
        name: String,
    },
}

impl Keys {
    /// The keys of this user; on first use they are made.
    pub(crate) fn open() -> Result<Self> {
        let folder = user_folder("AIOS_KEYS", "XDG_DATA_HOME", ".local/share", "aios/keys")?;
        let signer = Signer::of_user(&folder);
        Self::open_at(folder, signer)
    }

    fn open_at(folder: PathBuf, signer: Signer) -> Result<Self> {
        if !folder.is_dir() {
            if let Signer::Program(program) = &signer {
                return Err(Error::refused(
                    format!("there is no key folder {}, and {} signs", folder.display(), program.display()),
                    "set AIOS_KEYS to a folder with the public halves: PK.pem, KEK.pem, db.pem and so on",
                ));
            }
            make::folder(&folder)?;
        }
        let keys = Self { folder, signer };
        for name in Name::ALL {
            if !keys.folder.join(name.public_file()).is_file() {
                keys.make_missing(name)?;
            }
            keys.check(name)?;
        }
        Ok(keys)
    }

    /// Development keys in this folder.
    #[cfg(test)]
    pub(crate) fn for_tests(folder: &Path) -> Self {
        Self::open_at(folder.to_owned(), Signer::Files(folder.to_owned())).expect("keys can be made")
    }

    fn make_missing(&self, name: Name) -> Result<()> {
        if self.purpose() == Purpose::Development && matches!(self.signer, Signer::Files(_)) {
            return make::key(&self.folder, name);
        }
        Err(Error::refused(
            format!(
                "{} lacks {}, the public half of the key for {}",
                self.folder.display(),
                name.public_file(),
                name.signs()
            ),
            format!("put it there; keys are made only in a folder with the file {MARK}"),
        ))
    }

    /// Refuses a key of the wrong type and one whose time is over.
    fn check(&self, name: Name) -> Result<()> {
        let path = self.folder.join(name.public_file());
        match name.kind() {
            Kind::Certificate => {
                let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                self.certificate_of(name)?
                    .check(clock.as_secs().cast_signed())
                    .map_err(|source| Error::library(format!("{} cannot be used", path.display()), source))
            }
            Kind::PublicRsa => {
                let described = Tool::new("openssl").args(["rsa", "-pubin", "-noout", "-text", "-in"]).arg(&path);
                match described.output() {
                    Ok(text) if text.contains("2048 bit") => Ok(()),
                    Ok(_) => Err(Error::refused(
                        format!("{} is no RSA key of 2048 bits, the kind that every TPM checks", path.display()),
                        "",
                    )),
                    Err(source) => Err(Error::library(format!("{} is no public RSA key", path.display()), source)),
                }
            }
            Kind::Ed25519 => self.ed25519(name).map(|_| ()),
        }
    }

    /// What these keys are for.
    pub(crate) fn purpose(&self) -> Purpose {
        if self.folder.join(MARK).exists() { Purpose::Development } else { Purpose::Release }
    }

    /// The file of a key's certificate, or of its public half.
    pub(crate) fn public(&self, name: Name) -> PathBuf {
        self.folder.join(name.public_file())
    }

    /// The certificate of a Secure Boot key.
    pub(crate) fn certificate_of(&self, name: Name) -> Result<Certificate> {
        let path = self.public(name);
        let der = unarmoured(&path, "CERTIFICATE")?;
        Certificate::parse(&der).map_err(|source| Error::library(format!("{} cannot be used", path.display()), source))
    }

    /// The public half of an RSA key as TPM policies name it: its PKCS #1 form.
    pub(crate) fn rsa_fingerprint(&self, name: Name) -> Result<Digest> {
        let work = tempfile::tempdir().on("make a folder in", &std::env::temp_dir())?;
        let der = work.path().join("der");
        Tool::new("openssl")
            .args(["rsa", "-pubin", "-RSAPublicKey_out", "-outform", "DER", "-in"])
            .arg(self.public(name))
            .arg("-out")
            .arg(&der)
            .run()?;
        Ok(Digest::of(&fs::read(&der).on("read", &der)?))
    }

    /// An Ed25519 key's public half.
    pub(crate) fn ed25519(&self, name: Name) -> Result<VerifyingKey> {
        let path = self.public(name);
        VerifyingKey::from_bytes(&read_hex(&path)?)
            .map_err(|source| Error::library(format!("{} is no Ed25519 key", path.display()), source))
    }

    /// A key's signature over these bytes, confirmed by its public half.
    pub(crate) fn sign(&self, name: Name, message: &[u8]) -> Result<Vec<u8>> {
        let signature = self.signer.sign(name.word(), name.algorithm(), message)?;
        let confirmed = match name.kind() {
            Kind::Certificate | Kind::PublicRsa => self.rsa_confirms(name, message, &signature)?,
            Kind::Ed25519 => {
                let signature = Signature::from_slice(&signature);
                signature.is_ok_and(|signature| {
                    self.ed25519(name).is_ok_and(|key| key.verify_strict(message, &signature).is_ok())
                })
            }
        };
        if confirmed {
            return Ok(signature);
        }
        let (private, hint) = match &self.signer {
            Signer::Files(_) => (format!("{}.key", name.word()), "the two files do not belong together".to_owned()),
            Signer::Program(program) => {
                (program.display().to_string(), format!("{VARIABLE} must sign with the key that is asked for"))
            }
        };
        let public = self.public(name);
        Err(Error::refused(format!("{} does not confirm the signature of {private}", public.display()), hint))
    }

    /// The same for Ed25519, whose signatures have one length.
    pub(crate) fn sign_ed25519(&self, name: Name, message: &[u8]) -> Result<[u8; 64]> {
        let signature = self.sign(name, message)?;
        let length = signature.len();
        signature
            .try_into()
            .map_err(|_| Error::refused(format!("a signature of key {} has {length} bytes, not 64", name.word()), ""))
    }

    fn rsa_confirms(&self, name: Name, message: &[u8], signature: &[u8]) -> Result<bool> {
        let work = tempfile::tempdir().on("make a folder in", &std::env::temp_dir())?;
        let [input, output, key] = ["message", "signature", "key"].map(|file| work.path().join(file));
        fs::write(&input, message).on("write", &input)?;
        fs::write(&output, signature).on("write", &output)?;
        let public = match name.kind() {
            Kind::Certificate => {
                let text =
                    Tool::new("openssl").args(["x509", "-pubkey", "-noout", "-in"]).arg(self.public(name)).output()?;
                fs::write(&key, text).on("write", &key)?;
                key
            }
            Kind::PublicRsa | Kind::Ed25519 => self.public(name),
        };
        let verify = Tool::new("openssl").args(["dgst", "-sha256", "-verify"]).arg(&public);
        Ok(verify.arg("-signature").arg(&output).arg(&input).run().is_ok())
    }

    fn show(&self) -> Result<()> {
        let kind = match self.purpose() {
            Purpose::Development => "development keys: nobody should trust them",
            Purpose::Release => "keys of your own",
        };
        println!("{} ({kind})", self.folder.display());
        match &self.signer {
            Signer::Files(_) => println!("private halves: files beside the public ones"),
            Signer::Program(program) => println!("private halves: {} signs", program.display()),
        }
        for name in Name::ALL {
            let (what, fingerprint) = match name.kind() {
                Kind::Certificate => {
                    let certificate = self.certificate_of(name)?;
                    (format!("RSA, until {}", certificate.last_day()), Digest::of(certificate.der()).to_string())
                }
                Kind::PublicRsa => ("RSA".to_owned(), self.rsa_fingerprint(name)?.to_string()),
                Kind::Ed25519 => ("Ed25519".to_owned(), hex(self.ed25519(name)?.as_bytes())),
            };
            println!("  {:<14} {:<36} {what:<22} {fingerprint}", name.word(), name.signs());
        }
        Ok(())
    }
}

/// Shows the keys, or changes one.
pub(crate) fn run(command: Option<Command>) -> Result<()> {
    let keys = Keys::open()?;
    match command {
        None => keys.show(),
        Some(Command::Rotate { name }) => keys.rotate(&name),
    }
}

/// The content of a PEM file that has this kind of content only.
fn unarmoured(path: &Path, label: &str) -> Result<Vec<u8>> {
    let text = fs::read_to_string(path).on("read", path)?;
    let (begin, end) = (format!("-----BEGIN {label}-----"), format!("-----END {label}-----"));
    let body = text.split_once(&begin).and_then(|(_, rest)| rest.split_once(&end)).map(|(body, _)| body);
    let body: String = body.unwrap_or_default().split_whitespace().collect();
    match BASE64_STANDARD.decode(body) {
        Ok(der) if !der.is_empty() => Ok(der),
        _ => Err(Error::refused(format!("{} is no PEM file with one {label}", path.display()), "")),
    }
}

fn hex(bytes: &[u8; 32]) -> String {
    Digest::from_bytes(*bytes).to_string()
}

/// 32 bytes, written as one line of 64 digits.
pub(crate) fn read_hex(path: &Path) -> Result<[u8; 32]> {
    let text = fs::read_to_string(path).on("read", path)?;
    let digits: Digest = text
        .trim()
        .parse()
        .map_err(|source| Error::library(format!("{} is no key of 64 hexadecimal digits", path.display()), source))?;
    Ok(*digits.as_bytes())
}

#[cfg(test)]
mod tests;
