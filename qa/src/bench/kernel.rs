//! What our kernel's configuration costs, beside Debian's of the same series, in a machine of the same kind.
//!
//! One small static program is the first process of both. Under translation an instruction of the kernel costs about what
//! one of a program costs, while what a processor does by itself (address translation, branch prediction) is dear or free
//! where it is not on hardware: only the ratios mean something, and they too are of this kind of machine.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::{Peer, Row};
use crate::host::initramfs::Initramfs;
use crate::scenario::{Failure, Stage};
use crate::vm::{BOOT, DirectKernel, DirectStart, Echo, Machine, Options};

/// The program, and what it begins its lines with.
const PROGRAM: &str = "kernel-load";

/// How often both are started; the fastest counts.
const ROUNDS: usize = 2;

/// What the program measures, and what the table calls it. No row has a limit: the ratios of one kernel to itself vary
/// more between two runs on a busy host than what hardening may cost.
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
    let mut fastest = [[f64::INFINITY; 2]; MEASURED.len()];
    for _ in 0..ROUNDS {
        let ours = (&stage.context.kernel, stage.context.kernel_line);
        for (which, (kernel, line)) in [ours, (&debian, "")].into_iter().enumerate() {
            let said = run(stage, kernel, line, &initrd)?;
            for (row, (name, _)) in fastest.iter_mut().zip(MEASURED) {
                row[which] = row[which].min(nanoseconds(&said, name)?);
            }
        }
    }
    let row = |([ours, theirs], (_, name)): ([f64; 2], (_, &'static str))| Row {
        name,
        value: ours / 1000.0,
        unit: "µs",
        peer: Some(Peer { name: "Debian's configuration", value: theirs / 1000.0 }),
        limit: None,
    };
    Ok(fastest.into_iter().zip(MEASURED).map(row).collect())
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
        timeout: 300,
        ..Options::default()
    };
    let mut machine = Machine::start(options, &stage.log("kernel"), Echo::Hidden)?;
    machine.console.wait_for("kernel-load: done", BOOT)?;
    Ok(machine.console.said())
}

/// The time in `kernel-load: syscall 123 ns`.
fn nanoseconds(said: &str, name: &str) -> Result<f64, Failure> {
    let time = said.lines().find_map(|line| {
        let (found, rest) = line.trim().strip_prefix("kernel-load: ")?.split_once(' ')?;
        (found == name).then(|| rest.strip_suffix(" ns")?.parse::<f64>().ok())?
    });
    time.filter(|time| *time > 0.0)
        .ok_or_else(|| Failure::broken(format!("the first process did not say how long {name} takes:\n{said}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        let said = "[    0.1] x\r\nkernel-load: syscall 1234 ns\r\nkernel-load: page-fault 0 ns\r\n";
        assert_eq!(nanoseconds(said, "syscall").expect("said"), 1234.0);
        assert!(nanoseconds(said, "page-fault").is_err(), "nothing takes no time");
        assert!(nanoseconds(said, "context-switch").is_err());
    }
}
