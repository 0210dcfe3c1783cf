//! The fixture itself, tried on a guest that is not AIOS: our kernel and a shell.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::host::initramfs::Initramfs;
use crate::scenario::{Failure, Stage, ensure};
use crate::vm::{DirectKernel, Echo, Machine, Options, VmError};

/// Debian's static busybox, the guest's only program.
const BUSYBOX: &str = "/bin/busybox";

/// The guest's first process: a console with the marks of ours.
const INIT: &str = r#"/bin/busybox --install -s /bin
mount -t proc proc /proc
status=0
while :; do
    printf '\033]133;A\007guest# \033]133;B\007'
    IFS= read -r line || break
    printf '\r\n\033]133;C\007'
    [ "$line" = die ] && exit
    (eval "$line")
    status=$?
    printf '\033]133;D;%s\033\\' "$status"
done
"#;

pub(super) fn fixture(stage: &Stage<'_>) -> Result<(), Failure> {
    let limit = Duration::from_secs(30);
    let options = Options {
        direct: Some(guest(&stage.context.kernel, &stage.folder)?),
        memory: 128,
        cpus: 1,
        no_net: true,
        timeout: 90,
        ..Options::default()
    };
    let mut machine = Machine::start(options, &stage.log("guest"), Echo::Hidden)?;

    let output = machine.console.run("echo one; echo two", limit)?;
    ensure!(output.status == 0 && output.text == "one\ntwo\n", "unexpected: {output:?}");
    let output = machine.console.run("exit 7", limit)?;
    ensure!(output.status == 7, "a failing command looked like {output:?}");

    machine.console.run("touch /before", limit)?;
    machine.power_cut()?;
    let output = machine.console.run("test -e /before", limit)?;
    ensure!(output.status == 1, "memory outlived a power cut");

    machine.console.start("die", limit)?;
    let command = machine.console.finish("die", Duration::from_secs(3));
    ensure!(
        matches!(command, Err(VmError::Late { .. } | VmError::Ended { .. })),
        "a machine that died looked like {command:?}"
    );
    Ok(())
}

fn guest(kernel: &Path, folder: &Path) -> Result<DirectKernel, Failure> {
    let busybox = fs::read(BUSYBOX).map_err(|error| {
        Failure::broken(format!("cannot read {BUSYBOX} ({error}); install the package busybox-static"))
    })?;
    let mut files = Initramfs::default();
    for path in ["bin", "dev", "proc"] {
        files.folder(path);
    }
    files.device("dev/console", 5, 1);
    files.program("bin/busybox", &busybox);
    files.program("bin/sh", &busybox);
    files.program("console", INIT.as_bytes());
    let initrd: PathBuf = folder.join("guest.cpio");
    fs::write(&initrd, files.finish()).map_err(Failure::file("write", &initrd))?;
    // Our kernel starts no scripts, so the shell is the first process.
    let command_line = "console=ttyS0 quiet panic=0 rdinit=/bin/sh -- /console".to_owned();
    Ok(DirectKernel { kernel: kernel.into(), initrd: Some(initrd), command_line })
}
