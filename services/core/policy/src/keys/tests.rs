//! Keys and signatures of each kind, also of security keys, which a test makes in software; and each way to be wrong.

use aios_ids::{ActionId, ApprovalId, Digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer as _, SigningKey};
use proptest::prelude::*;

use super::*;
use crate::approval::tests::waiting;

const SEED: [u8; 32] = [7; 32];
const APPLICATION: &str = "ssh:";

/// What `ssh-keygen -t ecdsa` and `ssh-keygen -Y sign -n aios-approval` of OpenSSH 9.2 wrote, over `aios\n`.
const ECDSA: &str = include_str!("tests/ecdsa.pub");
const BY_ECDSA: &str = include_str!("tests/ecdsa.sig");

/// Fields of the wire form: each with its length before it.
fn fields(all: &[&[u8]]) -> Vec<u8> {
    let length = |field: &[u8]| u32::try_from(field.len()).expect("short").to_be_bytes();
    all.iter().flat_map(|field| [&length(field), *field].concat()).collect()
}

fn line(algorithm: &str, blob: &[u8]) -> String {
    format!("{algorithm} {} ada@desk", STANDARD.encode(blob))
}

fn armoured(blob: &[u8]) -> String {
    let text = STANDARD.encode(blob);
    let lines: Vec<_> = text.as_bytes().chunks(70).map(|line| str::from_utf8(line).expect("ASCII")).collect();
    format!("-----BEGIN SSH SIGNATURE-----\n{}\n-----END SSH SIGNATURE-----\n", lines.join("\n"))
}

/// Somebody's key, on a disk or in a security key.
struct Keys {
    algorithm: &'static str,
    secret: SigningKey,
}

impl Keys {
    fn on_disk() -> Self {
        Self { algorithm: "ssh-ed25519", secret: SigningKey::from_bytes(&SEED) }
    }

    fn in_hardware() -> Self {
        Self { algorithm: "sk-ssh-ed25519@openssh.com", secret: SigningKey::from_bytes(&SEED) }
    }

    fn blob(&self) -> Vec<u8> {
        let public = self.secret.verifying_key().to_bytes();
        match self.algorithm {
            "ssh-ed25519" => fields(&[self.algorithm.as_bytes(), &public]),
            _ => fields(&[self.algorithm.as_bytes(), &public, APPLICATION.as_bytes()]),
        }
    }

    fn public(&self) -> PublicKey {
        line(self.algorithm, &self.blob()).parse().expect("a key")
    }

    /// As PROTOCOL.sshsig and PROTOCOL.u2f of OpenSSH say, by nothing that the code under test does.
    fn sign(&self, namespace: &str, text: &str, flags: u8) -> Vec<u8> {
        let hash = Digest::of(text.as_bytes());
        let signed = [b"SSHSIG".as_slice(), &fields(&[namespace.as_bytes(), b"", b"sha256", hash.as_bytes()])].concat();
        let signature = match self.algorithm {
            "ssh-ed25519" => fields(&[self.algorithm.as_bytes(), &self.secret.sign(&signed).to_bytes()]),
            _ => {
                let counter = [flags, 0, 0, 0, 9];
                let application = Digest::of(APPLICATION.as_bytes());
                let message = Digest::of(&signed);
                let touched = [application.as_bytes().as_slice(), &counter, message.as_bytes()].concat();
                let bytes = self.secret.sign(&touched).to_bytes();
                [fields(&[self.algorithm.as_bytes(), &bytes]), counter.to_vec()].concat()
            }
        };
        let rest = fields(&[&self.blob(), namespace.as_bytes(), b"", b"sha256", &signature]);
        [b"SSHSIG".as_slice(), &1u32.to_be_bytes(), &rest].concat()
    }
}

fn read(blob: &[u8]) -> Signature {
    armoured(blob).parse().expect("a signature")
}

