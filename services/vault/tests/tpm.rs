//! The vault's key in the keeping of a TPM, which is swtpm: over starts, updates, alterations, other TPMs, and power cuts.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use aios_fetch::Binding;
use aios_ids::{ActionId, Digest};
use aios_linux::tpm::Chip;
use vault::key::Keeper;
use vault::policies;
use vault::sealed::{About, Sealed, SealedError, Secret};
use zeroize::Zeroizing;

/// A TPM that is switched on.
struct Tpm {
    program: Child,
    stream: UnixStream,
}

impl Tpm {
    /// Switches the TPM on whose memory is in `folder`; one that was off has empty registers.
    fn on(folder: &Path) -> Self {
        fs::create_dir_all(folder).expect("a folder");
        let socket = folder.join("socket");
        let _ = fs::remove_file(&socket);
        let program = Command::new("swtpm")
            .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear", "--tpmstate"])
            .arg(format!("dir={}", folder.display()))
            .arg("--server")
            .arg(format!("type=unixio,path={}", socket.display()))
            .arg("--ctrl")
            .arg(format!("type=unixio,path={}", folder.join("control").display()))
            .stdin(Stdio::null())
            .spawn()
            .expect("swtpm starts");
        let end = Instant::now() + Duration::from_secs(60);
        let stream = loop {
            match UnixStream::connect(&socket) {
                Ok(stream) => break stream,
                Err(error) if Instant::now() > end => panic!("swtpm does not listen: {error}"),
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
            }
        };
        Self { program, stream }
    }

    /// As PID 1 and the loader's stub do it.
    fn measure(&mut self, words: &[&str]) {
        for word in words {
            let start = [0, 0, 0x01, 0x3c, 0, 0, 0, 11, 0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0, 0];
            let body = [&start[..], &[word.len() as u8], word.as_bytes()].concat();
            let command = [&[0x80, 0x02][..], &(6 + body.len() as u32).to_be_bytes(), &body].concat();
            let response = self.exchange(&command).expect("a response");
            assert_eq!(response[6..10], [0; 4], "{word}");
        }
    }
}

impl Chip for &mut Tpm {
    fn exchange(&mut self, command: &[u8]) -> io::Result<Zeroizing<Vec<u8>>> {
        Tpm::exchange(self, command)
    }
}

impl Tpm {
    fn exchange(&mut self, command: &[u8]) -> io::Result<Zeroizing<Vec<u8>>> {
        self.stream.write_all(command)?;
        let mut response = Zeroizing::new(vec![0; 10]);
        self.stream.read_exact(&mut response)?;
        let length = u32::from_be_bytes([response[2], response[3], response[4], response[5]]) as usize;
        response.resize(length, 0);
        self.stream.read_exact(&mut response[10..])?;
        Ok(response)
    }
}

impl Drop for Tpm {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

/// Who makes images: a key, and what it signs.
struct Builder(tempfile::TempDir);

fn openssl(words: &[&str], folder: &Path) {
    let done = Command::new("openssl").args(words).current_dir(folder).stderr(Stdio::null()).status();
    assert!(done.expect("openssl starts").success(), "{words:?}");
}

/// The policy "register 11 holds what these words leave in it".
fn policy(words: &[&str]) -> Digest {
    let register = words.iter().fold([0; 32], |register, word| {
        *Digest::of(&[&register[..], Digest::of(word.as_bytes()).as_bytes()].concat()).as_bytes()
    });
    let selection = [0, 0, 0x01, 0x7f, 0, 0, 0, 1, 0, 0x0b, 3, 0, 8, 0];
    Digest::of(&[&[0; 32][..], &selection, Digest::of(&register).as_bytes()].concat())
}

impl Builder {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        openssl(&["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", "key"], folder.path());
        openssl(&["rsa", "-in", "key", "-pubout", "-out", "tpm2-pcr-public-key.pem"], folder.path());
        openssl(&["rsa", "-in", "key", "-RSAPublicKey_out", "-outform", "DER", "-out", "der"], folder.path());
        Self(folder)
    }

