//! Against `cryptsetup`: it opens what is made here, and what it makes is opened here.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use aios_luks::{Header, RecoveryKey, Room, format};

const ROOM: Room = Room { kib: 1 << 20 };
const BYTES: u64 = 32 << 20;

/// What `cryptsetup` says, and whether it agrees. None: this machine does not have it.
fn cryptsetup(arguments: &[&str], image: &Path, typed: &str) -> Option<(bool, String)> {
    let spawned = Command::new("cryptsetup")
        .args(arguments)
        .arg(image)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = spawned else {
        eprintln!("skipped: cryptsetup is not installed");
        return None;
    };
    // A command that reads nothing has closed its end.
    let _ = child.stdin.take().expect("a pipe").write_all(typed.as_bytes());
    let output = child.wait_with_output().expect("it ends");
    let said = [output.stdout, output.stderr].concat();
    Some((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
}

fn image() -> tempfile::NamedTempFile {
    let image = tempfile::NamedTempFile::new().expect("a file");
    image.as_file().set_len(BYTES).expect("sparse");
    image
}

/// Whether the header on an image is opened by what is typed, and what the kernel would be told.
fn opens(image: &File, typed: &str) -> Option<String> {
    let read = |offset: u64, bytes: &mut [u8]| image.read_exact_at(bytes, offset);
    let header = Header::read(&read).expect("a good header").expect("a header");
    let key = header.unlock(&read, typed.as_bytes(), ROOM).expect("it can be tried")?;
    Some(header.mapping(&key, "/dev/vda7", BYTES).expect("it fits").parameters.to_string())
}

#[test]
fn what_is_made_here_is_opened_by_cryptsetup_and_by_us() {
    let image = image();
    let recovery_key = RecoveryKey::new(&[7; RecoveryKey::RANDOM]);
    let mut random = |bytes: &mut [u8]| getrandom::fill(bytes).map_err(std::io::Error::other);
    let made = format(b"correct horse", &recovery_key, &mut random, ROOM).expect("made");
    image.as_file().write_all_at(&made.header, 0).expect("written");
    let shown = recovery_key.text();
    let parameters = opens(image.as_file(), "correct horse").expect("the pass phrase opens it");
    assert!(parameters.ends_with(" 0 /dev/vda7 32768 1 sector_size:4096"), "{parameters}");
    assert_eq!(opens(image.as_file(), &shown).as_ref(), Some(&parameters), "the recovery key");
    assert_eq!(opens(image.as_file(), &shown.replace('-', " ").to_uppercase()), Some(parameters), "typed from paper");
    assert_eq!(opens(image.as_file(), "correct horsf"), None);

    let test = ["open", "--test-passphrase", "--key-file", "-"];
    let Some((opened, said)) = cryptsetup(&test, image.path(), "correct horse") else { return };
    assert!(opened, "{said}");
    let (opened, said) = cryptsetup(&test, image.path(), &shown).expect("it is there");
    assert!(opened, "the recovery key: {said}");
    assert!(!cryptsetup(&test, image.path(), "correct horsf").expect("it is there").0);
    let (_, dump) = cryptsetup(&["luksDump"], image.path(), "").expect("it is there");
    for line in ["argon2id", "pbkdf2", "aes-xts-plain64", "sector: 4096 [bytes]", "Memory:     65536"] {
        assert!(dump.contains(line), "no '{line}' in:\n{dump}");
    }
    // A change that it makes counts a number up in both copies, and we still agree.
    let add = ["luksAddKey", "-q", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"];
    let (added, said) = cryptsetup(&add, image.path(), "correct horse\nanother one\n").expect("it is there");
    assert!(added, "{said}");
    assert!(opens(image.as_file(), "another one").is_some());
    assert!(opens(image.as_file(), "correct horse").is_some());
}

#[test]
fn what_cryptsetup_makes_is_opened_here() {
    for options in [
        // Its own choice of costs.
        &[][..],
        &["--pbkdf", "argon2i", "--pbkdf-force-iterations", "4", "--pbkdf-memory", "1024", "--pbkdf-parallel", "3"],
        &["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", "--sector-size", "4096"],
    ] {
        let image = image();
        let arguments: Vec<&str> =
            ["luksFormat", "-q", "--type", "luks2", "--key-file", "-"].iter().chain(options).copied().collect();
        let Some((made, said)) = cryptsetup(&arguments, image.path(), "of another program") else { return };
        assert!(made, "{said}");
        assert!(opens(image.as_file(), "of another program").is_some(), "{options:?}");
        assert_eq!(opens(image.as_file(), "of another programme"), None, "{options:?}");
        // With its first copy gone, the second one is found.
        image.as_file().write_all_at(&[0; 4096], 0).expect("written");
        assert!(opens(image.as_file(), "of another program").is_some(), "{options:?}");
    }
}

#[test]
fn what_is_unknown_is_refused_by_its_name() {
    for (options, expected) in [
        (&["--type", "luks1"][..], "LUKS version 1"),
        (&["--type", "luks2", "--cipher", "aes-cbc-essiv:sha256"], "aes-cbc-essiv:sha256"),
        (&["--type", "luks2", "--cipher", "aes-xts-plain64", "--key-size", "256"], "keys of 32 bytes"),
        (&["--type", "luks2", "--hash", "sha512"], "sha512"),
    ] {
        let image = image();
        let fast = ["luksFormat", "-q", "--key-file", "-", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"];
        let arguments: Vec<&str> = fast.iter().chain(options).copied().collect();
        let Some((made, said)) = cryptsetup(&arguments, image.path(), "x") else { return };
        assert!(made, "{said}");
        let read = |offset: u64, bytes: &mut [u8]| image.as_file().read_exact_at(bytes, offset);
        let refused = match Header::read(&read) {
            Err(error) => error.to_string(),
            Ok(header) => header.expect("a header").unlock(&read, b"x", ROOM).expect_err("refused").to_string(),
        };
        assert!(refused.contains(expected), "{refused}");
    }
}