/// People keep this text on other machines, so another form would be another version.
#[test]
fn the_text_to_sign_names_all_that_a_yes_is_good_for() {
    let text = text_to_sign(&waiting(), "boot-1");
    let expected = format!(
        "aios approval v1\nanswer approve\nrequest {}\naction {}\ntype service.restart\nasked by agent:helper\nenvelope {}\n\
         policy 1-a\nboot boot-1\n",
        waiting().id,
        waiting().action,
        Digest::of(b"envelope")
    );
    assert_eq!(text, expected);
    let others = [
        text_to_sign(&waiting(), "boot-2"),
        text_to_sign(&Approval { digest: Digest::of(b"another"), ..waiting() }, "boot-1"),
        text_to_sign(&Approval { epoch: "2-b".into(), ..waiting() }, "boot-1"),
        text_to_sign(&Approval { id: ApprovalId::new(2, [1; 10]), ..waiting() }, "boot-1"),
        text_to_sign(&Approval { action: ActionId::new(2, [2; 10]), ..waiting() }, "boot-1"),
    ];
    assert!(others.iter().all(|other| *other != text));
}

#[test]
fn a_key_signs_its_own_text_for_an_approval_and_nothing_else() {
    for keys in [Keys::on_disk(), Keys::in_hardware()] {
        let key = keys.public();
        let signature = read(&keys.sign(NAMESPACE, "yes", TOUCHED));
        assert_eq!(signature.fingerprint(), key.fingerprint());
        assert_eq!(key.has_signed("yes", &signature), Ok(()));
        for other in ["", "Yes", "yes\n", " yes"] {
            assert_eq!(key.has_signed(other, &signature), Err(SignatureError::Wrong), "{other:?}");
        }
        let file = read(&keys.sign("file", "yes", TOUCHED));
        assert_eq!(key.has_signed("yes", &file), Err(SignatureError::Namespace { found: "file".into() }));
        // Another one's key, and this one's in the other kind.
        let others = Keys { algorithm: keys.algorithm, secret: SigningKey::from_bytes(&[8; 32]) };
        assert_eq!(others.public().has_signed("yes", &signature), Err(SignatureError::Wrong));
    }
    let by_disk = read(&Keys::on_disk().sign(NAMESPACE, "yes", 0));
    assert_eq!(Keys::in_hardware().public().has_signed("yes", &by_disk), Err(SignatureError::Wrong));
}

#[test]
fn a_security_key_counts_only_with_somebody_at_it() {
    let keys = Keys::in_hardware();
    for (flags, expected) in
        [(0, Err(SignatureError::Untouched)), (4, Err(SignatureError::Untouched)), (1, Ok(())), (5, Ok(()))]
    {
        let signature = read(&keys.sign(NAMESPACE, "yes", flags));
        assert_eq!(keys.public().has_signed("yes", &signature), expected, "{flags}");
    }
    // Nobody makes the touch up afterwards: it is signed along.
    let mut blob = keys.sign(NAMESPACE, "yes", 0);
    let place = blob.len() - TRAILER;
    blob[place] = TOUCHED;
    assert_eq!(keys.public().has_signed("yes", &read(&blob)), Err(SignatureError::Wrong));
}

#[test]
fn what_ssh_keygen_wrote_with_a_key_of_another_kind_is_read() {
    let key: PublicKey = ECDSA.parse().expect("a key");
    let signature: Signature = BY_ECDSA.parse().expect("a signature");
    assert_eq!(key.algorithm(), "ecdsa-sha2-nistp256");
    assert_eq!(key.has_signed("aios\n", &signature), Ok(()));
    assert_eq!(key.has_signed("aios", &signature), Err(SignatureError::Wrong));
    // As a terminal may bring it.
    let pasted = format!("\r\n{}\r\n", BY_ECDSA.replace('\n', "  \r\n"));
    assert_eq!(key.has_signed("aios\n", &pasted.parse().expect("a signature")), Ok(()));
}

