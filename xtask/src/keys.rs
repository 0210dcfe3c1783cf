//! `cargo xtask keys`: the keys that sign what we build. Outside the tree, made on first use, marked as development keys.
//!
//! Secure Boot needs RSA and X.509 (`PK`, `KEK`, `db`), which openssl makes. Releases and policy bundles are signed with
//! Ed25519: one line of 64 hexadecimal digits a file, the seed in `.key`, the public key in `.pub`.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ed25519_dalek::SigningKey;

use crate::cache::{digest_of, user_folder};
use crate::error::{Error, OnFile, Result};
use crate::tool::Tool;

/// In the folder while its keys are the ones made here.
const MARK: &str = "DEVELOPMENT-KEYS";

const MARK_TEXT: &str = "These keys were made by `cargo xtask` on this machine, without any protection. Whoever has them\n\
                         can sign for every machine that trusts them. They are for development.\n";

/// The key folder, complete.
pub(crate) struct Keys {
    folder: PathBuf,
}

/// Names of the Secure Boot keys: platform, exchange, and the one that signs what boots.
const SECURE_BOOT: [&str; 3] = ["PK", "KEK", "db"];

/// Names of the Ed25519 keys.
const SIGNING: [&str; 2] = ["release", "policy"];

impl Keys {
    /// The keys of this user; those that do not exist are made.
    pub(crate) fn open() -> Result<Self> {
        Self::open_at(user_folder("AIOS_KEYS", "XDG_DATA_HOME", ".local/share", "aios/keys")?)
    }

    fn open_at(folder: PathBuf) -> Result<Self> {
        if !folder.is_dir() {
            let mut builder = fs::DirBuilder::new();
            builder.recursive(true).mode(0o700).create(&folder).on("make", &folder)?;
            let mark = folder.join(MARK);
            fs::write(&mark, MARK_TEXT).on("write", &mark)?;
            eprintln!("made a folder for development keys: {}", folder.display());
        }
        for name in SECURE_BOOT {
            if !folder.join(format!("{name}.pem")).is_file() {
                make_certificate(&folder, name)?;
            }
        }
        for name in SIGNING {
            make_signing_key(&folder, name)?;
        }
        Ok(Self { folder })
    }

    /// Whether these are the keys made for development.
    pub(crate) fn are_for_development(&self) -> bool {
        self.folder.join(MARK).exists()
    }

    /// The certificate of a Secure Boot key.
    pub(crate) fn certificate(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.pem"))
    }

    /// The private half of a Secure Boot key.
    pub(crate) fn private(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.key"))
    }

    /// The seed of an Ed25519 key.
    pub(crate) fn seed(&self, name: &str) -> Result<[u8; 32]> {
        read_hex(&self.folder.join(format!("{name}.key")))
    }

    /// The public half of an Ed25519 key, a file of one line.
    pub(crate) fn public(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.pub"))
    }
}

/// Shows the keys.
pub(crate) fn run() -> Result<()> {
    let keys = Keys::open()?;
    let kind = if keys.are_for_development() { " (development keys)" } else { "" };
    println!("{}{kind}", keys.folder.display());
    for name in SECURE_BOOT {
        let path = keys.certificate(name);
        println!("  {name:<8} certificate, SHA-256 of the file {}", digest_of(&path)?);
    }
    for name in SIGNING {
        let path = keys.public(name);
        println!("  {name:<8} Ed25519 {}", fs::read_to_string(&path).on("read", &path)?.trim());
    }
    Ok(())
}

/// Makes a self-signed certificate whose dates are fixed: a build machine's wrong clock must not make keys that no
/// firmware accepts.
fn make_certificate(folder: &Path, name: &str) -> Result<()> {
    let work = tempfile::tempdir_in(folder).on("make a folder in", folder)?;
    let config = work.path().join("ca.conf");
    let text = format!(
        "[ca]\ndefault_ca = own\n[own]\ndatabase = {0}/index\nnew_certs_dir = {0}\nrand_serial = yes\npolicy = any\n\
         x509_extensions = extensions\n[any]\ncommonName = supplied\n[extensions]\nbasicConstraints = critical, CA:{1}\n\
         [req]\ndistinguished_name = name\n[name]\n",
        work.path().display(),
        // The key that signs programs signs no other certificates.
        if name == "db" { "FALSE" } else { "TRUE" },
    );
    fs::write(&config, text).on("write", &config)?;
    let index = work.path().join("index");
    fs::write(&index, "").on("write", &index)?;
    let key = work.path().join("key");
    let request = work.path().join("request");
    let subject = format!("/CN=AIOS development {name}/");
    Tool::new("openssl")
        .args(["req", "-new", "-newkey", "rsa:2048", "-nodes", "-sha256", "-subj", &subject, "-config"])
        .arg(&config)
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&request)
        .run()?;
    let certificate = work.path().join("certificate");
    Tool::new("openssl")
        .args(["ca", "-batch", "-selfsign", "-notext", "-md", "sha256", "-config"])
        .arg(&config)
        .args(["-startdate", "20240101000000Z", "-enddate", "20540101000000Z", "-keyfile"])
        .arg(&key)
        .arg("-in")
        .arg(&request)
        .arg("-out")
        .arg(&certificate)
        .run()?;
    // The certificate last: it is what says that the pair is complete.
    for (from, to) in [(&key, format!("{name}.key")), (&certificate, format!("{name}.pem"))] {
        fs::rename(from, folder.join(to)).on("move", from)?;
    }
    Ok(())
}

fn make_signing_key(folder: &Path, name: &str) -> Result<()> {
    let secret = folder.join(format!("{name}.key"));
    if !secret.exists() {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|source| Error::library("the kernel gives no random bytes", source))?;
        let mut options = fs::File::options();
        let mut file = options.write(true).create_new(true).mode(0o600).open(&secret).on("make", &secret)?;
        writeln!(file, "{}", hex(&seed)).on("write", &secret)?;
    }
    let public = folder.join(format!("{name}.pub"));
    if !public.exists() {
        let key = SigningKey::from_bytes(&read_hex(&secret)?);
        fs::write(&public, format!("{}\n", hex(&key.verifying_key().to_bytes()))).on("write", &public)?;
    }
    Ok(())
}

fn hex(bytes: &[u8; 32]) -> String {
    aios_ids::Digest::from_bytes(*bytes).to_string()
}

fn read_hex(path: &Path) -> Result<[u8; 32]> {
    let text = fs::read_to_string(path).on("read", path)?;
    let digits: aios_ids::Digest = text
        .trim()
        .parse()
        .map_err(|source| Error::library(format!("{} is no key of 64 hexadecimal digits", path.display()), source))?;
    Ok(*digits.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_made_once_and_kept() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let place = folder.path().join("keys");
        let keys = Keys::open_at(place.clone()).expect("made");
        assert!(keys.are_for_development());
        let before = (keys.seed("release").expect("seed"), digest_of(&keys.certificate("db")).expect("db"));
        let again = Keys::open_at(place).expect("opened");
        assert_eq!(before, (again.seed("release").expect("seed"), digest_of(&again.certificate("db")).expect("db")));
        let public = fs::read_to_string(again.public("release")).expect("public");
        assert_eq!(public.trim(), hex(&SigningKey::from_bytes(&before.0).verifying_key().to_bytes()));
        assert_ne!(before.0, again.seed("policy").expect("seed"));
    }
}
