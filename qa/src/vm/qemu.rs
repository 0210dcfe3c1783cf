//! The emulator's command line for a machine: a pure function of its options and of the files prepared for it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::options::{Bus, Chipset, Clock, Consoles, Medium, Options, Sector, SecureBoot};

/// The files and sockets of one machine.
#[derive(Debug, Clone)]
pub(super) struct Prepared {
    /// The firmware's code and this machine's copy of its variables; absent for a kernel that starts alone.
    pub(super) firmware: Option<(PathBuf, PathBuf)>,
    /// The disks, in order.
    pub(super) disks: Vec<PathBuf>,
    /// Where the monitor listens.
    pub(super) monitor: PathBuf,
    /// Where the emulated TPM listens.
    pub(super) tpm: Option<PathBuf>,
    /// What runs the guest's instructions.
    pub(super) accelerator: Accelerator,
    /// Who uses the console.
    pub(super) console: ConsoleUser,
}

/// What runs the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Accelerator {
    /// The host's processor.
    Kvm,
    /// Translation; works everywhere.
    Tcg,
}

/// Who uses the serial console.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ConsoleUser {
    /// This program, through pipes.
    Fixture,
    /// The person at this terminal; Ctrl-A X leaves.
    Person,
}

/// The arguments for `qemu-system-x86_64`.
#[must_use]
pub(super) fn arguments(options: &Options, prepared: &Prepared) -> Vec<OsString> {
    let mut line = Line::default();
    board(&mut line, options, prepared);
    console(&mut line, options, prepared);
    network(&mut line, options);
    if options.iso_as == Medium::Usb && options.iso.is_some() || options.bus == Bus::Usb {
        line.add("-device", "qemu-xhci,id=xhci");
    }
    if options.bus == Bus::Scsi {
        line.add("-device", "virtio-scsi-pci,id=scsi");
    }
    if options.bus == Bus::Ahci && options.machine == Chipset::Pc {
        line.add("-device", "ahci,id=sata");
    }
    if let Some(iso) = &options.iso {
        medium(&mut line, iso, options);
    }
    for (number, disk) in prepared.disks.iter().enumerate() {
        attach(&mut line, options, number, disk);
    }
    if let Some(socket) = &prepared.tpm {
        line.add("-chardev", format!("socket,id=tpm,path={}", escaped(socket)));
        line.add("-tpmdev", "emulator,id=tpm0,chardev=tpm");
        line.add("-device", "tpm-crb,tpmdev=tpm0");
    }
    for (name, value) in &options.firmware_config {
        line.add("-fw_cfg", format!("name={name},string={}", value.replace(',', ",,")));
    }
    line.0
}

#[derive(Default)]
struct Line(Vec<OsString>);

impl Line {
    fn add(&mut self, option: &str, value: impl Into<OsString>) {
        self.0.push(option.into());
        self.0.push(value.into());
    }
}

