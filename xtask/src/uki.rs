//! What firmware starts: unified kernel images with a sealed command line, and the loader; all signed.

use std::fs;
use std::path::{Path, PathBuf};

use aios_image::cpio::{Archive, CpioError};
use aios_image::{authenticode, sbat};
use aios_slots::phase::Way;

use crate::cache::{Cache, Key};
use crate::error::{Error, OnFile, Result};
use crate::files_list::{Content, Staged};
use crate::kernel::Kernel;
use crate::keys::{Keys, Name, Purpose};
use crate::pcr;
use crate::root::Root;
use crate::tool::Tool;

/// The stub that finds the sections and starts the kernel.
pub(crate) const STUB: &str = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub";

/// The loader.
pub(crate) const LOADER: &str = "/usr/lib/systemd/boot/efi/systemd-bootx64.efi";

/// What every start of our kernel has on its command line. Most repeats compiled defaults, so that an auditor can read
/// it; there is no `console=`, which a firmware's own choice of console would then fight.
pub(crate) const HARDENING: &str = "panic=10 oops=panic lockdown=integrity slab_nomerge init_on_alloc=1 page_alloc.shuffle=1 vsyscall=none \
     hash_pointers=always randomize_kstack_offset=on mitigations=auto iommu.strict=1 iommu.passthrough=0 \
     proc_mem.force_override=never tsx=off quiet loglevel=4";

/// The sealed line of a release.
pub(crate) fn release_line(root: &Root, version: &str) -> String {
    format!("aios.root={} aios.blocks={} aios.version={version} {HARDENING}", root.hash, root.blocks)
}

/// The sealed line of recovery, which needs no root.
pub(crate) fn recovery_line(version: &str) -> String {
    format!("aios.recovery=1 aios.version={version} {HARDENING}")
}

/// The text that says which system this is.
pub(crate) fn os_release(version: &str, purpose: Purpose) -> String {
    let variant = match purpose {
        Purpose::Release => "",
        Purpose::Development => "VARIANT=\"Development keys\"\nVARIANT_ID=development-keys\n",
    };
    format!("ID=aios\nNAME=AIOS\nPRETTY_NAME=\"AIOS {version}\"\nVERSION_ID={version}\n{variant}")
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

/// What a kernel image is for.
pub(crate) struct Role {
    /// The step's name.
    name: &'static str,
    /// How it runs. The first one's key is the one that the image names.
    pub(crate) ways: &'static [Way],
}

/// The image of a release, on a medium and on a disk.
pub(crate) const RELEASE: Role = Role { name: "uki", ways: &[Way::Installed, Way::Live] };

/// The recovery image.
pub(crate) const RECOVERY: Role = Role { name: "recovery", ways: &[Way::Recovery] };

/// The image that carries its own root.
pub(crate) const STANDALONE: Role = Role { name: "standalone", ways: &[Way::Live] };

/// A signed unified kernel image.
pub(crate) fn seal(
    cache: &Cache,
    keys: &Keys,
    role: &Role,
    kernel: &Kernel,
    line: &str,
    initramfs: &[u8],
    os_release: &str,
) -> Result<PathBuf> {
    let mut key = signing_key(Key::new("uki 2"), keys)?
        .file("stub", Path::new(STUB))?
        .file("kernel", &kernel.image)?
        .text("release", &kernel.release)
        .text("line", line)
        .text("os-release", os_release)
        .bytes("initramfs", initramfs);
    for way in role.ways {
        key = key.file(way.word(), &keys.public(pcr::key(*way)))?;
    }
    let place = cache.step(role.name, &key, |out| {
        let archive = out.join("initramfs");
        fs::write(&archive, initramfs).on("write", &archive)?;
        let packed = out.join("initramfs.zst");
        Tool::new("zstd").args(["-19", "-q", "--rm", "-o"]).arg(&packed).arg(&archive).run()?;
        let read = |path: &Path| fs::read(path).on("read", path);
        let (linux, initrd) = (read(&kernel.image)?, read(&packed)?);
        let policy_key = read(&keys.public(pcr::key(role.ways[0])))?;
        let failed = |source| Error::library(format!("{STUB} cannot be made a unified kernel image"), source);
        let (stub, sbat) = sbat::extended(&read(Path::new(STUB))?, version_of(os_release)).map_err(failed)?;
        let sections = |signatures: &[u8]| {
            // The kernel last: it unpacks itself in place, beyond its own end.
            let sections: [(&str, &[u8]); 8] = [
                (sbat::SECTION, sbat.as_bytes()),
                (".osrel", os_release.as_bytes()),
                (".cmdline", line.as_bytes()),
                (".uname", kernel.release.as_bytes()),
                (".pcrpkey", &policy_key),
                (".pcrsig", signatures),
                (".initrd", &initrd),
                (".linux", &linux),
            ];
            aios_image::uki::append(&stub, &sections).map_err(failed)
        };
        // The signatures are the one section that is not measured, so what they sign can be computed without them.
        let signatures = pcr::signatures(keys, &sections(b"")?, role.ways)?;
        let signed = out.join("signed.efi");
        fs::write(&signed, sign(keys, &sections(signatures.as_bytes())?)?).on("write", &signed)?;
        fs::remove_file(&packed).on("remove", &packed)
    })?;
    Ok(place.join("signed.efi"))
}

/// The signed loader. It keeps the table `.sbat` that it came with: its faults are not ours.
pub(crate) fn loader(cache: &Cache, keys: &Keys) -> Result<PathBuf> {
    let key = signing_key(Key::new("loader 2"), keys)?.file("loader", Path::new(LOADER))?;
    let place = cache.step("loader", &key, |out| {
        let signed = out.join("signed.efi");
        let program = fs::read(LOADER).on("read", Path::new(LOADER))?;
        fs::write(&signed, sign(keys, &program)?).on("write", &signed)
    })?;
    Ok(place.join("signed.efi"))
}

/// The program with the signature of the key for what boots.
pub(crate) fn sign(keys: &Keys, program: &[u8]) -> Result<Vec<u8>> {
    let failed = |source| Error::library("the program cannot be signed", source);
    let digest = authenticode::digest(program).map_err(failed)?;
    let signature = keys.sign(Name::Programs, &authenticode::message(&digest))?;
    authenticode::attach(program, &keys.certificate_of(Name::Programs)?, &signature).map_err(failed)
}

/// Signatures depend on the key only, and a certificate belongs to one key.
fn signing_key(key: Key, keys: &Keys) -> Result<Key> {
    key.file("certificate", &keys.public(Name::Programs))
}

fn version_of(os_release: &str) -> &str {
    os_release.lines().find_map(|line| line.strip_prefix("VERSION_ID=")).unwrap_or_default()
}
