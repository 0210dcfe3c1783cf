//! What firmware starts: unified kernel images with a sealed command line, and the loader; all signed.

use std::fs;
use std::path::{Path, PathBuf};

use aios_image::cpio::{Archive, CpioError};

use crate::cache::{Cache, Key};
use crate::error::{Error, OnFile, Result};
use crate::files_list::{Content, Staged};
use crate::kernel::Kernel;
use crate::keys::Keys;
use crate::root::Root;
use crate::tool::Tool;

/// The stub that finds the sections and starts the kernel.
const STUB: &str = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub";

/// The loader.
const LOADER: &str = "/usr/lib/systemd/boot/efi/systemd-bootx64.efi";

/// What every start of our kernel has on its command line. Most repeats compiled defaults, so that an auditor can read
/// it; there is no `console=`, which a firmware's own choice of console would then fight.
const HARDENING: &str =
    "panic=10 oops=panic lockdown=integrity slab_nomerge init_on_alloc=1 vsyscall=none quiet loglevel=4";

/// The sealed line of a release.
pub(crate) fn release_line(root: &Root, version: &str) -> String {
    format!("aios.root={} aios.blocks={} aios.version={version} {HARDENING}", root.hash, root.blocks)
}

/// The sealed line of recovery, which needs no root.
pub(crate) fn recovery_line(version: &str) -> String {
    format!("aios.recovery=1 aios.version={version} {HARDENING}")
}

/// The text that says which system this is.
pub(crate) fn os_release(version: &str) -> String {
    format!("ID=aios\nNAME=AIOS\nPRETTY_NAME=\"AIOS {version}\"\nVERSION_ID={version}\n")
}

/// An initial RAM file system, uncompressed, with these files.
pub(crate) fn initramfs(files: &[Staged]) -> Result<Vec<u8>> {
    let mut archive = Archive::new();
    let failed = |source: CpioError| Error::library("the initial RAM file system cannot be written", source);
    for file in files {
        match &file.content {
            Content::Directory => archive.directory(&file.path, file.mode),
            Content::Link(target) => archive.link(&file.path, target),
            Content::File(bytes) => archive.file(&file.path, file.mode, bytes),
            Content::Device { major, minor } => archive.character_device(&file.path, file.mode, *major, *minor),
        }
        .map_err(failed)?;
    }
    Ok(archive.finish())
}

/// A signed unified kernel image. `name` is the step's.
pub(crate) fn seal(
    cache: &Cache,
    keys: &Keys,
    name: &str,
    kernel: &Kernel,
    line: &str,
    initramfs: &[u8],
    os_release: &str,
) -> Result<PathBuf> {
    let key = signing_key(Key::new("uki 1"), keys)?
        .file("stub", Path::new(STUB))?
        .file("kernel", &kernel.image)?
        .text("release", &kernel.release)
        .text("line", line)
        .text("os-release", os_release)
        .bytes("initramfs", initramfs);
    let place = cache.step(name, &key, |out| {
        let archive = out.join("initramfs");
        fs::write(&archive, initramfs).on("write", &archive)?;
        let packed = out.join("initramfs.zst");
        Tool::new("zstd").args(["-19", "-q", "--rm", "-o"]).arg(&packed).arg(&archive).run()?;
        let stub = fs::read(STUB).on("read", Path::new(STUB))?;
        let linux = fs::read(&kernel.image).on("read", &kernel.image)?;
        let initrd = fs::read(&packed).on("read", &packed)?;
        // The kernel last: it unpacks itself in place, beyond its own end.
        let sections: [(&str, &[u8]); 5] = [
            (".osrel", os_release.as_bytes()),
            (".cmdline", line.as_bytes()),
            (".uname", kernel.release.as_bytes()),
            (".initrd", &initrd),
            (".linux", &linux),
        ];
        let image = aios_image::uki::append(&stub, &sections)
            .map_err(|source| Error::library(format!("{STUB} cannot be made a unified kernel image"), source))?;
        let unsigned = out.join("unsigned.efi");
        fs::write(&unsigned, image).on("write", &unsigned)?;
        sign(keys, &unsigned, &out.join("signed.efi"))?;
        fs::remove_file(&packed).on("remove", &packed)
    })?;
    Ok(place.join("signed.efi"))
}

/// The signed loader.
pub(crate) fn loader(cache: &Cache, keys: &Keys) -> Result<PathBuf> {
    let key = signing_key(Key::new("loader 1"), keys)?.file("loader", Path::new(LOADER))?;
    let place = cache.step("loader", &key, |out| sign(keys, Path::new(LOADER), &out.join("signed.efi")))?;
    Ok(place.join("signed.efi"))
}

fn signing_key(key: Key, keys: &Keys) -> Result<Key> {
    key.file("private", &keys.private("db"))?.file("certificate", &keys.certificate("db"))
}

fn sign(keys: &Keys, program: &Path, signed: &Path) -> Result<()> {
    Tool::new("sbsign")
        .arg("--key")
        .arg(keys.private("db"))
        .arg("--cert")
        .arg(keys.certificate("db"))
        .arg("--output")
        .arg(signed)
        .arg(program)
        .run()?;
    Tool::new("sbverify").arg("--cert").arg(keys.certificate("db")).arg(signed).run()
}
