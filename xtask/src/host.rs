//! What the build machine must have. Named in one line when missing, and installed when we may.

use std::collections::BTreeSet;
use std::fmt;
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
    /// To build what has C or C++ in it.
    Compile,
    /// To build images.
    Build,
    /// To build twice.
    Reproduce,
    /// To run machines as well.
    Machine,
    /// To measure beside other systems.
    Bench,
}

/// A sign that a package is there (a program, or an absolute path) and the package.
const PACKAGES: &[(Need, &str, &str)] = &[
    (Need::Compile, "g++", "build-essential"),
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
    (Need::Build, "/usr/lib/shim/shimx64.efi.signed", "shim-signed"),
    (Need::Build, "/usr/lib/shim/mmx64.efi.signed", "shim-helpers-amd64-signed"),
    (Need::Build, "mke2fs", "e2fsprogs"),
    (Need::Build, "/var/lib/dpkg/info/busybox-static.list", "busybox-static"),
    (Need::Reproduce, "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1", "faketime"),
    (Need::Machine, "qemu-system-x86_64", "qemu-system-x86"),
    (Need::Machine, "qemu-img", "qemu-utils"),
    (Need::Machine, "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd", "ovmf"),
    (Need::Machine, "/var/lib/dpkg/info/python3-venv.list", "python3-venv"),
    (Need::Machine, "swtpm", "swtpm"),
    (Need::Machine, "nix-store", "nix-bin"),
    // Other people's tools, which judge what ours make, and a peer of the measurements.
    (Need::Machine, "sbverify", "sbsigntool"),
    (Need::Machine, "sgdisk", "gdisk"),
    (Need::Machine, "veritysetup", "cryptsetup-bin"),
    (Need::Machine, "fsck.vfat", "dosfstools"),
    (Need::Machine, "bwrap", "bubblewrap"),
    // What people sign their answers with.
    (Need::Machine, "ssh-keygen", "openssh-client"),
    // Servers that the network service is tested beside, and what judges its packet filter. On a machine that keeps its
    // clock by another program, apt replaces that one by chrony.
    (Need::Machine, "ip", "iproute2"),
    (Need::Machine, "dnsmasq", "dnsmasq-base"),
    (Need::Machine, "radvd", "radvd"),
    (Need::Machine, "chronyd", "chrony"),
    (Need::Machine, "nft", "nftables"),
    (Need::Machine, "ping", "iputils-ping"),
    (Need::Bench, "mmdebstrap", "mmdebstrap"),
    (Need::Bench, "/lib/systemd/systemd-journald", "systemd"),
];

/// A program that is of use from some version on, how it says its version, that version, and its package.
const VERSIONS: &[(Need, &[&str], &[u32], &str)] = &[
    // What linux 7.2 asks for.
    (Need::Build, &["gcc", "--version"], &[8, 1], "build-essential"),
    (Need::Build, &["ld", "--version"], &[2, 30], "build-essential"),
    (Need::Build, &["make", "--version"], &[4, 0], "build-essential"),
    (Need::Build, &["bison", "--version"], &[2, 0], "bison"),
    (Need::Build, &["flex", "--version"], &[2, 5, 35], "flex"),
    // Clusters of 64 KiB in deterministic images.
    (Need::Build, &["mkfs.erofs", "-V"], &[1, 5], "erofs-utils"),
    // An appended partition that El Torito and the GPT share.
    (Need::Build, &["xorriso", "-version"], &[1, 5], "xorriso"),
    // Dates from SOURCE_DATE_EPOCH.
    (Need::Build, &["mcopy", "--version"], &[4, 0, 26], "mtools"),
    // Ed25519 on raw input.
    (Need::Build, &["openssl", "version"], &[3, 0], "openssl"),
    (Need::Build, &["python3", "--version"], &[3, 9], "python3"),
    // The oldest that our scenarios ran with.
    (Need::Machine, &["qemu-system-x86_64", "--version"], &[7, 2], "qemu-system-x86"),
    (Need::Machine, &["swtpm", "--version"], &[0, 7], "swtpm"),
];

