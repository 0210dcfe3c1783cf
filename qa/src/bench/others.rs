//! Time from the kernel's start to the login of a minimal Debian: with our kernel, where only what comes after the kernel
//! differs, and with its own kernel and initial file system, as people have it.
//!
//! Its terminal shows the time at the moment when it would ask for a name. Ours counts later: a prompt of a session that
//! is open.

use std::time::Duration;

use crate::Debian;
use crate::scenario::{Failure, Stage};
use crate::vm::process::output;
use crate::vm::{DirectKernel, DirectStart, Echo, Machine, Options};

/// Under translation, on a busy build machine.
const LIMIT: Duration = Duration::from_secs(400);

/// Which kernel the other system starts on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Systemd {
    OnOurKernel,
    OnItsOwn,
}

/// When it would ask for a login, in milliseconds since its kernel started.
pub(super) fn login_ms(stage: &Stage<'_>, debian: &Debian, systemd: Systemd) -> Result<f64, Failure> {
    let line = "console=ttyS0 quiet root=/dev/vda rw";
    let (name, kernel, initrd, line) = match systemd {
        // The first process takes unknown words of the line as its environment, and hands on what the last one says.
        Systemd::OnOurKernel => {
            let inotify = "LD_PRELOAD=/usr/lib/inotify.so systemd.setenv=LD_PRELOAD=/usr/lib/inotify.so";
            ("systemd", &stage.context.kernel, None, format!("{line} {inotify}"))
        }
        Systemd::OnItsOwn => ("debian", &debian.kernel, Some(debian.initrd.clone()), line.into()),
    };
    // What it writes is thrown away, so that each start is the first.
    let disk = stage.folder.join(format!("{name}.qcow2"));
    let mut arguments: Vec<_> = ["create", "-q", "-f", "qcow2", "-F", "raw", "-b"].map(Into::into).into();
    arguments.extend([debian.disk.clone().into(), disk.clone().into()]);
    output("qemu-img", "qemu-utils", &arguments)?;
    let options = Options {
        iso: Some(stage.context.iso.clone()),
        disk: vec![disk],
        direct: Some(DirectKernel {
            kernel: kernel.clone(),
            initrd,
            command_line: line,
            start: DirectStart::ByFirmware,
        }),
        timeout: LIMIT.as_secs(),
        ..Options::default()
    };
    let mut machine = Machine::start(options, &stage.log(name), Echo::Hidden)?;
    let words = ["console ready", "Freezing execution", "Kernel panic"];
    if machine.console.wait_for_any(&words, LIMIT)? != 0 {
        return Err(Failure::broken(format!("{name} does not start:\n{}", machine.console.said())));
    }
    machine.console.listen(Duration::from_millis(500))?;
    let said = machine.console.said();
    uptime_ms(&said).ok_or_else(|| Failure::broken(format!("{name} did not show the time:\n{said}")))
}

/// The first number of `/proc/uptime`, in seconds, after the word.
fn uptime_ms(said: &str) -> Option<f64> {
    let (_, after) = said.rsplit_once("console ready")?;
    Some(after.split_whitespace().next()?.parse::<f64>().ok()? * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_read() {
        assert_eq!(uptime_ms("Debian\r\nconsole ready\r\n45.73 12.97\r\n"), Some(45730.0));
        assert_eq!(uptime_ms("console ready\r\n"), None);
        assert_eq!(uptime_ms("12.5 1"), None);
    }
}