fn board(line: &mut Line, options: &Options, prepared: &Prepared) {
    let accelerator = match prepared.accelerator {
        Accelerator::Kvm => "kvm",
        Accelerator::Tcg => "tcg",
    };
    let chipset = match (options.machine, options.secure_boot) {
        (Chipset::Pc, _) => "pc",
        (Chipset::Q35, SecureBoot::Off) => "q35",
        // The variables are writable only from system management mode, so that an operating system cannot change them.
        (Chipset::Q35, SecureBoot::On | SecureBoot::Setup) => "q35,smm=on",
    };
    line.0.push("-nodefaults".into());
    line.0.push("-no-user-config".into());
    line.add("-name", "aios");
    let (keyboard, screen) = match options.consoles {
        Consoles::Both | Consoles::Screen => ("", "std"),
        Consoles::Serial => (",i8042=off", "none"),
    };
    line.add("-machine", format!("{chipset},accel={accelerator}{keyboard}"));
    let cpu = match prepared.accelerator {
        Accelerator::Kvm => "host",
        // Translation moves strings byte by byte; a kernel that is not told that this is fast moves words.
        Accelerator::Tcg => "max,-erms",
    };
    line.add("-cpu", cpu);
    if options.clock == Clock::Instructions {
        // A processor that waits lets the clock jump to the next timer.
        line.add("-icount", "shift=0,sleep=off");
    }
    line.add("-smp", options.cpus.to_string());
    line.add("-m", options.memory.to_string());
    line.add("-display", "none");
    line.add("-vga", screen);
    line.add("-device", "virtio-rng-pci");
    if options.watchdog {
        line.add("-device", "i6300esb");
        line.add("-action", "watchdog=reset");
    }
    if let Some(date) = options.power_on_at {
        line.add("-rtc", format!("base={date}"));
    }
    if let Some((code, variables)) = &prepared.firmware {
        if options.machine == Chipset::Q35 && options.secure_boot != SecureBoot::Off {
            line.add("-global", "driver=cfi.pflash01,property=secure,value=on");
        }
        line.add("-drive", format!("if=pflash,unit=0,format=raw,readonly=on,file={}", escaped(code)));
        line.add("-drive", format!("if=pflash,unit=1,format=raw,file={}", escaped(variables)));
    }
    if let Some(direct) = &options.direct {
        line.add("-kernel", direct.kernel.as_os_str());
        if let Some(initrd) = &direct.initrd {
            line.add("-initrd", initrd.as_os_str());
        }
        line.add("-append", &direct.command_line);
    }
}

fn console(line: &mut Line, options: &Options, prepared: &Prepared) {
    match prepared.console {
        ConsoleUser::Fixture => line.add("-chardev", "stdio,id=console,signal=off"),
        // The multiplexer gives Ctrl-A its meaning: X leaves, C reaches the monitor.
        ConsoleUser::Person => {
            line.add("-chardev", "stdio,id=console,mux=on,signal=off");
            line.add("-mon", "chardev=console,mode=readline");
        }
    }
    if options.consoles != Consoles::Screen {
        line.add("-serial", "chardev:console");
    }
    line.add("-qmp", format!("unix:{},server=on,wait=off", escaped(&prepared.monitor)));
}

fn network(line: &mut Line, options: &Options) {
    if options.no_net {
        line.add("-nic", "none");
        return;
    }
    // Restricted, the machine reaches nothing but what is forwarded: the one door to this host's loopback servers is
    // the gateway's address, 10.0.2.2, which restriction closes too; so it is only set for machines without servers.
    let restrict = if options.closed_network { ",restrict=on" } else { "" };
    line.add("-netdev", format!("user,id=net{restrict}"));
    line.add("-device", "virtio-net-pci,netdev=net,romfile=");
    if let Some(capture) = &options.capture {
        line.add("-object", format!("filter-dump,id=capture,netdev=net,file={}", escaped(capture)));
    }
}

fn medium(line: &mut Line, iso: &Path, options: &Options) {
    // A kernel that the emulator hands over has the first place.
    let first = if options.direct.is_some() { "" } else { ",bootindex=0" };
    let drive = format!("if=none,id=iso,format=raw,readonly=on,file={}", escaped(iso));
    match options.iso_as {
        Medium::Cd => {
            line.add("-drive", format!("{drive},media=cdrom"));
            line.add("-device", format!("ide-cd,drive=iso{first}"));
        }
        Medium::Usb => {
            line.add("-drive", drive);
            line.add("-device", format!("usb-storage,bus=xhci.0,drive=iso,removable=on{first}"));
        }
    }
}