/// What keeps this machine from being used.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Lack {
    Missing { sign: &'static str, package: &'static str },
    TooOld { program: &'static str, package: &'static str, found: Vec<u32>, wanted: &'static [u32] },
}

impl Lack {
    fn package(&self) -> &'static str {
        match self {
            Self::Missing { package, .. } | Self::TooOld { package, .. } => package,
        }
    }
}

impl fmt::Display for Lack {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { sign, package } if package == sign => formatter.write_str(package),
            Self::Missing { sign, package } => write!(formatter, "{package} ({sign})"),
            Self::TooOld { program, found, wanted, .. } => {
                write!(formatter, "{program} {} or newer (here is {})", dotted(wanted), dotted(found))
            }
        }
    }
}

/// Makes sure that everything is there.
pub(crate) fn prepare(need: Need, install: Install) -> Result<()> {
    let Some(left) = settle(|| lacks(need, present, said_version), |lacks| add(lacks, install))? else { return Ok(()) };
    Err(Error::refused(
        format!("after `{}` this machine still lacks {}", install_line(&left), listed(&left)),
        "its release of Debian or Ubuntu may be too old: Debian 12 has everything",
    ))
}

/// Rounds of installing. Two are enough for what came from elsewhere and had to go for the sake of what is installed: it
/// comes back in the archive's version.
const ROUNDS: usize = 2;

/// Adds what is lacking until nothing is; what is left when adding does not help.
fn settle(lacks: impl Fn() -> Vec<Lack>, mut add: impl FnMut(&[Lack]) -> Result<()>) -> Result<Option<Vec<Lack>>> {
    let mut left = lacks();
    for _ in 0..ROUNDS {
        if left.is_empty() {
            break;
        }
        add(&left)?;
        left = lacks();
    }
    Ok((!left.is_empty()).then_some(left))
}

fn add(lacks: &[Lack], install: Install) -> Result<()> {
    let (named, line) = (listed(lacks), install_line(lacks));
    if install == Install::ReportOnly {
        return Err(Error::refused(format!("this machine lacks {named}"), format!("run as root: {line}")));
    }
    if !present("apt-get") {
        return Err(Error::refused(
            format!("this machine lacks {named}"),
            format!("it has no apt-get; install what Debian calls {}", packages(lacks).join(" ")),
        ));
    }
    let Some(prefix) = root_prefix() else {
        return Err(Error::refused(
            format!("this machine lacks {named}, and this user may not install"),
            format!("run as root: {line}"),
        ));
    };
    let apt = |words: &[&str]| {
        let mut all: Vec<&str> = prefix.to_vec();
        all.extend(["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y"]);
        all.extend(words);
        Tool::new(all[0]).args(&all[1..])
    };
    eprintln!("this machine lacks {named}; installing: {line}");
    let mut words = vec!["install", "--no-install-recommends"];
    words.extend(packages(lacks));
    // A fresh machine has no package lists, an old one may name versions that are gone: fetch the lists, then once more.
    if apt(&words).run().is_err() {
        apt(&["update"]).run()?;
        apt(&words).run()?;
    }
    Ok(())
}

fn packages(lacks: &[Lack]) -> Vec<&'static str> {
    lacks.iter().map(Lack::package).collect::<BTreeSet<_>>().into_iter().collect()
}

fn install_line(lacks: &[Lack]) -> String {
    format!("apt-get install --no-install-recommends {}", packages(lacks).join(" "))
}

fn listed(lacks: &[Lack]) -> String {
    lacks.iter().map(ToString::to_string).collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(", ")
}

/// What is missing or too old. A program that does not say a version is taken as it is.
fn lacks(need: Need, present: impl Fn(&str) -> bool, said_version: impl Fn(&[&str]) -> Option<Vec<u32>>) -> Vec<Lack> {
    let wanted = PACKAGES.iter().filter(|(wanted, ..)| *wanted <= need);
    let missing = wanted.filter(|(_, sign, _)| !present(sign));
    let mut lacks: Vec<Lack> = missing.map(|(_, sign, package)| Lack::Missing { sign, package }).collect();
    let versions = VERSIONS.iter().filter(|(wanted, words, ..)| *wanted <= need && present(words[0]));
    lacks.extend(versions.filter_map(|(_, words, wanted, package)| {
        let found = said_version(words)?;
        (found.as_slice() < *wanted).then_some(Lack::TooOld { program: words[0], package, found, wanted })
    }));
    lacks
}

