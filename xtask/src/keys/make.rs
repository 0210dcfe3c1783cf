//! Makes keys for development.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use ed25519_dalek::SigningKey;

use super::{Kind, MARK, MARK_TEXT, Name, hex, read_hex};
use crate::error::{Error, OnFile, Result};
use crate::lock::Lock;
use crate::output::whole;
use crate::tool::Tool;

/// Fixed dates: a build machine's wrong clock must not make keys that no firmware accepts.
pub(super) const VALID: [&str; 2] = ["20240101000000Z", "20540101000000Z"];

/// Makes the folder, with the mark that it is for development.
pub(super) fn folder(folder: &Path) -> Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(folder).on("make", folder)?;
    let mark = folder.join(MARK);
    fs::write(&mark, MARK_TEXT).on("write", &mark)?;
    eprintln!("made a folder for development keys: {}", folder.display());
    Ok(())
}

/// Makes a key of the right kind.
pub(super) fn key(folder: &Path, name: Name) -> Result<()> {
    let lock = Lock::alone(&folder.join(".lock"), "keys that are made")?;
    // Another build may have made it while this one waited.
    if !folder.join(name.public_file()).is_file() {
        match name.kind() {
            Kind::Certificate => certificate(folder, name, VALID)?,
            Kind::PublicRsa => rsa(folder, name)?,
            Kind::Ed25519 => ed25519(folder, name)?,
        }
    }
    lock.remove()
}

/// Makes a self-signed certificate.
pub(super) fn certificate(folder: &Path, name: Name, [from, until]: [&str; 2]) -> Result<()> {
    let work = tempfile::tempdir_in(folder).on("make a folder in", folder)?;
    let config = work.path().join("ca.conf");
    let text = format!(
        "[ca]\ndefault_ca = own\n[own]\ndatabase = {0}/index\nnew_certs_dir = {0}\nrand_serial = yes\npolicy = any\n\
         x509_extensions = extensions\n[any]\ncommonName = supplied\n[extensions]\nbasicConstraints = critical, CA:{1}\n\
         [req]\ndistinguished_name = name\n[name]\n",
        work.path().display(),
        // The key that signs programs signs no other certificates.
        if name == Name::Programs { "FALSE" } else { "TRUE" },
    );
    fs::write(&config, text).on("write", &config)?;
    let index = work.path().join("index");
    fs::write(&index, "").on("write", &index)?;
    let key = work.path().join("key");
    let request = work.path().join("request");
    let subject = format!("/CN=AIOS development {}/", name.word());
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
        .args(["-startdate", from, "-enddate", until, "-keyfile"])
        .arg(&key)
        .arg("-in")
        .arg(&request)
        .arg("-out")
        .arg(&certificate)
        .run()?;
    finish(folder, name, &key, &certificate)
}

fn rsa(folder: &Path, name: Name) -> Result<()> {
    let work = tempfile::tempdir_in(folder).on("make a folder in", folder)?;
    let (key, public) = (work.path().join("key"), work.path().join("public"));
    let generate = ["genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out"];
    Tool::new("openssl").args(generate).arg(&key).run()?;
    Tool::new("openssl").args(["pkey", "-pubout", "-in"]).arg(&key).arg("-out").arg(&public).run()?;
    finish(folder, name, &key, &public)
}

/// The public half last: it is what says that the pair is complete.
fn finish(folder: &Path, name: Name, key: &Path, public: &Path) -> Result<()> {
    for (from, to) in [(key, format!("{}.key", name.word())), (public, name.public_file())] {
        fs::rename(from, folder.join(to)).on("move", from)?;
    }
    Ok(())
}

fn ed25519(folder: &Path, name: Name) -> Result<()> {
    let secret = folder.join(format!("{}.key", name.word()));
    if !secret.exists() {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|source| Error::library("the kernel gives no random bytes", source))?;
        whole(&secret, |path| {
            let mut file = fs::File::options().write(true).create_new(true).mode(0o600).open(path).on("make", path)?;
            writeln!(file, "{}", hex(&seed)).on("write", path)
        })?;
    }
    let key = SigningKey::from_bytes(&read_hex(&secret)?);
    whole(&folder.join(name.public_file()), |path| {
        fs::write(path, format!("{}\n", hex(&key.verifying_key().to_bytes()))).on("write", path)
    })
}