    /// The keeper as it comes with an image for which these states are signed.
    fn keeper<'a>(&self, tpm: &'a mut Tpm, states: &[&[&str]]) -> Keeper<&'a mut Tpm> {
        let folder = self.0.path();
        let fingerprint = Digest::of(&fs::read(folder.join("der")).expect("the key"));
        let signed = states.iter().map(|words| {
            let policy = policy(words);
            fs::write(folder.join("policy"), policy.as_bytes()).expect("written");
            openssl(&["dgst", "-sha256", "-sign", "key", "-out", "signature", "policy"], folder);
            openssl(&["base64", "-A", "-in", "signature", "-out", "text"], folder);
            let text = fs::read_to_string(folder.join("text")).expect("the signature");
            format!("{{\"pcrs\":[11],\"pkfp\":\"{fingerprint}\",\"pol\":\"{policy}\",\"sig\":\"{}\"}}", text.trim())
        });
        let signed = format!("{{\"sha256\":[{}]}}", signed.collect::<Vec<_>>().join(","));
        fs::write(folder.join("tpm2-pcr-signature.json"), signed).expect("written");
        let (key, signed) = policies::read(folder).expect("of the form");
        Keeper::Tpm { chip: tpm, key, signed }
    }
}

/// A start as it is signed, and one step further.
const START: [&str; 3] = ["image 1", "installed", "sysinit"];
const READY: [&str; 4] = ["image 1", "installed", "sysinit", "ready"];

fn secret(name: &str) -> Secret {
    let binding = Binding::from_words(["api.example"], None).expect("a binding");
    Secret {
        name: name.parse().expect("a name"),
        value: "canary-7d41".parse().expect("a value"),
        about: About { binding, action: ActionId::new(7, [7; 10]) },
    }
}

fn opens(sealed: &Sealed, name: &str) -> bool {
    sealed.get(&name.parse().expect("a name")).is_ok_and(|secret| secret.value.expose() == "canary-7d41")
}

fn files(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let mut names: Vec<_> =
        entries.map(|file| file.expect("a file").file_name().into_string().expect("text")).collect();
    names.sort();
    names
}

/// Whether the key cannot be had, for a reason that has these words, and nothing is changed by trying.
#[track_caller]
fn closed(folder: &Path, sealed: &Sealed, before: &[u8], words: &str) {
    let Err(error @ SealedError::Closed(_)) = sealed.get(&"push".parse().expect("a name")) else { panic!("it opened") };
    assert!(error.to_string().contains(words), "{error}");
    assert!(sealed.about_key().contains(words), "{}", sealed.about_key());
    assert!(matches!(sealed.put(&secret("new")), Err(SealedError::Closed(_))));
    assert_eq!(files(folder), ["key.tpm", "push.sealed"]);
    assert_eq!(fs::read(folder.join("key.tpm")).expect("the key"), before);
}

/// Without the programs nothing is shown, which has to be said.
fn there_is_no_swtpm() -> bool {
    let there = |program: &str, word: &str| Command::new(program).arg(word).stdout(Stdio::null()).status().is_ok();
    let both = there("swtpm", "--version") && there("openssl", "version");
    if !both {
        eprintln!("skipped: needs packages swtpm and openssl");
    }
    !both
}

/// A machine that has started in order, with an empty vault.
struct Started {
    builder: Builder,
    /// The memory of the TPM, which has to be there as long as it.
    machine: tempfile::TempDir,
    vault: tempfile::TempDir,
    tpm: Tpm,
}

impl Started {
    /// Nothing where there is no swtpm.
    fn new() -> Option<Self> {
        if there_is_no_swtpm() {
            return None;
        }
        let folder = || tempfile::tempdir().expect("a folder");
        let (machine, vault) = (folder(), folder());
        let mut tpm = Tpm::on(machine.path());
        tpm.measure(&START);
        Some(Self { builder: Builder::new(), machine, vault, tpm })
    }
}

