//! The variable store of virtual machines' firmware with our keys enrolled. One without keys comes with the firmware.

use std::fs;
use std::path::{Path, PathBuf};

use crate::cache::{Cache, Key};
use crate::error::{OnFile, Result};
use crate::keys::{Keys, Name};
use crate::shim;
use crate::tool::Tool;

/// The empty store of the package `ovmf`.
const EMPTY: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";

/// The one with the keys that PCs are sold with.
pub(crate) const ORDINARY: &str = "/usr/share/OVMF/OVMF_VARS_4M.ms.fd";

/// What edits stores; in no Debian 12 package, so it is kept in an environment of its own in the cache.
const EDITOR: &str = "virt-firmware==26.10";

/// Who put the keys there. Any id; fixed so that equal keys give equal stores.
const OWNER: &str = "61696f73-6b65-4573-8000-000000000001";

/// The Python that has the editor, as a module: its script names the folder that the step had before it was finished.
pub(crate) fn editor(cache: &Cache) -> Result<PathBuf> {
    let place = cache.step("virt-firmware", &Key::new("virt-firmware 1").text("package", EDITOR), |out| {
        Tool::new("/usr/bin/python3").args(["-m", "venv"]).arg(out.join("env")).run()?;
        Tool::new(out.join("env/bin/python")).args(["-m", "pip", "install", "--quiet", EDITOR]).run()
    })?;
    Ok(place.join("env/bin/python"))
}

/// A store with Secure Boot on and our keys only, to be copied for a machine.
pub(crate) fn enrolled(cache: &Cache, keys: &Keys) -> Result<PathBuf> {
    let mut key = Key::new("firmware 1").file("empty", EMPTY.as_ref())?.text("editor", EDITOR);
    for name in [Name::Platform, Name::Exchange, Name::Programs] {
        key = key.file(name.word(), &keys.public(name))?;
    }
    // Our signature makes shim start; what else shim would start because of its own vendor's key must not.
    let program = fs::read(shim::SHIM).on("read", Path::new(shim::SHIM))?;
    let vendor = shim::vendor_certificate(&program)?;
    key = key.bytes("refused", &vendor);
    let place = cache.step("firmware", &key, |out| {
        let refused = out.join("refused.cer");
        fs::write(&refused, &vendor).on("write", &refused)?;
        Tool::new(editor(cache)?)
            .args(["-m", "virt.firmware.vars", "--input", EMPTY, "--secure-boot", "--set-pk", OWNER])
            .arg(keys.public(Name::Platform))
            .args(["--add-kek", OWNER])
            .arg(keys.public(Name::Exchange))
            .args(["--add-db", OWNER])
            .arg(keys.public(Name::Programs))
            .args(["--add-dbx-cert", OWNER])
            .arg(&refused)
            .arg("--output")
            .arg(out.join("secboot.vars"))
            .run()
    })?;
    Ok(place.join("secboot.vars"))
}

/// A store as an ordinary PC has it, where the owner has enrolled our certificate for shim.
pub(crate) fn of_owner(cache: &Cache, keys: &Keys) -> Result<PathBuf> {
    let certificate = keys.public(Name::Programs);
    let key = Key::new("owner 1").file("ordinary", ORDINARY.as_ref())?.text("editor", EDITOR);
    let place = cache.step("owner", &key.file("certificate", &certificate)?, |out| {
        Tool::new(editor(cache)?)
            .args(["-m", "virt.firmware.vars", "--input", ORDINARY, "--add-mok", OWNER])
            .arg(&certificate)
            .arg("--output")
            .arg(out.join("owner.vars"))
            .run()
    })?;
    Ok(place.join("owner.vars"))
}
