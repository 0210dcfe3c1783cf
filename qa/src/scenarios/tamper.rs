//! One flipped bit in each part of a release. Where a signature is the guard, the firmware enforces signatures and refuses;
//! where the hash tree is, the system says which block was changed. What was changed never runs.

use std::fs;

use super::boot::{live, never_runs, start};
use crate::host::disk::{Disk, Partition};
use crate::host::fat::Fat;
use crate::host::iso::{IsoCopy, ROOT_NAME, flip};
use crate::scenario::{Failure, Scenario, Set, Stage, ensure};
use crate::steps::{Aios, install};
use crate::vm::process::output;
use crate::vm::{BOOT, Login, Options, SecureBoot};

pub(super) const ALL: &[Scenario] = &[
    Scenario {
        name: "tampered-loader",
        promise: "one flipped bit in the ISO's loader: the firmware refuses it",
        set: Set::Long,
        boots: 1,
        show: |stage| on_the_iso(stage, Part::Loader),
    },
    Scenario {
        name: "tampered-kernel",
        promise: "one flipped bit in the kernel within its signed image: refused",
        set: Set::Long,
        boots: 1,
        show: |stage| on_the_iso(stage, Part::Image(".linux")),
    },
    Scenario {
        name: "tampered-initramfs",
        promise: "one flipped bit in the initial file system within the signed image: refused",
        set: Set::Long,
        boots: 1,
        show: |stage| on_the_iso(stage, Part::Image(".initrd")),
    },
    Scenario {
        name: "tampered-line",
        promise: "one flipped bit in the sealed command line, which names the root's hash: refused",
        set: Set::Ci,
        boots: 1,
        show: |stage| on_the_iso(stage, Part::Image(".cmdline")),
    },
    Scenario {
        name: "tampered-root",
        promise: "one flipped bit in the root file system is an error, never a running system",
        set: Set::Ci,
        boots: 1,
        show: |stage| on_the_iso(stage, Part::Root),
    },
    Scenario {
        name: "tampered-tree",
        promise: "one flipped bit in the root's hash tree is an error, never a running system",
        set: Set::Long,
        boots: 1,
        show: |stage| on_the_iso(stage, Part::Tree),
    },
    Scenario {
        name: "tampered-program",
        promise: "a service whose program was changed deep in the root does not run, and the machine says so",
        set: Set::Long,
        boots: 1,
        show: program,
    },
    Scenario {
        name: "tampered-disk",
        promise: "on an installed disk, one flipped bit in loader, kernel, initial files, line, root or tree: never runs",
        set: Set::Long,
        boots: 7,
        show: on_a_disk,
    },
];

