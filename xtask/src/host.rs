//! What the build machine must have. Named in one line when missing, and installed when we may.

use std::path::Path;

use crate::error::{Error, Result};
use crate::tool::Tool;

/// Whether missing packages may be installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Install {
    Allowed,
    ReportOnly,
}

/// What packages are needed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Need {
    /// Rust and git are enough.
    Nothing,
    /// To build images.
    Build,
    /// To run machines as well.
    Machine,
}

/// A sign that a package is there (a program, or an absolute path) and the package.
const PACKAGES: &[(Need, &str, &str)] = &[
    (Need::Build, "gcc", "build-essential"),
    (Need::Build, "make", "build-essential"),
    (Need::Build, "flex", "flex"),
    (Need::Build, "bison", "bison"),
    (Need::Build, "bc", "bc"),
    (Need::Build, "cpio", "cpio"),
    (Need::Build, "xz", "xz-utils"),
    (Need::Build, "zstd", "zstd"),
    (Need::Build, "rsync", "rsync"),
    (Need::Build, "openssl", "openssl"),
    (Need::Build, "python3", "python3"),
    (Need::Build, "/usr/include/libelf.h", "libelf-dev"),
    (Need::Build, "/usr/include/openssl/ssl.h", "libssl-dev"),
    (Need::Build, "/usr/lib/systemd/boot/efi/linuxx64.efi.stub", "systemd-boot-efi"),
    (Need::Build, "mkfs.erofs", "erofs-utils"),
    (Need::Build, "xorriso", "xorriso"),
    (Need::Build, "mcopy", "mtools"),
    (Need::Build, "sbsign", "sbsigntool"),
    (Need::Build, "mke2fs", "e2fsprogs"),
    (Need::Build, "/var/lib/dpkg/info/busybox-static.list", "busybox-static"),
    (Need::Machine, "qemu-system-x86_64", "qemu-system-x86"),
    (Need::Machine, "qemu-img", "qemu-utils"),
    (Need::Machine, "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd", "ovmf"),
    (Need::Machine, "/var/lib/dpkg/info/python3-venv.list", "python3-venv"),
    (Need::Machine, "swtpm", "swtpm"),
    (Need::Machine, "nix-store", "nix-bin"),
    // Other people's tools, which judge what ours make, and a peer of the measurements.
    (Need::Machine, "sgdisk", "gdisk"),
    (Need::Machine, "veritysetup", "cryptsetup-bin"),
    (Need::Machine, "fsck.vfat", "dosfstools"),
    (Need::Machine, "bwrap", "bubblewrap"),
];

/// Makes sure that everything is there.
pub(crate) fn prepare(need: Need, install: Install) -> Result<()> {
    let mut missing: Vec<&str> = PACKAGES
        .iter()
        .filter(|(wanted, sign, _)| *wanted <= need && !present(sign))
        .map(|(_, _, package)| *package)
        .collect();
    missing.dedup();
    if missing.is_empty() {
        return Ok(());
    }
    let line = format!("apt-get install --no-install-recommends {}", missing.join(" "));
    eprintln!("this machine lacks: {}", missing.join(" "));
    let Some(prefix) = root_prefix().filter(|_| install == Install::Allowed && present("apt-get")) else {
        return Err(Error::refused("packages are missing on this machine", format!("run as root: {line}")));
    };
    let apt = |words: &[&str]| {
        let mut all: Vec<&str> = prefix.to_vec();
        all.extend(["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y"]);
        all.extend(words);
        Tool::new(all[0]).args(&all[1..])
    };
    eprintln!("installing them: {line}");
    let mut words = vec!["install", "--no-install-recommends"];
    words.extend(&missing);
    // A fresh machine has no package lists, an old one may name versions that are gone: fetch the lists, then once more.
    if apt(&words).run().is_err() {
        apt(&["update"]).run()?;
        apt(&words).run()?;
    }
    match PACKAGES.iter().find(|(wanted, sign, _)| *wanted <= need && !present(sign)) {
        None => Ok(()),
        Some((_, sign, package)) => {
            Err(Error::refused(format!("package {package} is installed and {sign} is still not there"), ""))
        }
    }
}

/// Whether a program is on the path, or an absolute path exists.
pub(crate) fn present(sign: &str) -> bool {
    if sign.starts_with('/') {
        return Path::new(sign).exists();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin"].map(Into::into);
    std::env::split_paths(&path).chain(system).any(|folder| folder.join(sign).is_file())
}

/// What to put before a command so that it runs as root; none when there is no way without a question.
fn root_prefix() -> Option<&'static [&'static str]> {
    let user = Tool::new("id").arg("-u").output().ok()?;
    if user.trim() == "0" {
        Some(&[])
    } else if present("sudo") && Tool::new("sudo").args(["-n", "true"]).run().is_ok() {
        Some(&["sudo", "-n"])
    } else {
        None
    }
}