fn said_version(words: &[&str]) -> Option<Vec<u32>> {
    version_in(&Tool::new(words[0]).args(&words[1..]).said()?)
}

/// The first number with a dot in it, such as in `xorriso 1.5.4 : RockRidge`.
fn version_in(text: &str) -> Option<Vec<u32>> {
    let words = text.split(|letter: char| !letter.is_ascii_digit() && letter != '.');
    words
        .map(|word| word.trim_matches('.'))
        .filter(|word| word.contains('.'))
        .find_map(|word| word.split('.').map(|part| part.parse().ok()).collect())
}

fn dotted(version: &[u32]) -> String {
    version.iter().map(ToString::to_string).collect::<Vec<_>>().join(".")
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn versions_are_read_as_programs_say_them() {
        let check = |text: &str, expected: &[u32]| assert_eq!(version_in(text).as_deref(), Some(expected), "{text}");
        check("gcc (Debian 12.2.0-14+deb12u1) 12.2.0\nCopyright (C) 2022", &[12, 2, 0]);
        check("GNU ld (GNU Binutils for Debian) 2.40\n", &[2, 40]);
        check("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)\n", &[7, 2, 22]);
        check("mkfs.erofs 1.5\n", &[1, 5]);
        check("*** Zstandard CLI (64-bit) v1.5.4, by Yann Collet ***", &[1, 5, 4]);
        assert_eq!(version_in("usage: a FILE..."), None);
    }

    #[test]
    fn missing_and_old_programs_are_named() {
        assert_eq!(lacks(Need::Bench, |_| true, |_| None), []);
        let lacks = lacks(
            Need::Build,
            |sign| sign != "xorriso",
            |words| Some(if words[0] == "mkfs.erofs" { vec![1, 4, 9] } else { vec![99, 0] }),
        );
        assert_eq!(listed(&lacks), "mkfs.erofs 1.5 or newer (here is 1.4.9), xorriso");
    }

    #[test]
    fn what_only_machines_need_is_not_asked_for_a_build() {
        let lacks = lacks(Need::Build, |sign| !sign.starts_with("qemu"), |_| None);
        assert_eq!(lacks, []);
    }

    #[test]
    fn what_had_to_go_for_what_was_installed_comes_back() {
        let lack = |sign: &'static str, package: &'static str| Lack::Missing { sign, package };
        let machine = std::cell::RefCell::new(BTreeSet::from(["qemu-img"]));
        let lacks = || {
            let wanted = [("qemu-img", "qemu-utils"), ("qemu-system-x86_64", "qemu-system-x86")];
            let missing = wanted.iter().filter(|(sign, _)| !machine.borrow().contains(sign));
            missing.map(|(sign, package)| lack(sign, package)).collect::<Vec<_>>()
        };
        // The tools are there in a version with which the emulator of the archive cannot be.
        let add = |lacking: &[Lack]| {
            if lacking.contains(&lack("qemu-system-x86_64", "qemu-system-x86")) {
                machine.borrow_mut().remove("qemu-img");
            }
            let signs = lacking.iter().map(|lack| match lack {
                Lack::Missing { sign, .. } => *sign,
                Lack::TooOld { program, .. } => *program,
            });
            machine.borrow_mut().extend(signs);
            Ok(())
        };
        assert_eq!(settle(lacks, add).expect("nothing fails"), None);
        let left = settle(|| vec![lack("nix-store", "nix-bin")], |_| Ok(())).expect("nothing fails");
        assert_eq!(left, Some(vec![lack("nix-store", "nix-bin")]));
    }

    proptest! {
        #[test]
        fn no_answer_of_a_program_panics(text in "[0-9. v()-]{0,40}") {
            let _ = version_in(&text);
        }
    }
}
