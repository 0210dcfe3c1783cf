//! The system in other forms than the ISO.

use super::machines::enforced;
use crate::DiskOrder;
use crate::host::disk::Disk;
use crate::host::fat::Fat;
use crate::scenario::{Failure, Scenario, Set, Stage, ensure};
use crate::steps::{Aios, install, services};
use crate::vm::{Bus, Login, Options};

pub(super) const ALL: &[Scenario] = &[
    Scenario {
        name: "standalone",
        promise: "one signed file on a stick boots to a ready system in 512 MiB, with nothing else on the machine",
        set: Set::Ci,
        boots: 1,
        show: standalone,
    },
    Scenario {
        name: "disk-formats",
        promise: "disk images as raw, qcow2 and vhdx boot to a login",
        set: Set::Long,
        boots: 3,
        show: disk_formats,
    },
];

/// Room for the image and the file system around it.
const STICK: u64 = 128 << 20;

/// The smallest disk that can be installed on.
const DISK: u64 = 2 << 30;

fn standalone(stage: &Stage<'_>) -> Result<(), Failure> {
    let image = (stage.context.make_standalone)().map_err(Failure::broken)?;
    let stick = stage.folder.join("stick.raw");
    let fat = Fat::create(&stick, STICK, "STICK")?;
    fat.folder("EFI")?;
    fat.folder("EFI/BOOT")?;
    fat.put(&image, "EFI/BOOT/BOOTX64.EFI")?;
    let options = Options { disk: vec![stick], bus: Bus::Usb, memory: 512, ..enforced() };
    let mut aios = Aios::boot_alone(stage, "machine", options, Login::Already)?;
    services::all_ready(&mut aios)?;
    let status = aios.json("status")?;
    ensure!(status["system"]["secure_boot"] == true, "the firmware enforces signatures, and yet: {status:#}");
    ensure!(status["system"]["origin"]["from"] == "live", "{status:#}");
    aios.power_off()
}

fn disk_formats(stage: &Stage<'_>) -> Result<(), Failure> {
    let answers = stage.folder.join("answers.toml");
    std::fs::write(&answers, install::answers()).map_err(Failure::file("write", &answers))?;
    for format in ["raw", "qcow2", "vhdx"] {
        let out = stage.folder.join("disk").with_extension(format);
        let order = DiskOrder { answers: answers.clone(), format, bytes: DISK, out: out.clone() };
        (stage.context.make_disk)(&order).map_err(Failure::broken)?;
        let mut aios = install::start(stage, &Disk { path: out.clone() }, format)?;
        services::all_ready(&mut aios)?;
        aios.power_off()?;
        std::fs::remove_file(&out).map_err(Failure::file("remove", &out))?;
    }
    Ok(())
}
