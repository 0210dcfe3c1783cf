use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn made(folder: &tempfile::TempDir) -> (PathBuf, Keys) {
    let place = folder.path().join("keys");
    let keys = opened(&place).expect("made");
    (place, keys)
}

fn opened(place: &Path) -> Result<Keys> {
    Keys::open_at(place.to_owned(), Signer::Files(place.to_owned()))
}

/// The whole chain of an error that opening must give.
fn refusal(place: &Path) -> String {
    let error = opened(place).err().expect("refused");
    let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
    format!("{error}: {cause}")
}

#[test]
fn keys_are_made_once_and_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let (place, keys) = made(&folder);
    assert_eq!(keys.purpose(), Purpose::Development);
    let contents = || Name::ALL.map(|name| fs::read(place.join(name.public_file())).expect("there"));
    let before = contents();
    let again = opened(&place).expect("opened");
    assert_eq!(before, contents());
    for (number, public) in before.iter().enumerate() {
        assert!(!before[..number].contains(public), "each key is another");
    }
    for name in Name::ALL {
        assert_eq!(keys.sign(name, b"bytes").expect("signed"), again.sign(name, b"bytes").expect("signed"), "{name:?}");
    }
}

#[test]
fn a_folder_of_somebodys_own_is_never_completed() {
    let folder = tempfile::tempdir().expect("a folder");
    let (place, keys) = made(&folder);
    fs::remove_file(place.join(MARK)).expect("not for development any more");
    assert_eq!(keys.purpose(), Purpose::Release);
    fs::remove_file(place.join("pcr-live.pem")).expect("removed");
    let error = refusal(&place);
    assert!(error.contains("lacks pcr-live.pem"), "{error}");
    assert!(!place.join("pcr-live.pem").exists());
}

#[test]
fn an_expired_or_early_certificate_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let (place, _) = made(&folder);
    for (dates, expected) in [
        (["20200101000000Z", "20210101000000Z"], "expired on 2021-01-01"),
        (["20530101000000Z", "20540101000000Z"], "valid only from 2053-01-01"),
    ] {
        make::certificate(&place, Name::Programs, dates).expect("made");
        let error = refusal(&place);
        assert!(error.contains("db.pem") && error.contains(expected), "{error}");
    }
}

#[test]
fn a_key_of_the_wrong_type_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let (place, _) = made(&folder);
    let change = |file: &str, arguments: &[&str]| {
        let kept = fs::read(place.join(file)).expect("there");
        Tool::new("openssl").args(arguments).arg("-out").arg(place.join(file)).run().expect("made");
        let error = refusal(&place);
        fs::write(place.join(file), kept).expect("put back");
        error
    };
    let curve = place.join("curve.key");
    let parameters = ["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out"];
    Tool::new("openssl").args(parameters).arg(&curve).run().expect("made");
    let curve = curve.to_str().expect("plain text");
    let error = change("db.pem", &["req", "-x509", "-subj", "/CN=curve/", "-key", curve]);
    assert!(error.contains("db.pem") && error.contains("no RSA key"), "{error}");
    let error = change("db.pem", &["pkey", "-pubout", "-in", curve]);
    assert!(error.contains("no PEM file with one CERTIFICATE"), "{error}");
    let error = change("pcr-live.pem", &["pkey", "-pubout", "-in", curve]);
    assert!(error.contains("pcr-live.pem is no public RSA key"), "{error}");
    fs::write(place.join("release.pub"), "no digits\n").expect("written");
    assert!(refusal(&place).contains("release.pub is no key of 64 hexadecimal digits"));
}

#[test]
fn halves_that_do_not_belong_together_sign_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let (place, keys) = made(&folder);
    for (one, other) in [("db", "KEK"), ("pcr-live", "pcr-installed"), ("release", "policy")] {
        fs::copy(place.join(format!("{other}.key")), place.join(format!("{one}.key"))).expect("copied");
    }
    for name in [Name::Programs, Name::PcrLive, Name::Release] {
        let error = keys.sign(name, b"bytes").expect_err("refused").to_string();
        assert!(error.contains("does not confirm the signature"), "{error}");
    }
}

/// A program of somebody's own that keeps the private halves: the folder that we know has the public ones only.
#[test]
fn a_program_can_hold_the_private_keys() {
    let folder = tempfile::tempdir().expect("a folder");
    let (vault, _) = made(&folder);
    let public = folder.path().join("public");
    fs::create_dir(&public).expect("made");
    for name in Name::ALL {
        fs::copy(vault.join(name.public_file()), public.join(name.public_file())).expect("copied");
    }
    // The seed of an Ed25519 key, with the fixed begin that its PKCS #8 form has.
    let text = "#!/bin/sh\nset -e\ncd \"$(dirname \"$0\")/keys\"\nwork=$(mktemp -d)\ntrap 'rm -r \"$work\"' EXIT\ncat > \"$work/in\"\n\
                case $1 in\nrelease|policy)\n  printf '302e020100300506032b657004220420%s' \"$(cat \"$1.key\")\" | \
                sed 's/../\\\\x&/g' | xargs -0 printf '%b' > \"$work/der\"\n  openssl pkeyutl -sign -rawin -keyform DER -inkey \"$work/der\" -in \"$work/in\" ;;\n\
                *) openssl dgst -sha256 -sign \"$1.key\" \"$work/in\" ;;\nesac\n";
    let program = folder.path().join("signer");
    fs::write(&program, text).expect("written");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).expect("made a program");
    let keys = Keys::open_at(public.clone(), Signer::Program(program.clone())).expect("public halves are enough");
    assert_eq!(keys.purpose(), Purpose::Release);
    let own = opened(&vault).expect("the vault");
    for name in Name::ALL {
        assert_eq!(
            keys.sign(name, b"bytes").expect("signed by the program"),
            own.sign(name, b"bytes").expect("signed"),
            "{name:?}"
        );
    }
    // One that signs with another key, and one without a folder.
    fs::write(&program, text.replace("\"$1.key\"", "policy.key")).expect("written");
    let error = keys.sign(Name::Release, b"bytes").expect_err("the wrong key").to_string();
    assert!(error.contains("release.pub does not confirm the signature"), "{error}");
    let missing = Keys::open_at(folder.path().join("nowhere"), Signer::Program(program));
    assert!(missing.err().is_some_and(|error| error.to_string().contains("no key folder")));
}
