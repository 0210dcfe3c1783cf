//! Our signatures as foreign tools see them. Needs the stub, openssl and sbsigntool, as every image build does.

use std::fs;
use std::path::Path;
use std::process::Command;

use aios_image::authenticode::{self, Certificate};
use aios_image::uki;

const STUB: &str = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub";

fn tools_are_there() -> bool {
    let has = |program: &str| Command::new(program).arg("--version").output().is_ok();
    let there = Path::new(STUB).exists() && has("sbverify") && has("openssl");
    if !there {
        eprintln!("skipped: needs {STUB}, sbverify and openssl");
    }
    there
}

fn succeeds(folder: &Path, program: &str, arguments: &[&str]) -> bool {
    let output = Command::new(program).args(arguments).current_dir(folder).output().expect("the program starts");
    output.status.success()
}

/// Makes `NAME.key`, `NAME.pem`, `NAME.der` and reads the certificate.
fn key(folder: &Path, name: &str) -> Certificate {
    let (secret, certificate, subject) = (format!("{name}.key"), format!("{name}.pem"), format!("/CN={name}/"));
    let request = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-sha256", "-days", "30", "-subj", &subject];
    let files = ["-keyout", &secret, "-out", &certificate];
    assert!(succeeds(folder, "openssl", &[&request[..], &files].concat()));
    let der = format!("{name}.der");
    assert!(succeeds(folder, "openssl", &["x509", "-in", &certificate, "-outform", "DER", "-out", &der]));
    Certificate::parse(&fs::read(folder.join(der)).expect("written")).expect("a certificate")
}

fn sign(folder: &Path, program: &[u8], name: &str, certificate: &Certificate) -> Vec<u8> {
    let digest = authenticode::digest(program).expect("a program");
    fs::write(folder.join("message"), authenticode::message(&digest)).expect("written");
    let secret = format!("{name}.key");
    assert!(succeeds(folder, "openssl", &["dgst", "-sha256", "-sign", &secret, "-out", "signature", "message"]));
    let signature = fs::read(folder.join("signature")).expect("signed");
    authenticode::attach(program, certificate, &signature).expect("attached")
}

fn accepts(folder: &Path, program: &[u8], name: &str) -> bool {
    fs::write(folder.join("checked.efi"), program).expect("written");
    succeeds(folder, "sbverify", &["--cert", &format!("{name}.pem"), "checked.efi"])
}

#[test]
fn firmwares_check_accepts_what_we_sign_and_nothing_changed() {
    if !tools_are_there() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let (ours, other) = (key(folder, "ours"), key(folder, "other"));
    assert_eq!(ours.check(ours.not_before + 1), Ok(()));
    let stub = fs::read(STUB).expect("the stub");
    let program = uki::append(&stub, &[(".cmdline", b"quiet"), (".linux", &[0x5a; 70_001])]).expect("fits");
    let mut odd = program.clone();
    odd.extend_from_slice(b"tail!");
    for unsigned in [&program, &odd] {
        let signed = sign(folder, unsigned, "ours", &ours);
        assert!(accepts(folder, &signed, "ours"));
        assert!(!accepts(folder, &signed, "other"));
        assert_eq!(signed.len() % 8, 0);
        assert_eq!(sign(folder, unsigned, "ours", &ours), signed, "the same file and key give the same bytes");
        assert_eq!(authenticode::signed_digests(&signed), Ok(vec![authenticode::digest(&signed).expect("a program")]));
        // One bit anywhere: in the header, the stub's code, a section of ours, the tail, the signature's digest.
        for at in [0x48, 0x500, program.len() - 600, unsigned.len() - 1, signed.len() - 300] {
            let mut changed = signed.clone();
            changed[at] ^= 1;
            assert!(!accepts(folder, &changed, "ours"), "byte {at}");
        }
        let stripped = authenticode::strip(&signed).expect("a program");
        assert_eq!(stripped.len(), unsigned.len().next_multiple_of(8));
        assert!(!accepts(folder, &stripped, "ours"));
        // A second signer beside the first: each is enough.
        let both = sign(folder, &signed, "other", &other);
        assert!(accepts(folder, &both, "ours"));
        let digests = authenticode::signed_digests(&both).expect("two signatures");
        assert_eq!(digests, vec![authenticode::digest(unsigned).expect("a program"); 2]);
    }
}

#[test]
fn our_digest_is_the_one_that_another_signer_computes() {
    if !tools_are_there() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    key(folder, "ours");
    assert!(succeeds(folder, "sbsign", &["--key", "ours.key", "--cert", "ours.pem", "--output", "signed.efi", STUB]));
    let theirs = fs::read(folder.join("signed.efi")).expect("signed");
    let digest = authenticode::digest(&fs::read(STUB).expect("the stub")).expect("a program");
    assert_eq!(authenticode::signed_digests(&theirs), Ok(vec![digest]));
    assert_eq!(authenticode::digest(&theirs), Ok(digest));
}
