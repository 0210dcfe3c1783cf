//! The second way into a machine with Secure Boot: Debian's shim, which ordinary firmware trusts, and its MokManager.
//!
//! Firmware starts shim from the removable path, shim starts our loader from beside it. It asks the firmware's keys, the
//! owner's keys (MOK), and the vendor key that is built into it. We add our own signature to shim's two, so that firmware
//! with our keys alone starts it as well; there the vendor's key has to be refused, or a loader of Debian's would start in
//! place of ours. [`vendor_certificate`] is what such firmware gets into its dbx.

use std::fs;
use std::path::{Path, PathBuf};

use aios_image::{authenticode, uki};

use crate::cache::{Cache, Key};
use crate::error::{Error, OnFile, Result};
use crate::keys::{Keys, Name};

/// Of package `shim-signed`.
pub(crate) const SHIM: &str = "/usr/lib/shim/shimx64.efi.signed";

/// Of package `shim-helpers-amd64-signed`.
pub(crate) const MOK_MANAGER: &str = "/usr/lib/shim/mmx64.efi.signed";

/// The programs and the certificate for this way.
pub(crate) struct Shim {
    /// With our signature beside the others'.
    pub(crate) program: PathBuf,
    pub(crate) mok_manager: PathBuf,
    /// Ours, in the form that MokManager reads.
    pub(crate) certificate: PathBuf,
}

/// Takes them from the build machine.
pub(crate) fn make(cache: &Cache, keys: &Keys) -> Result<Shim> {
    let key = Key::new("shim 1")
        .file("shim", Path::new(SHIM))?
        .file("mok manager", Path::new(MOK_MANAGER))?
        .file("certificate", &keys.public(Name::Programs))?;
    let place = cache.step("shim", &key, |out| {
        let program = fs::read(SHIM).on("read", Path::new(SHIM))?;
        check_signatures(&program)?;
        for (name, content) in [
            ("shimx64.efi", crate::uki::sign(keys, &program)?),
            ("mmx64.efi", fs::read(MOK_MANAGER).on("read", Path::new(MOK_MANAGER))?),
            ("aios.cer", keys.certificate_of(Name::Programs)?.der().to_vec()),
            ("vendor.cer", vendor_certificate(&program)?),
        ] {
            let path = out.join(name);
            fs::write(&path, content).on("write", &path)?;
        }
        Ok(())
    })?;
    let file = |name: &str| place.join(name);
    Ok(Shim { program: file("shimx64.efi"), mok_manager: file("mmx64.efi"), certificate: file("aios.cer") })
}

/// What others signed has to be this program, or firmware would refuse it on the machines that it is for.
fn check_signatures(program: &[u8]) -> Result<()> {
    let failed = |source| Error::library(format!("{SHIM} is no EFI program"), source);
    let digest = authenticode::digest(program).map_err(failed)?;
    let signed = authenticode::signed_digests(program).map_err(failed)?;
    if !signed.is_empty() && signed.iter().all(|one| *one == digest) {
        return Ok(());
    }
    Err(Error::refused(
        format!("{SHIM} has {} signatures, and not all of them are for what it holds", signed.len()),
        "install the package shim-signed again",
    ))
}

/// The certificate built into shim, whose owner's programs it starts without asking.
pub(crate) fn vendor_certificate(shim: &[u8]) -> Result<Vec<u8>> {
    let section = uki::section(shim, ".vendor_cert")
        .map_err(|source| Error::library(format!("{SHIM} is no EFI program"), source))?
        .unwrap_or_default();
    let number = |at: usize| {
        let bytes = section.get(at..at + 4).map(|bytes| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
        bytes.map_or(0, |number| number as usize)
    };
    // Sizes of what is allowed and what is denied, then where each begins.
    let (size, begin) = (number(0), number(8));
    let certificate = begin.checked_add(size).and_then(|end| section.get(begin..end)).unwrap_or_default();
    // A certificate in DER and not a list of several.
    if certificate.starts_with(&[0x30, 0x82]) {
        return Ok(certificate.to_vec());
    }
    Err(Error::refused(format!("{SHIM} has no single vendor certificate"), "use the package shim-signed of Debian"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debians_shim_is_whole_and_its_vendor_is_known() {
        let Ok(mut program) = fs::read(SHIM) else {
            eprintln!("skipped: needs package shim-signed");
            return;
        };
        check_signatures(&program).expect("what others signed");
        let certificate = vendor_certificate(&program).expect("a certificate");
        assert!(certificate.windows(6).any(|part| part == b"Debian"));
        program[0x30_000] ^= 1;
        assert!(check_signatures(&program).is_err(), "a changed byte");
    }

    #[test]
    fn a_shim_without_a_vendor_is_an_error() {
        let Ok(stub) = fs::read(crate::uki::STUB) else {
            eprintln!("skipped: needs package systemd-boot-efi");
            return;
        };
        assert!(vendor_certificate(&stub).is_err());
        for torn in [&b""[..], &[0xff; 12], &[0xff; 16]] {
            let program = uki::append(&stub, &[(".vendor_", torn)]).expect("fits");
            assert!(vendor_certificate(&program).is_err());
        }
        assert!(vendor_certificate(b"no program").is_err());
    }
}