/// A part of a release.
#[derive(Debug, Clone, Copy)]
enum Part {
    Loader,
    /// A section of the signed kernel image.
    Image(&'static str),
    Root,
    Tree,
}

/// Where the EROFS superblock has the volume's name: the kernel would mount it just as well if nothing checked it.
const VOLUME_NAME: u64 = 1024 + 64;

fn on_the_iso(stage: &Stage<'_>, part: Part) -> Result<(), Failure> {
    let copy = IsoCopy::make(&stage.context.iso, &stage.folder.join("tampered.iso"))?;
    match part {
        Part::Loader => flip_in_esp(stage, &copy.esp()?, loader, ".text")?,
        Part::Image(section) => flip_in_esp(stage, &copy.esp()?, |path| path == "EFI/aios/aios.efi", section)?,
        Part::Root => flip(&copy.path, copy.offset_of(ROOT_NAME)? + VOLUME_NAME)?,
        Part::Tree => flip(&copy.path, copy.offset_of("aios/root.verity")?)?,
    }
    refused(stage, "tampered", part, Options { iso: Some(copy.path), ..live(stage) })
}

fn on_a_disk(stage: &Stage<'_>) -> Result<(), Failure> {
    let hardware = Options {
        secure_boot: SecureBoot::On,
        enrolled_vars: Some(stage.context.enrolled_vars.clone()),
        ..Options::default()
    };
    let good = install::on_hardware(stage, &hardware)?;
    let (tree, root) = (good.place(Partition::TreeA)?.start, good.place(Partition::RootA)?.start);
    let tampered = Disk { path: stage.folder.join("tampered.raw") };
    for (name, part) in [
        ("loader", Part::Loader),
        ("kernel", Part::Image(".linux")),
        ("initramfs", Part::Image(".initrd")),
        ("line", Part::Image(".cmdline")),
        ("root", Part::Root),
        ("tree", Part::Tree),
    ] {
        let copied = ["--sparse=always".into(), good.path.clone().into(), tampered.path.clone().into()];
        output("cp", "coreutils", &copied)?;
        match part {
            Part::Loader => flip_in_esp(stage, &tampered.esp()?, loader, ".text")?,
            Part::Image(section) => {
                flip_in_esp(stage, &tampered.esp()?, |path| path.starts_with("EFI/Linux/aios_"), section)?;
            }
            Part::Root => flip(&tampered.path, root + VOLUME_NAME)?,
            Part::Tree => flip(&tampered.path, tree)?,
        }
        refused(stage, name, part, Options { disk: vec![tampered.path.clone()], ..hardware.clone() })?;
    }
    fs::remove_file(&tampered.path).map_err(Failure::file("remove", &tampered.path))
}

fn refused(stage: &Stage<'_>, name: &str, part: Part, options: Options) -> Result<(), Failure> {
    match part {
        Part::Loader | Part::Image(_) => {
            let mut machine = start(stage, name, Options { secure_boot: SecureBoot::On, ..options })?;
            let words = ["Security Violation", "Access Denied", "Security violation", "Access denied"];
            machine.console.wait_for_any(&words, BOOT)?;
            never_runs(&mut machine)
        }
        Part::Root | Part::Tree => {
            let mut machine = start(stage, name, Options { secure_boot: SecureBoot::Off, ..options })?;
            machine.console.wait_for("does not have the hash", BOOT)?;
            machine.console.wait_for("cannot start this system", BOOT)?;
            never_runs(&mut machine)
        }
    }
}

/// Whether this is a loader of ours: the one that the firmware, or a first loader before ours, starts by its name.
fn loader(path: &str) -> bool {
    matches!(path.rsplit('/').next(), Some("BOOTX64.EFI" | "grubx64.efi" | "systemd-bootx64.efi"))
}

/// Flips a bit in the middle of a section of each program that `which` names.
fn flip_in_esp(stage: &Stage<'_>, esp: &Fat, which: impl Fn(&str) -> bool, section: &str) -> Result<(), Failure> {
    let programs: Vec<_> = esp.files()?.into_iter().filter(|path| which(path)).collect();
    ensure!(!programs.is_empty(), "there is no such program in the EFI system partition");
    for path in programs {
        let local = stage.folder.join("program.efi");
        esp.get(&path, &local)?;
        let listing = output("objdump", "binutils", &["-h".into(), local.clone().into()])?;
        let listing = String::from_utf8_lossy(&listing).into_owned();
        // Number, name, size, two addresses, and where it is in the file.
        let words = listing.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let place = words.filter(|words| words.get(1) == Some(&section)).find_map(|words| {
            let number = |at: usize| u64::from_str_radix(words.get(at)?, 16).ok();
            Some(number(5)? + number(2)? / 2)
        });
        let Some(place) = place else {
            return Err(Failure::broken(format!("{path} has no section {section}:\n{listing}")));
        };
        flip(&local, place)?;
        esp.put(&local, &path)?;
        fs::remove_file(&local).map_err(Failure::file("remove", &local))?;
    }
    Ok(())
}

/// The service whose program is changed; nothing else waits for it.
const SERVICE: &str = "network";

fn program(stage: &Stage<'_>) -> Result<(), Failure> {
    let copy = IsoCopy::make(&stage.context.iso, &stage.folder.join("tampered.iso"))?;
    let root = copy.extract(ROOT_NAME, &stage.folder)?;
    let path = format!("--path=/usr/lib/aios/{SERVICE}");
    let listing = output("dump.erofs", "erofs-utils", &["-e".into(), path.into(), root.into()])?;
    let listing = String::from_utf8_lossy(&listing).into_owned();
    let Some(first) = first_extent(&listing) else {
        return Err(Failure::broken(format!("the root's tool does not say where {SERVICE} is:\n{listing}")));
    };
    flip(&copy.path, copy.offset_of(ROOT_NAME)? + first + 64)?;
    let options = Options { iso: Some(copy.path), ..live(stage) };
    let mut aios = Aios::boot_damaged(stage, "tampered", options, Login::Already)?;
    let said = format!("{SERVICE} is ");
    aios.until("status", "the machine to say that a service is missing", BOOT, |status| {
        let attention = status["services"]["attention"].as_array();
        attention
            .is_some_and(|lines| lines.iter().any(|line| line.as_str().is_some_and(|line| line.starts_with(&said))))
    })?;
    let shown = aios.json(&format!("service show {SERVICE}"))?;
    ensure!(shown["state"] != "ready", "it runs although it was changed: {shown:#}");
    let logs = aios.ok(&format!("service history {SERVICE}"))?;
    ensure!(logs.contains("nput/output error"), "the reason was not recorded:\n{logs}");
    Ok(())
}

/// Where the first extent of `dump.erofs -e` is in the file system: `0: 0..  4096 |  4096 :  8192..  12288 |  4096`.
fn first_extent(listing: &str) -> Option<u64> {
    let line = listing.lines().find(|line| line.trim_start().starts_with("0:"))?;
    line.rsplit(':').next()?.split("..").next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_the_first_extent_is_read() {
        let listing = " Ext:   logical offset   |  length :     physical offset    |  length\n   0:        0..   39425 |   39425 :    1675264..   1679360 |    4096\n";
        assert_eq!(first_extent(listing), Some(1_675_264));
        assert_eq!(first_extent("nothing"), None);
    }
}
