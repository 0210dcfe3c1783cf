//! TPM policies inside our kernel images, and what their register will hold, for whoever wants to compare.
//!
//! `.pcrsig` is JSON as systemd-measure writes it and systemd-cryptenroll, -cryptsetup and -creds read it: for each state
//! of register 11 in which the machine may have its secret, a policy, signed by the key of the way in which it runs.

use aios_ids::Digest;
use aios_image::pcr::Register;
use aios_slots::phase::{REGISTER, Way};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;

use crate::error::{Error, Result};
use crate::keys::{Keys, Name};

/// `.pcrsig`, whose only bank is this.
#[derive(Serialize)]
struct Signatures {
    sha256: Vec<Signed>,
}

/// One signed policy.
#[derive(Serialize)]
struct Signed {
    pcrs: [u32; 1],
    /// Fingerprint of the key.
    pkfp: Digest,
    /// The policy.
    pol: Digest,
    sig: String,
}

/// What a register will hold, for the manifest.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Prediction {
    /// The kernel image.
    image: String,
    /// How it runs.
    runs: &'static str,
    /// What is measured after the image.
    words: &'static [&'static str],
    /// Register 11 once the system is ready, in the bank of SHA-256.
    pcr11: Digest,
}

/// The key that signs the policies of a way.
pub(crate) fn key(way: Way) -> Name {
    match way {
        Way::Installed => Name::PcrInstalled,
        Way::Live => Name::PcrLive,
        Way::Recovery => Name::PcrRecovery,
    }
}

/// The content of `.pcrsig` for an image that is complete but for it.
pub(crate) fn signatures(keys: &Keys, image: &[u8], ways: &[Way]) -> Result<String> {
    let register = measured(image)?;
    let mut sha256 = Vec::new();
    for way in ways {
        let name = key(*way);
        let pkfp = keys.rsa_fingerprint(name)?;
        for policy in register.policies(*way) {
            let sig = BASE64_STANDARD.encode(keys.sign(name, &policy)?);
            sha256.push(Signed { pcrs: [REGISTER], pkfp, pol: Digest::from_bytes(policy), sig });
        }
    }
    Ok(serde_json::to_string(&Signatures { sha256 }).expect("numbers and text can be written"))
}

/// What register 11 will hold when this image has started each way.
pub(crate) fn predictions(name: &str, image: &[u8], ways: &[Way]) -> Result<Vec<Prediction>> {
    let register = measured(image)?;
    let prediction = |way: &Way| Prediction {
        image: name.to_owned(),
        runs: way.word(),
        words: way.words(),
        pcr11: Digest::from_bytes(*register.started(*way).bytes()),
    };
    Ok(ways.iter().map(prediction).collect())
}

fn measured(image: &[u8]) -> Result<Register> {
    Register::of_image(image).map_err(|source| Error::library("the kernel image cannot be measured", source))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    /// The form that systemd-measure prints and systemd-cryptsetup reads, with its fingerprint of a key.
    #[test]
    fn each_way_is_signed_by_its_own_key() {
        let folder = tempfile::tempdir().expect("a folder");
        let keys = Keys::for_tests(&folder.path().join("keys"));
        let stub = std::fs::read("/usr/lib/systemd/boot/efi/linuxx64.efi.stub");
        let Ok(stub) = stub else {
            eprintln!("skipped: needs package systemd-boot-efi");
            return;
        };
        let image = aios_image::uki::append(&stub, &[(".linux", b"hello\n")]).expect("fits");
        let text = signatures(&keys, &image, &[Way::Installed, Way::Live]).expect("signed");
        let read: Value = serde_json::from_str(&text).expect("JSON");
        let signed = read["sha256"].as_array().expect("a list");
        let installed = keys.rsa_fingerprint(Name::PcrInstalled).expect("a key").to_string();
        let live = keys.rsa_fingerprint(Name::PcrLive).expect("a key").to_string();
        let fingerprints: Vec<&str> = signed.iter().filter_map(|one| one["pkfp"].as_str()).collect();
        assert_eq!(fingerprints, [&installed, &installed, &installed, &live, &live, &live]);
        assert_eq!(signed[3]["pol"], "d9d41eb6178e9022961a4cef5f1c9f5a798b8ea94198224f4e48a1afde033122");
        assert!(signed.iter().all(|one| one["pcrs"] == serde_json::json!([11])));
        let lengths = signed.iter().filter_map(|one| BASE64_STANDARD.decode(one["sig"].as_str()?).ok());
        assert_eq!(lengths.map(|signature| signature.len()).collect::<Vec<_>>(), [256; 6]);
    }
}
