//! The variable store of virtual machines' firmware with our keys enrolled. One without keys comes with the firmware.

use std::path::PathBuf;

use crate::cache::{Cache, Key};
use crate::error::Result;
use crate::keys::{Keys, Name};
use crate::tool::Tool;

/// The empty store of the package `ovmf`.
const EMPTY: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";

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
    let place = cache.step("firmware", &key, |out| {
        Tool::new(editor(cache)?)
            .args(["-m", "virt.firmware.vars", "--input", EMPTY, "--secure-boot", "--set-pk", OWNER])
            .arg(keys.public(Name::Platform))
            .args(["--add-kek", OWNER])
            .arg(keys.public(Name::Exchange))
            .args(["--add-db", OWNER])
            .arg(keys.public(Name::Programs))
            .arg("--output")
            .arg(out.join("secboot.vars"))
            .run()
    })?;
    Ok(place.join("secboot.vars"))
}
