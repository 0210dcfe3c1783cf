//! The options of a virtual machine: one definition for `cargo xtask vm` and for scenarios.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

/// A machine to start. The same fields are the options of `cargo xtask vm`.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Boot this ISO
    #[arg(long, value_name = "PATH")]
    pub iso: Option<PathBuf>,

    /// How the ISO is connected
    #[arg(long, value_enum, default_value_t = Medium::Cd, value_name = "MEDIUM")]
    pub iso_as: Medium,

    /// Attach this disk; may be repeated
    #[arg(long, value_name = "PATH")]
    pub disk: Vec<PathBuf>,

    /// Attach an empty disk of this size, such as 8G
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub new_disk: Option<u64>,

    /// How disks are connected
    #[arg(long, value_enum, default_value_t = Bus::Virtio)]
    pub bus: Bus,

    /// Bytes in the sectors of disks
    #[arg(long, value_enum, default_value_t = Sector::Bytes512, value_name = "BYTES")]
    pub sector: Sector,

    /// What starts the machine
    #[arg(long, value_enum, default_value_t = Firmware::Uefi)]
    pub firmware: Firmware,

    /// What a person can sit at
    #[arg(long, value_enum, default_value_t = Consoles::Both)]
    pub consoles: Consoles,

    /// The chipset
    #[arg(long, value_enum, default_value_t = Chipset::Q35)]
    pub machine: Chipset,

    /// Whether the firmware enforces signatures; `setup` has no keys yet
    #[arg(long, value_enum, default_value_t = SecureBoot::Off)]
    pub secure_boot: SecureBoot,

    /// The firmware's variable store with our keys; its copy is used
    #[arg(skip)]
    pub enrolled_vars: Option<PathBuf>,

    /// Has the firmware fetch and start the program at this address
    #[arg(skip)]
    pub network_boot: Option<NetworkBoot>,

    /// Memory in MiB
    #[arg(long, default_value_t = 512, value_name = "MIB", value_parser = clap::value_parser!(u32).range(64..=1_048_576))]
    pub memory: u32,

    /// Processors
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub cpus: u32,

    /// No network
    #[arg(long)]
    pub no_net: bool,

    /// Attach an emulated TPM 2.0
    #[arg(long)]
    pub tpm: bool,

    /// Attach the emulated TPM 2.0 whose memory is in this folder; an empty one makes a new one
    #[arg(long, value_name = "FOLDER")]
    pub tpm_memory: Option<PathBuf>,

    /// Run each line of this file on the console
    #[arg(long, value_name = "FILE")]
    pub script: Option<PathBuf>,

    /// Log in as this operator first; the pass phrase comes from AIOS_PASSPHRASE
    #[arg(long, value_name = "NAME")]
    pub login: Option<String>,

    /// Stop the machine after this many seconds
    #[arg(long, default_value_t = 300, value_name = "S")]
    pub timeout: u64,

    /// Keep the machine's folder (variables, new disk, logs) and say where it is
    #[arg(long)]
    pub keep: bool,

    /// A hardware watchdog
    #[arg(skip)]
    pub watchdog: bool,

    /// What the machine's clock says at power-on, such as `1970-01-01`; absent: the time
    #[arg(skip)]
    pub power_on_at: Option<&'static str>,

    /// Where to keep what goes over the machine's cable
    #[arg(skip)]
    pub capture: Option<PathBuf>,

    /// Strings and files for the machine's firmware configuration device
    #[arg(skip)]
    pub firmware_config: Vec<(String, String)>,

    /// Starts this kernel instead of what is on a medium
    #[arg(skip)]
    pub direct: Option<DirectKernel>,

    /// The machine may not reach anything but servers of this fixture
    #[arg(skip)]
    pub closed_network: bool,

    /// What the machine's time follows
    #[arg(skip)]
    pub clock: Clock,
}

/// What the machine's time follows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Clock {
    /// This host's.
    #[default]
    Host,
    /// The machine's own instructions, one nanosecond each: what else the host does changes nothing.
    Instructions,
}

/// A program that the firmware fetches by itself.
#[derive(Debug, Clone)]
pub struct NetworkBoot {
    /// Where it is, as the machine sees it.
    pub url: String,
    /// The Python that has virt-firmware, which writes the boot entry.
    pub editor: PathBuf,
}