#[test]
fn the_tpm_keeps_the_key_over_starts_and_updates_and_gives_it_to_no_other_system() {
    let Some(Started { builder, machine, vault, mut tpm }) = Started::new() else { return };
    let folder = vault.path();
    let sealed = Sealed::open(folder, builder.keeper(&mut tpm, &[&START, &READY])).expect("opens");
    assert_eq!(sealed.about_key(), "their key is sealed by the TPM");
    sealed.put(&secret("push")).expect("kept");
    assert_eq!(files(folder), ["key.tpm", "push.sealed"]);
    let kept = fs::read(folder.join("key.tpm")).expect("the key");

    tpm.measure(&READY[3..]);
    let sealed = Sealed::open(folder, builder.keeper(&mut tpm, &[&START, &READY])).expect("opens");
    assert!(opens(&sealed, "push"), "the vault began anew in the same start");
    drop(tpm);

    let mut tpm = Tpm::on(machine.path());
    let update = ["image 2", "installed", "sysinit"];
    tpm.measure(&update);
    let sealed = Sealed::open(folder, builder.keeper(&mut tpm, &[&update])).expect("opens");
    assert!(opens(&sealed, "push"), "an update of the same builder");
    let sealed = Sealed::open(folder, Builder::new().keeper(&mut tpm, &[&update])).expect("opens");
    closed(folder, &sealed, &kept, "images of another key");

    tpm.measure(&["something else"]);
    let sealed = Sealed::open(folder, builder.keeper(&mut tpm, &[&update, &START])).expect("opens");
    closed(folder, &sealed, &kept, "no signed policy");
    drop(tpm);

    let elsewhere = tempfile::tempdir().expect("a folder");
    let mut tpm = Tpm::on(elsewhere.path());
    tpm.measure(&START);
    let sealed = Sealed::open(folder, builder.keeper(&mut tpm, &[&START])).expect("opens");
    closed(folder, &sealed, &kept, "another TPM");
    let sealed = Sealed::open(folder, Keeper::none("this machine has no TPM")).expect("opens");
    closed(folder, &sealed, &kept, "no TPM");

    // Whoever lets the secrets go begins anew.
    sealed.remove(&"push".parse().expect("a name")).expect("there");
    let sealed = Sealed::open(folder, builder.keeper(&mut tpm, &[&START])).expect("opens");
    sealed.put(&secret("push")).expect("kept");
    assert!(opens(&sealed, "push") && fs::read(folder.join("key.tpm")).expect("the key") != kept);
}

#[test]
fn a_signature_of_somebody_else_opens_nothing() {
    let Some(Started { builder, machine, vault, mut tpm }) = Started::new() else { return };
    let folder = vault.path();
    Sealed::open(folder, builder.keeper(&mut tpm, &[&START])).expect("opens").put(&secret("push")).expect("kept");
    let kept = fs::read(folder.join("key.tpm")).expect("the key");
    tpm.measure(&["altered"]);
    let altered = ["image 1", "installed", "sysinit", "altered"];
    let forged = match (
        Builder::new().keeper(&mut tpm, &[&altered]),
        builder.keeper(&mut Tpm::on(&machine.path().join("x")), &[]),
    ) {
        (Keeper::Tpm { chip, signed, .. }, Keeper::Tpm { key, .. }) => Keeper::Tpm { chip, key, signed },
        _ => unreachable!("both have a TPM"),
    };
    closed(folder, &Sealed::open(folder, forged).expect("opens"), &kept, "not signed by the key");
}

