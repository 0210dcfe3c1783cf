//! The same release on machines of many shapes. A row is a machine and what is promised of it.

use std::time::Duration;

use serde_json::Value;

use super::boot::{live, screen_is_used, start};
use crate::host::web::Web;
use crate::scenario::{Failure, Scenario, Set, Stage, ensure};
use crate::steps::{Aios, install, services};
use crate::vm::screen::{Glyphs, Screen};
use crate::vm::{
    BOOT, Bus, Consoles, Echo, Firmware, Login, Machine, Medium, NetworkBoot, Options, Sector, SecureBoot,
};

pub(super) const ALL: &[Scenario] = &[
    Scenario {
        name: "disk-nvme-4096",
        promise: "an NVMe disk with sectors of 4096 bytes is installed to and boots to a login",
        set: Set::Ci,
        boots: 2,
        show: |stage| installed(stage, Options { bus: Bus::Nvme, sector: Sector::Bytes4096, ..enforced() }),
    },
    Scenario {
        name: "disk-nvme",
        promise: "an NVMe disk is installed to and boots to a login",
        set: Set::Long,
        boots: 2,
        show: |stage| installed(stage, Options { bus: Bus::Nvme, ..enforced() }),
    },
    Scenario {
        name: "disk-ahci",
        promise: "a SATA disk is installed to, boots to a login, and tells a legacy BIOS what to change",
        set: Set::Long,
        boots: 3,
        show: |stage| {
            let hardware = Options { bus: Bus::Ahci, ..enforced() };
            installed(stage, hardware.clone())?;
            told_by_legacy_bios(stage, "legacy", Options { disk: vec![stage.folder.join(install::DISK)], ..hardware })
        },
    },
    Scenario {
        name: "disk-usb",
        promise: "a USB disk is installed to and boots to a login",
        set: Set::Long,
        boots: 2,
        show: |stage| installed(stage, Options { bus: Bus::Usb, ..enforced() }),
    },
    Scenario {
        name: "disk-virtio-scsi",
        promise: "a disk behind a virtio SCSI controller is installed to and boots to a login",
        set: Set::Long,
        boots: 2,
        show: |stage| installed(stage, Options { bus: Bus::Scsi, ..enforced() }),
    },
    Scenario {
        name: "one-processor",
        promise: "a machine with one processor is ready",
        set: Set::Long,
        boots: 1,
        show: |stage| ready(stage, Options { cpus: 1, ..live(stage) }).map(drop),
    },
    Scenario {
        name: "four-processors",
        promise: "a machine with four processors is ready",
        set: Set::Long,
        boots: 1,
        show: |stage| ready(stage, Options { cpus: 4, ..live(stage) }).map(drop),
    },
    Scenario {
        name: "serial-only",
        promise: "a machine with neither screen nor keyboard is ready, and its serial line is a console",
        set: Set::Long,
        boots: 1,
        show: |stage| ready(stage, Options { consoles: Consoles::Serial, ..live(stage) }).map(drop),
    },
    Scenario {
        name: "screen-only",
        promise: "on a machine without a serial line a person types on the keyboard and reads the answer on the screen",
        set: Set::Ci,
        boots: 1,
        show: screen_only,
    },
    Scenario {
        name: "no-network-card",
        promise: "a machine without a network card is ready and says that it has none",
        set: Set::Long,
        boots: 1,
        show: no_network_card,
    },
    Scenario {
        name: "little-memory",
        promise: "a machine with too little memory says so: ours what is needed, below that the loader what it ran out of",
        set: Set::Ci,
        boots: 2,
        show: little_memory,
    },
    Scenario {
        name: "http-boot",
        promise: "the kernel image alone, fetched by the firmware over HTTP, is ready on a machine without any medium",
        set: Set::Ci,
        boots: 1,
        show: http_boot,
    },
    Scenario {
        name: "legacy-bios",
        promise: "a machine in legacy BIOS mode is told what to change, by CD and by stick, and a key restarts it",
        set: Set::Ci,
        boots: 2,
        show: legacy_bios,
    },
];

pub(super) fn enforced() -> Options {
    Options { secure_boot: SecureBoot::On, ..Options::default() }
}

/// From the ISO to the disk, and from the disk alone to a login.
fn installed(stage: &Stage<'_>, hardware: Options) -> Result<(), Failure> {
    let hardware = Options { enrolled_vars: Some(stage.context.enrolled_vars.clone()), ..hardware };
    let disk = install::on_hardware(stage, &hardware)?;
    let mut aios = install::start_on(stage, &disk, "disk", hardware)?;
    services::all_ready(&mut aios)?;
    aios.power_off()
}

fn ready(stage: &Stage<'_>, options: Options) -> Result<Aios, Failure> {
    let mut aios = Aios::boot(stage, "machine", options, Login::Already)?;
    services::all_ready(&mut aios)?;
    Ok(aios)
}

fn no_network_card(stage: &Stage<'_>) -> Result<(), Failure> {
    let mut aios = ready(stage, Options { no_net: true, ..live(stage) })?;
    let status = aios.json("status")?;
    ensure!(status["network"]["links"] == Value::Array(Vec::new()), "it has a card: {status:#}");
    let people = aios.ok("status")?;
    ensure!(people.contains("no Ethernet link"), "it does not say that it has no card:\n{people}");
    aios.power_off()
}