/// A kernel that the emulator hands over, for measurements and for tests of the fixture.
#[derive(Debug, Clone)]
pub struct DirectKernel {
    /// The bzImage.
    pub kernel: PathBuf,
    /// The initramfs, if it needs one.
    pub initrd: Option<PathBuf>,
    /// Its command line.
    pub command_line: String,
    /// What starts it.
    pub start: DirectStart,
}

/// What starts a kernel that the emulator hands over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DirectStart {
    /// The emulator itself, without firmware.
    Alone,
    /// The UEFI firmware, like any kernel on a real machine.
    ByFirmware,
}

/// How the ISO is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Medium {
    /// In a CD drive
    Cd,
    /// Written to a USB stick
    Usb,
}

/// How disks are connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Bus {
    /// virtio-blk
    Virtio,
    /// NVM Express
    Nvme,
    /// SATA
    Ahci,
    /// USB mass storage
    Usb,
    /// virtio-scsi
    Scsi,
}

/// Bytes in the sectors of disks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Sector {
    /// What most disks show
    #[value(name = "512")]
    Bytes512,
    /// What some NVMe and SCSI disks show
    #[value(name = "4096")]
    Bytes4096,
}

/// What starts the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Firmware {
    /// OVMF
    Uefi,
    /// SeaBIOS: a legacy BIOS
    Bios,
}

/// What a person can sit at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Consoles {
    /// A serial line, and a screen with a keyboard
    Both,
    /// A serial line
    Serial,
    /// A screen with a keyboard
    Screen,
}

/// The chipset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Chipset {
    /// A PC with PCI Express
    Q35,
    /// A PC of 1996; its firmware cannot protect its variables, so no Secure Boot
    Pc,
}

/// Whether the firmware enforces signatures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SecureBoot {
    /// With our keys enrolled
    On,
    /// No
    Off,
    /// It would, but has no keys yet
    Setup,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            iso: None,
            iso_as: Medium::Cd,
            disk: Vec::new(),
            new_disk: None,
            bus: Bus::Virtio,
            sector: Sector::Bytes512,
            firmware: Firmware::Uefi,
            consoles: Consoles::Both,
            network_boot: None,
            machine: Chipset::Q35,
            secure_boot: SecureBoot::Off,
            enrolled_vars: None,
            memory: 512,
            cpus: 2,
            no_net: false,
            tpm: false,
            tpm_memory: None,
            script: None,
            login: None,
            timeout: 300,
            keep: false,
            watchdog: false,
            power_on_at: None,
            capture: None,
            firmware_config: Vec::new(),
            direct: None,
            closed_network: false,
            clock: Clock::Host,
        }
    }
}

impl Options {
    /// How long the machine may run.
    #[must_use]
    pub fn limit(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }
}

/// Reads a size such as `512M`, `8G` or `1073741824`: powers of 1024, at most 1 PiB.
pub fn parse_size(text: &str) -> Result<u64, String> {
    const LARGEST: u64 = 1 << 50;
    let wrong = || format!("'{}' is no size: write a number with K, M, G or T, such as 8G", text.escape_default());
    let (digits, shift) = match text.char_indices().last() {
        Some((at, 'K' | 'k')) => (&text[..at], 10),
        Some((at, 'M' | 'm')) => (&text[..at], 20),
        Some((at, 'G' | 'g')) => (&text[..at], 30),
        Some((at, 'T' | 't')) => (&text[..at], 40),
        _ => (text, 0),
    };
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    match number.checked_mul(1 << shift) {
        Some(0) => Err("a disk of size 0 holds nothing".into()),
        Some(size) if size <= LARGEST => Ok(size),
        _ => Err(format!("'{text}' is more than 1024T")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1024() {
        assert_eq!(parse_size("8G"), Ok(8 << 30));
        assert_eq!(parse_size("1536m"), Ok(1536 << 20));
        assert_eq!(parse_size("4096"), Ok(4096));
    }

    #[test]
    fn a_size_that_makes_no_disk_is_refused() {
        for text in
            ["", "G", "0", "0G", "-1", "8 G", "8GiB", "1e3", "99999999999999999999", "18014398509481984K", "2048T"]
        {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_size_or_an_error(text in "\\PC*") {
            if let Ok(size) = parse_size(&text) {
                proptest::prop_assert!(size > 0 && size <= 1 << 50);
            }
        }
    }
}
