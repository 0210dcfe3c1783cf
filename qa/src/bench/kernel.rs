//! What our kernel's configuration costs, beside Debian's of the same series, in a machine of the same kind.
//!
//! One small static program is the first process of both. The machine's clock counts instructions, so what else the host
//! does changes nothing and two starts of one kernel agree to a few in a hundred. What a processor does by itself (caches,
//! address translation, branch prediction) is not in these numbers, and moving a block is one instruction.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::{Peer, Row};
use crate::host::initramfs::Initramfs;
use crate::scenario::{Failure, Stage};
use crate::vm::{BOOT, Clock, DirectKernel, DirectStart, Echo, Machine, Options};

/// The program, and what it begins its lines with.
const PROGRAM: &str = "kernel-load";

/// How often both are started; the fewest count.
const ROUNDS: usize = 3;

/// How much more than Debian's kernel ours may do.
const MOST: f64 = 1.05;

/// Debian's kernel watches for pressure too: ours needs that to shed load, so it is no cost of hardening.
const DEBIAN_LINE: &str = "psi=1";

/// What the program measures, and what the table calls it.
const MEASURED: [(&str, &str); 5] = [
    ("syscall", "kernel: system call"),
    ("page-fault", "kernel: page fault"),
    ("fork-exec-exit", "kernel: process, started and ended"),
    ("context-switch", "kernel: there and back between threads"),
    ("file-write-read", "kernel: 4 KiB written and read"),
];

pub(super) fn rows(stage: &Stage<'_>) -> Result<Vec<Row>, Failure> {
    let debian = (stage.context.debian_kernel)().map_err(Failure::broken)?;
    let initrd = initrd(stage)?;
    let mut fewest = [[f64::INFINITY; 2]; MEASURED.len()];
    for _ in 0..ROUNDS {
        let ours = (&stage.context.kernel, stage.context.kernel_line);
        for (which, (kernel, line)) in [ours, (&debian, DEBIAN_LINE)].into_iter().enumerate() {
            let said = run(stage, kernel, line, &initrd)?;
            for (row, (name, _)) in fewest.iter_mut().zip(MEASURED) {
                row[which] = row[which].min(instructions(&said, name)?);
            }
        }
    }
    let row = |([ours, theirs], (_, name)): ([f64; 2], (_, &'static str))| Row {
        name,
        value: ours,
        unit: "instr.",
        peer: Some(Peer { name: "Debian's configuration", value: theirs }),
        limit: Some(theirs * MOST),
    };
    Ok(fewest.into_iter().zip(MEASURED).map(row).collect())
}

fn initrd(stage: &Stage<'_>) -> Result<std::path::PathBuf, Failure> {
    let cargo = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--release", "--package", PROGRAM])
        .current_dir(&stage.context.workspace)
        .status()
        .map_err(|error| Failure::broken(format!("cannot start cargo: {error}")))?;
    if !cargo.success() {
        return Err(Failure::broken(format!("{PROGRAM} does not compile ({cargo})")));
    }
    let program = stage.context.program(PROGRAM);
    let mut files = Initramfs::default();
    for folder in ["dev", "tmp"] {
        files.folder(folder);
    }
    files.device("dev/console", 5, 1);
    files.device("dev/null", 1, 3);
    files.program("init", &fs::read(&program).map_err(Failure::file("read", &program))?);
    let path = stage.folder.join("load.cpio");
    fs::write(&path, files.finish()).map_err(Failure::file("write", &path))?;
    Ok(path)
}

/// What the program said on this kernel, started with the words of `line`.
fn run(stage: &Stage<'_>, kernel: &Path, line: &str, initrd: &Path) -> Result<String, Failure> {
    let options = Options {
        direct: Some(DirectKernel {
            kernel: kernel.to_owned(),
            initrd: Some(initrd.to_owned()),
            command_line: format!("{line} console=ttyS0 quiet panic=-1"),
            start: DirectStart::Alone,
        }),
        cpus: 1,
        no_net: true,
        clock: Clock::Instructions,
        timeout: 300,
        ..Options::default()
    };
    let mut machine = Machine::start(options, &stage.log("kernel"), Echo::Hidden)?;
    machine.console.wait_for("kernel-load: done", BOOT)?;
    Ok(machine.console.said())
}

/// The number in `kernel-load: syscall 123 ns`: by this machine's clock an instruction takes a nanosecond.
fn instructions(said: &str, name: &str) -> Result<f64, Failure> {
    let time = said.lines().find_map(|line| {
        let (found, rest) = line.trim().strip_prefix("kernel-load: ")?.split_once(' ')?;
        (found == name).then(|| rest.strip_suffix(" ns")?.parse::<f64>().ok())?
    });
    time.filter(|time| *time > 0.0)
        .ok_or_else(|| Failure::broken(format!("the first process did not say what {name} takes:\n{said}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read() {
        let said = "[    0.1] x\r\nkernel-load: syscall 1234 ns\r\nkernel-load: page-fault 0 ns\r\n";
        assert_eq!(instructions(said, "syscall").expect("said"), 1234.0);
        assert!(instructions(said, "page-fault").is_err(), "nothing takes no time");
        assert!(instructions(said, "context-switch").is_err());
    }
}