fn little_memory(stage: &Stage<'_>) -> Result<(), Failure> {
    let with = |memory| Options { memory, cpus: 1, ..live(stage) };
    let mut machine = start(stage, "little", with(160))?;
    machine.console.wait_for("MiB of memory", BOOT)?;
    machine.console.wait_for("give it at least 256 MiB", BOOT)?;
    drop(machine);
    // Here the firmware has no room to unpack the kernel, and nothing of ours runs yet.
    let mut machine = start(stage, "too-little", with(128))?;
    machine.console.wait_for_any(&["Out of Resources", "give it at least 256 MiB"], BOOT)?;
    Ok(())
}

fn http_boot(stage: &Stage<'_>) -> Result<(), Failure> {
    let folder = stage.folder.join("served");
    std::fs::create_dir_all(&folder).map_err(Failure::file("make", &folder))?;
    let image = (stage.context.make_standalone)().map_err(Failure::broken)?;
    let served = folder.join("aios.efi");
    std::fs::copy(&image, &served).map_err(Failure::file("copy", &image))?;
    let web = Web::serve(&folder)?;
    let boot = NetworkBoot { url: format!("{}/aios.efi", web.url()), editor: stage.context.variable_editor.clone() };
    let options = Options { network_boot: Some(boot), ..enforced() };
    let mut aios = Aios::boot_alone(stage, "machine", options, Login::Already)?;
    services::all_ready(&mut aios)?;
    let status = aios.json("status")?;
    ensure!(status["system"]["secure_boot"] == true, "the firmware enforces signatures, and yet: {status:#}");
    ensure!(web.asked().contains(&"/aios.efi".to_owned()), "nobody asked for the image: {:?}", web.asked());
    aios.power_off()
}

fn legacy_bios(stage: &Stage<'_>) -> Result<(), Failure> {
    for (name, medium) in [("cd", Medium::Cd), ("stick", Medium::Usb)] {
        told_by_legacy_bios(stage, name, Options { iso_as: medium, ..live(stage) })?;
    }
    Ok(())
}

fn told_by_legacy_bios(stage: &Stage<'_>, name: &str, options: Options) -> Result<(), Failure> {
    let options = Options { firmware: Firmware::Bios, secure_boot: SecureBoot::Off, ..options };
    let mut machine = Machine::start(options, &stage.log(name), Echo::Hidden)?;
    machine.console.wait_for("started in legacy BIOS mode", BOOT)?;
    machine.console.wait_for("choose UEFI as boot mode", BOOT)?;
    machine.console.wait_for("Press a key to restart", BOOT)?;
    screen_is_used(&mut machine, &stage.folder.join(format!("{name}.ppm")))?;
    machine.type_on_keyboard("\n")?;
    machine.wait_for_reset(BOOT)?;
    Ok(())
}

/// Everything that [`screen_only`] has to read, typed once so that its glyphs are known; and the first one again.
const ALPHABET: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.;:>a";

fn screen_only(stage: &Stage<'_>) -> Result<(), Failure> {
    let options = Options { consoles: Consoles::Screen, timeout: 3600, ..live(stage) };
    let mut machine = start(stage, "machine", options)?;
    let mut seat = Seat { machine: &mut machine, stage, pictures: 0 };
    let glyphs = seat.learn()?;
    seat.machine.type_on_keyboard("\u{15}status\n")?;
    let version = format!("AIOS {}  live: nothing outlives this boot", stage.context.version);
    let text = seat.read_until(&glyphs, &version)?;
    // What the keyboard typed and what programs print are shown by the same glyphs.
    ensure!(text.contains("aios> status"), "the command is not on the screen:\n{text}");
    seat.machine.type_on_keyboard("settings get hostname\n")?;
    seat.read_until(&glyphs, "aios> settings get hostname\naios\naios>")?;
    Ok(())
}

/// A person in front of a machine: a keyboard, and pictures of the screen.
struct Seat<'a> {
    machine: &'a mut Machine,
    stage: &'a Stage<'a>,
    pictures: u32,
}

impl Seat<'_> {
    /// Types the alphabet until it appears behind the prompt of a system that is ready.
    fn learn(&mut self) -> Result<Glyphs, Failure> {
        let begin = std::time::Instant::now();
        loop {
            let before = self.look()?;
            self.machine.type_on_keyboard(ALPHABET)?;
            std::thread::sleep(Duration::from_secs(1));
            let after = self.look()?;
            if let Some(glyphs) = Glyphs::learn(&before, &after, ALPHABET) {
                let text = after.text(&glyphs);
                if text.contains("aios: system ready") && text.contains(&format!("aios> {ALPHABET}")) {
                    return Ok(glyphs);
                }
            }
            ensure!(begin.elapsed() < BOOT * 2, "what is typed does not appear behind a prompt; see the pictures");
            self.machine.type_on_keyboard("\u{15}\n")?;
            std::thread::sleep(Duration::from_secs(3));
        }
    }

    fn read_until(&mut self, glyphs: &Glyphs, wanted: &str) -> Result<String, Failure> {
        let begin = std::time::Instant::now();
        loop {
            let text = self.look()?.text(glyphs);
            if text.contains(wanted) {
                return Ok(text);
            }
            ensure!(begin.elapsed() < BOOT, "the screen does not show '{wanted}' but:\n{text}");
            std::thread::sleep(Duration::from_secs(1));
        }
    }

    fn look(&mut self) -> Result<Screen, Failure> {
        self.pictures += 1;
        let picture = self.stage.folder.join(format!("screen-{}.ppm", self.pictures % 4));
        self.machine.screenshot(&picture)?;
        let bytes = std::fs::read(&picture).map_err(Failure::file("read", &picture))?;
        Screen::read(&bytes).map_err(|error| Failure::broken(format!("{}: {error}", picture.display())))
    }
}
