//! The fixture itself, tried on a guest that is not AIOS, so that a failing scenario points at the system.

use std::time::Duration;

use crate::host::guest::Guest;
use crate::scenario::{Failure, Stage, ensure};
use crate::vm::{Echo, Machine, Options, VmError};

pub(super) fn fixture(stage: &Stage<'_>) -> Result<(), Failure> {
    let limit = Duration::from_secs(120);
    let options = Options {
        direct: Some(Guest::new()?.finish(&stage.context.kernel, &stage.folder)?),
        memory: 128,
        cpus: 1,
        no_net: true,
        timeout: 900,
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
