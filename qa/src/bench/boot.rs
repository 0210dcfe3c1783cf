//! Time from the kernel's start to the console and to the whole system, beside the same kernel on the same machine,
//! started by the same firmware, whose first process ends at once, and beside other systems. The medium is in the drive of
//! all: a kernel has its disks found before it starts a first process, and that takes as long as the drive does.

use std::fs;
use std::time::Duration;

use serde_json::Value;

use super::others::{Systemd, login_ms};
use super::{Peer, Row, live};
use crate::host::initramfs::Initramfs;
use crate::scenario::{Failure, Stage};
use crate::steps::Aios;
use crate::vm::{BOOT, DirectKernel, DirectStart, Echo, Machine, Options};

/// A program that ends at once, as a complete static executable for x86-64: `exit(0)`.
const EXIT: [u8; 132] = exit_program();

/// How often both are started; the fastest counts, because everything else on this host only adds time.
const ROUNDS: usize = 3;

pub(super) fn rows(stage: &Stage<'_>) -> Result<Vec<Row>, Failure> {
    let debian = (stage.context.make_debian)().map_err(Failure::broken)?;
    let mut fastest: Option<Milestones> = None;
    let [mut bare, mut ours, mut theirs] = [f64::INFINITY; 3];
    for _ in 0..ROUNDS {
        let milestones = Milestones::of(&mut live(stage, "boot")?)?;
        if fastest.as_ref().is_none_or(|before| milestones.system < before.system) {
            fastest = Some(milestones);
        }
        bare = bare.min(bare_kernel(stage)?);
        ours = ours.min(login_ms(stage, &debian, Systemd::OnOurKernel)?);
        theirs = theirs.min(login_ms(stage, &debian, Systemd::OnItsOwn)?);
    }
    let Milestones { init, console, system, memory } = fastest.expect("there was at least one round");
    let row = |name, value, peer, limit| Row { name, value, unit: "ms", peer: Some(peer), limit };
    let bare = || Peer { name: "the kernel alone", value: bare };
    let ours = Peer { name: "systemd on our kernel, to the login", value: ours };
    let theirs = Peer { name: "minimal Debian, to the login", value: theirs };
    let (third, eighth) = (ours.value / 3.0, theirs.value / 8.0);
    Ok(vec![
        row("kernel start to PID 1", init, bare(), None),
        row("kernel start to console", console, bare(), Some(bare().value * 1.3)),
        row("kernel start to console", console, ours, Some(third)),
        row("kernel start to console", console, theirs, Some(eighth)),
        row("kernel start to system ready", system, bare(), Some(bare().value * 2.0)),
        Row { name: "memory at ready", value: memory, unit: "MiB", peer: None, limit: Some(128.0) },
    ])
}

/// What a machine says of its own start, in milliseconds, and the memory that it uses then, in MiB.
struct Milestones {
    init: f64,
    console: f64,
    system: f64,
    memory: f64,
}

impl Milestones {
    fn of(aios: &mut Aios) -> Result<Self, Failure> {
        let status = aios.json("status")?;
        let number =
            |value: &Value| value.as_f64().ok_or_else(|| Failure::broken(format!("a milestone is not in {status:#}")));
        let times = &status["system"]["boot_ms"];
        Ok(Self {
            init: number(&times["init"])?,
            console: number(&times["console"])?,
            system: number(&times["system"])?,
            memory: number(&status["memory_used_mib"])?,
        })
    }
}

/// When the kernel says that its first process has ended, in milliseconds since it started.
fn bare_kernel(stage: &Stage<'_>) -> Result<f64, Failure> {
    let mut files = Initramfs::default();
    files.folder("dev");
    files.device("dev/console", 5, 1);
    files.program("init", &EXIT);
    let initrd = stage.folder.join("exit.cpio");
    fs::write(&initrd, files.finish()).map_err(Failure::file("write", &initrd))?;
    let options = Options {
        iso: Some(stage.context.iso.clone()),
        direct: Some(DirectKernel {
            kernel: stage.context.kernel.clone(),
            initrd: Some(initrd),
            command_line: format!("{} console=ttyS0 quiet panic=-1", stage.context.kernel_line),
            start: DirectStart::ByFirmware,
        }),
        timeout: 180,
        ..Options::default()
    };
    let mut machine = Machine::start(options, &stage.log("bare"), Echo::Hidden)?;
    machine.console.wait_for("Kernel panic - not syncing", BOOT)?;
    machine.console.listen(Duration::from_millis(200))?;
    let said = machine.console.said();
    panic_ms(&said).ok_or_else(|| Failure::broken(format!("the kernel gave no time for its panic:\n{said}")))
}

/// The time in `[    1.062856] Kernel panic …`.
fn panic_ms(said: &str) -> Option<f64> {
    let line = said.lines().find(|line| line.contains("Kernel panic - not syncing"))?;
    let (_, after) = line.split_once('[')?;
    let (seconds, _) = after.split_once(']')?;
    Some(seconds.trim().parse::<f64>().ok()? * 1000.0)
}

const fn exit_program() -> [u8; 132] {
    // An ELF header, one segment that maps the whole file, and: mov eax, 60; xor edi, edi; syscall.
    let mut elf = [0; 132];
    let header: [(usize, &[u8]); 12] = [
        (0, b"\x7fELF\x02\x01\x01"),
        (16, &[2, 0, 62, 0, 1]),
        (24, &[0x78, 0, 0x40]),
        (32, &[64]),
        (52, &[64, 0, 56, 0, 1]),
        (64, &[1, 0, 0, 0, 5]),
        (80, &[0, 0, 0x40]),
        (88, &[0, 0, 0x40]),
        (96, &[132]),
        (104, &[132]),
        (113, &[0x10]),
        (120, &[0xb8, 60, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05]),
    ];
    let mut part = 0;
    while part < header.len() {
        let (at, bytes) = header[part];
        let mut byte = 0;
        while byte < bytes.len() {
            elf[at + byte] = bytes[byte];
            byte += 1;
        }
        part += 1;
    }
    elf
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_peer_ends_at_once_and_well() {
        let folder = tempfile::tempdir().expect("a folder");
        let program = folder.path().join("exit");
        fs::write(&program, EXIT).expect("room");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("ours");
        assert!(std::process::Command::new(program).status().expect("it starts").success());
    }

    #[test]
    fn the_time_of_a_panic_is_read() {
        assert_eq!(panic_ms("x\r\n[    1.062856] Kernel panic - not syncing: Attempted\n"), Some(1062.856));
        assert_eq!(panic_ms("Kernel panic - not syncing"), None);
    }
}