fn attach(line: &mut Line, options: &Options, number: usize, disk: &Path) {
    let format = match disk.extension().and_then(|extension| extension.to_str()) {
        Some("qcow2") => "qcow2",
        Some("vhdx") => "vhdx",
        _ => "raw",
    };
    line.add("-drive", format!("if=none,id=disk{number},format={format},discard=unmap,file={}", escaped(disk)));
    let device = match (options.bus, options.machine) {
        (Bus::Virtio, _) => "virtio-blk-pci".to_owned(),
        (Bus::Nvme, _) => "nvme".to_owned(),
        (Bus::Usb, _) => "usb-storage,bus=xhci.0".to_owned(),
        (Bus::Scsi, _) => "scsi-hd,bus=scsi.0".to_owned(),
        // The CD drive of the chipset's own controller has its first place.
        (Bus::Ahci, Chipset::Q35) => format!("ide-hd,bus=ide.{}", number + 1),
        (Bus::Ahci, Chipset::Pc) => format!("ide-hd,bus=sata.{number}"),
    };
    let sector = match options.sector {
        Sector::Bytes512 => "",
        Sector::Bytes4096 => ",logical_block_size=4096,physical_block_size=4096",
    };
    line.add("-device", format!("{device},drive=disk{number},serial=disk{number}{sector},bootindex={}", number + 1));
}

/// A path within an option: commas are doubled there.
fn escaped(path: &Path) -> String {
    path.to_string_lossy().replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepared() -> Prepared {
        Prepared {
            firmware: Some(("code.fd".into(), "vars.fd".into())),
            disks: vec!["a.raw".into(), "b.qcow2".into()],
            monitor: "monitor".into(),
            tpm: None,
            accelerator: Accelerator::Tcg,
            console: ConsoleUser::Fixture,
        }
    }

    fn line(options: &Options) -> String {
        let arguments = arguments(options, &prepared());
        arguments.iter().map(|argument| argument.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn secure_boot_protects_the_variables_from_the_guest() {
        let on = line(&Options { secure_boot: SecureBoot::On, ..Options::default() });
        assert!(on.contains("smm=on") && on.contains("property=secure,value=on"), "{on}");
        let off = line(&Options::default());
        assert!(!off.contains("smm=on") && !off.contains("property=secure"), "{off}");
    }

    #[test]
    fn the_firmware_tries_the_iso_first_and_then_the_disks() {
        let line = line(&Options { iso: Some("x.iso".into()), iso_as: Medium::Usb, ..Options::default() });
        assert!(line.contains("usb-storage,bus=xhci.0,drive=iso,removable=on,bootindex=0"), "{line}");
        assert!(line.contains("drive=disk0,serial=disk0,bootindex=1"), "{line}");
        assert!(line.contains("format=qcow2,discard=unmap,file=b.qcow2"), "{line}");
    }

    #[test]
    fn a_machine_has_only_the_consoles_that_are_asked_for() {
        let serial = line(&Options { consoles: Consoles::Serial, ..Options::default() });
        assert!(serial.contains("-vga none") && serial.contains("i8042=off"), "{serial}");
        assert!(serial.contains("-serial chardev:console"), "{serial}");
        let screen = line(&Options { consoles: Consoles::Screen, ..Options::default() });
        assert!(screen.contains("-vga std") && !screen.contains("-serial"), "{screen}");
    }

    #[test]
    fn a_machine_that_counts_instructions_says_so_to_the_emulator() {
        let counted = line(&Options { clock: Clock::Instructions, ..Options::default() });
        assert!(counted.contains("-icount shift=0,sleep=off"), "{counted}");
        assert!(!line(&Options::default()).contains("icount"));
    }

    #[test]
    fn a_watchdog_restarts_the_machine_and_the_clock_may_be_wrong() {
        let line = line(&Options { watchdog: true, power_on_at: Some("1970-01-01"), ..Options::default() });
        assert!(line.contains("-device i6300esb -action watchdog=reset"), "{line}");
        assert!(line.contains("-rtc base=1970-01-01"), "{line}");
    }

    #[test]
    fn disks_show_the_sectors_that_are_asked_for() {
        let line = line(&Options { sector: Sector::Bytes4096, bus: Bus::Nvme, ..Options::default() });
        assert!(line.contains("nvme,drive=disk0,serial=disk0,logical_block_size=4096"), "{line}");
    }

    #[test]
    fn a_comma_in_a_path_does_not_end_the_option() {
        let line = line(&Options { iso: Some("a,readonly=off.iso".into()), ..Options::default() });
        assert!(line.contains("file=a,,readonly=off.iso"), "{line}");
    }
}
