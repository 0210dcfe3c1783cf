//! The firmware (OVMF) for a machine, and the choice of what runs its instructions.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::VmError;
use super::options::{Chipset, NetworkBoot, Options, SecureBoot};
use super::process::{Child, Invocation, Streams, output};
use super::qemu::Accelerator;

/// Where distributions put the firmware.
const FOLDERS: [&str; 3] = ["/usr/share/OVMF", "/usr/share/edk2/x64", "/usr/share/edk2/ovmf"];

/// Finds the firmware's code and copies a variable store for one machine.
pub(super) fn prepare(options: &Options, folder: &Path) -> Result<(PathBuf, PathBuf), VmError> {
    let protected = options.secure_boot != SecureBoot::Off;
    if protected && options.machine == Chipset::Pc {
        return Err(VmError::Options {
            what: "the machine 'pc' cannot enforce signatures".into(),
            hint: "use --machine q35 or --secure-boot off",
        });
    }
    let code = find(if protected { "OVMF_CODE_4M.secboot.fd" } else { "OVMF_CODE_4M.fd" })?;
    let template = match (options.secure_boot, &options.enrolled_vars) {
        (SecureBoot::On, Some(enrolled)) => enrolled.clone(),
        (SecureBoot::On, None) => {
            return Err(VmError::Options {
                what: "Secure Boot needs a variable store with keys".into(),
                hint: "build with cargo xtask iso first, which makes the keys",
            });
        }
        (SecureBoot::Off | SecureBoot::Setup, _) => find("OVMF_VARS_4M.fd")?,
    };
    let variables = folder.join("variables.fd");
    match &options.network_boot {
        Some(boot) => add_boot_entry(boot, &template, &variables)?,
        None => drop(fs::copy(&template, &variables).map_err(VmError::file("copy", &template))?),
    }
    Ok((code, variables))
}

/// Copies a variable store and adds the order to start, once, a program of the network.
fn add_boot_entry(boot: &NetworkBoot, template: &Path, variables: &Path) -> Result<(), VmError> {
    let mut arguments: Vec<OsString> = ["-m", "virt.firmware.vars", "--input"].map(Into::into).into();
    arguments.extend([template.into(), "--set-boot-uri".into(), (&boot.url).into()]);
    arguments.extend(["--output".into(), variables.into()]);
    output(&boot.editor.to_string_lossy(), "python3", &arguments)?;
    Ok(())
}

fn find(name: &str) -> Result<PathBuf, VmError> {
    let found = FOLDERS.iter().map(|folder| Path::new(folder).join(name)).find(|path| path.exists());
    found.ok_or_else(|| VmError::Options {
        what: format!("the firmware {name} is not on this machine"),
        hint: "install the package ovmf",
    })
}

/// What runs instructions on this host. Asked once: a `/dev/kvm` that opens may still never run a guest, and one that runs a
/// small guest may stop at an instruction of a large one, where the processor does not help it.
pub(super) fn accelerator() -> Accelerator {
    static KNOWN: OnceLock<Accelerator> = OnceLock::new();
    *KNOWN.get_or_init(|| if processor_helps() && kvm_runs() { Accelerator::Kvm } else { Accelerator::Tcg })
}

/// Whether the processor has instructions for virtual machines and shows them to this system.
fn processor_helps() -> bool {
    let flags = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    flags
        .lines()
        .filter(|line| line.starts_with("flags"))
        .flat_map(str::split_whitespace)
        .any(|flag| matches!(flag, "vmx" | "svm"))
}

/// Runs a guest of two instructions that writes to QEMU's exit port.
fn kvm_runs() -> bool {
    // mov al, 0x2a; out 0xf4, al; hlt. The exit status is twice the byte plus one.
    const SECTOR: [u8; 5] = [0xb0, 0x2a, 0xe6, 0xf4, 0xf4];
    const EXPECTED: i32 = 0x2a * 2 + 1;
    if fs::File::options().read(true).write(true).open("/dev/kvm").is_err() {
        return false;
    }
    let Ok(folder) = tempfile::tempdir() else { return false };
    let image = folder.path().join("sector");
    let mut sector = [0; 512];
    sector[..SECTOR.len()].copy_from_slice(&SECTOR);
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    if fs::write(&image, sector).is_err() {
        return false;
    }
    let Ok(errors) = fs::File::create(folder.path().join("log")) else { return false };
    let arguments = [
        "-accel",
        "kvm",
        "-cpu",
        "host",
        "-nodefaults",
        "-display",
        "none",
        "-device",
        "isa-debug-exit,iobase=0xf4,iosize=1",
        "-drive",
    ];
    let mut arguments: Vec<_> = arguments.into_iter().map(Into::into).collect();
    arguments.push(format!("if=ide,format=raw,snapshot=on,file={}", image.display()).into());
    let invocation = Invocation {
        program: "qemu-system-x86_64".into(),
        package: "qemu-system-x86",
        arguments,
        stdio: Streams::None,
        errors: Some(errors),
    };
    let Ok(mut child) = Child::spawn(&invocation) else { return false };
    child.wait(std::time::Duration::from_secs(3)).and_then(|status| status.code()) == Some(EXPECTED)
}