#[test]
fn a_key_that_lay_beside_goes_over_once_wherever_the_power_is_cut() {
    let Some(Started { builder, mut tpm, machine: _machine, .. }) = Started::new() else { return };
    let before = tempfile::tempdir().expect("a folder");
    let sealed = Sealed::open(before.path(), Keeper::none("no TPM")).expect("opens");
    sealed.put(&secret("push")).expect("kept");
    assert_eq!(files(before.path()), ["key", "push.sealed"]);
    let (key, of_secret) = (
        fs::read(before.path().join("key")).expect("a key"),
        fs::read(before.path().join("push.sealed")).expect("a secret"),
    );
    let mut over = |folder: &Path| {
        let sealed = Sealed::open(folder, builder.keeper(&mut tpm, &[&START])).expect("opens");
        assert!(opens(&sealed, "push"), "{}", sealed.about_key());
        assert_eq!(files(folder), ["key.tpm", "push.sealed"]);
        assert_eq!(sealed.about_key(), "their key is sealed by the TPM");
    };
    over(before.path());
    let kept = fs::read(before.path().join("key.tpm")).expect("the key");
    assert!(!kept.windows(8).any(|eight| key.windows(8).any(|other| other == eight)));

    let zeroes = vec![0; 32];
    let cuts: [&[(&str, &[u8])]; 5] = [
        &[("key", &key), (".tmp-key.tpm", &kept[..kept.len() / 2])],
        &[("key", &key), (".tmp-key.tpm", &kept)],
        &[("key", &key), ("key.tpm", &kept)],
        &[("key", &zeroes), ("key.tpm", &kept)],
        &[("key.tpm", &kept)],
    ];
    for cut in cuts {
        let vault = tempfile::tempdir().expect("a folder");
        fs::write(vault.path().join("push.sealed"), &of_secret).expect("written");
        for (name, content) in cut {
            fs::write(vault.path().join(name), content).expect("written");
        }
        over(vault.path());
        over(vault.path());
    }
}

#[test]
fn what_an_older_release_put_meanwhile_is_used_as_well() {
    let Some(Started { builder, machine: _machine, vault, mut tpm }) = Started::new() else { return };
    let folder = vault.path();
    Sealed::open(folder, builder.keeper(&mut tpm, &[&START])).expect("opens").put(&secret("new")).expect("kept");
    // It knows nothing of `key.tpm`, finds no key and makes one.
    fs::write(folder.join("key"), [7; 32]).expect("written");
    Sealed::open(folder, Keeper::none("an older release")).expect("opens").put(&secret("old")).expect("kept");
    let sealed = Sealed::open(folder, builder.keeper(&mut tpm, &[&START])).expect("opens");
    assert!(opens(&sealed, "new") && opens(&sealed, "old"));
    assert!(sealed.about_key().contains("an older release"), "{}", sealed.about_key());
    assert_eq!(files(folder), ["key", "key.tpm", "new.sealed", "old.sealed"]);
}

#[test]
fn an_altered_file_of_the_key_is_said_and_left_as_it_is() {
    let Some(Started { builder, machine: _machine, vault, mut tpm }) = Started::new() else { return };
    let folder = vault.path();
    Sealed::open(folder, builder.keeper(&mut tpm, &[&START])).expect("opens").put(&secret("push")).expect("kept");
    let kept = fs::read(folder.join("key.tpm")).expect("the key");
    for place in (0..kept.len()).step_by(3) {
        let mut altered = kept.clone();
        altered[place] ^= 0x10;
        fs::write(folder.join("key.tpm"), &altered).expect("written");
        let sealed = Sealed::open(folder, builder.keeper(&mut tpm, &[&START])).expect("opens");
        closed(folder, &sealed, &altered, "");
    }
    for length in [0, 1, kept.len() / 2, kept.len() - 1] {
        fs::write(folder.join("key.tpm"), &kept[..length]).expect("written");
        let sealed = Sealed::open(folder, builder.keeper(&mut tpm, &[&START])).expect("opens");
        closed(folder, &sealed, &kept[..length], "cut or altered");
    }
}