#[test]
fn a_line_that_is_no_key_is_refused_with_what_is_taken() {
    let good = Keys::on_disk().public().to_string();
    assert_eq!(good.parse::<PublicKey>().map(|key| key.to_string()), Ok(good.clone()));
    let refused = |line: &str| line.parse::<PublicKey>().expect_err("no key");
    for other in ["", "ssh-rsa AAAA", "ssh-dss AAAA", "ecdsa-sha2-nistp384 AAAA", &format!("command=\"x\" {good}")] {
        let error = refused(other);
        assert!(matches!(error, KeyError::Kind { .. }), "{other}: {error}");
        assert!(error.to_string().contains("ssh-ed25519, sk-ssh-ed25519@openssh.com"), "{error}");
    }
    for line in [format!("{good}\u{202e}"), format!("{good}\nssh-rsa"), format!("{good} {}", "x".repeat(LINE_LIMIT))] {
        assert_eq!(refused(&line), KeyError::Line);
    }
    let blob = Keys::on_disk().blob();
    for blob in [&blob[..blob.len() - 1], &[blob.as_slice(), b"x"].concat(), &Keys::in_hardware().blob()] {
        assert!(matches!(refused(&line("ssh-ed25519", blob)), KeyError::Form(_)));
    }
    // A private key is never taken for a public one.
    assert!(matches!(refused("-----BEGIN OPENSSH PRIVATE KEY-----"), KeyError::Kind { .. }));
    // The neutral point and one of order two.
    let (mut neutral, mut second) = ([0; 32], [0xff; 32]);
    neutral[0] = 1;
    (second[0], second[31]) = (0xec, 0x7f);
    for point in [neutral, second] {
        assert_eq!(refused(&line("ssh-ed25519", &fields(&[b"ssh-ed25519", &point]))), KeyError::Weak);
    }
}

#[test]
fn fingerprints_are_those_of_ssh_keygen() {
    let key: PublicKey = ECDSA.parse().expect("a key");
    assert_eq!(key.fingerprint().to_string(), include_str!("tests/ecdsa.fingerprint").trim());
    let text = key.fingerprint().to_string();
    assert_eq!(text.parse(), Ok(key.fingerprint()));
    for wrong in ["", "SHA256:", &text[1..], &format!("{text}="), &text.replace("SHA256", "SHA512"), &text[..49]] {
        assert_eq!(wrong.parse::<Fingerprint>(), Err(NoFingerprint), "{wrong}");
    }
}

#[test]
fn what_is_cut_off_or_endless_is_no_signature() {
    let good = armoured(&Keys::on_disk().sign(NAMESPACE, "yes", 0));
    assert!(good.parse::<Signature>().is_ok());
    for length in 0..good.trim_end().len() {
        assert!(good[..length].parse::<Signature>().is_err(), "{length}");
    }
    assert_eq!("A".repeat(1 << 20).parse::<Signature>().err(), Some(SignatureError::Size(1 << 20)));
}

proptest! {
    #[test]
    fn no_text_makes_the_readers_panic(text in ".{0,200}", base64 in "[A-Za-z0-9+/=]{0,300}") {
        for line in [text.clone(), format!("ssh-ed25519 {base64}"), format!("ecdsa-sha2-nistp256 {base64} {text}")] {
            if let Ok(key) = line.parse::<PublicKey>() {
                prop_assert_eq!(key.to_string().parse(), Ok(key));
            }
        }
        let _ = text.parse::<Fingerprint>();
        let _ = text.parse::<Signature>();
        let _ = format!("-----BEGIN SSH SIGNATURE-----\n{base64}\n-----END SSH SIGNATURE-----").parse::<Signature>();
    }

    /// Whatever bit is changed: it is no signature, not of this text by this key, or read as the very same, because the reader
    /// does not look at the upper bits of a length that is fixed. A request is answered once whatever the form.
    #[test]
    fn a_changed_bit_makes_no_other_signature(place in any::<prop::sample::Index>(), bit in 0..8u8, hardware in any::<bool>()) {
        let keys = if hardware { Keys::in_hardware() } else { Keys::on_disk() };
        let mut blob = keys.sign(NAMESPACE, "yes", TOUCHED);
        let place = place.index(blob.len());
        blob[place] ^= 1u8 << bit;
        if let Ok(signature) = armoured(&blob).parse::<Signature>() {
            let same = signature == read(&keys.sign(NAMESPACE, "yes", TOUCHED));
            prop_assert!(same || keys.public().has_signed("yes", &signature).is_err());
        }
    }
}
