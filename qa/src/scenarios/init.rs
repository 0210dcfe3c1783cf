//! PID 1 itself: what it survives, what ends when it does not, and how a machine is switched off.
//!
//! The faults are units of test images, so they come from inside, with more rights than any program of the system has.

use std::time::Duration;

use serde_json::Value;

use crate::host::probe_image::{self, Added};
use crate::scenario::{Failure, Scenario, Set, Stage, ensure};
use crate::steps::{Aios, Status, list};
use crate::vm::{BOOT, DirectKernel, DirectStart, Login, Options};

pub(super) const ALL: &[Scenario] = &[
    Scenario {
        name: "init-faults",
        promise: "bombs, hogs of memory and descriptors and the deaf harm only themselves; a thousand starts and ten thousand orphans leave no trace",
        set: Set::Long,
        boots: 1,
        show: faults,
    },
    Scenario {
        name: "init-watchdog",
        promise: "when PID 1 stands still the hardware restarts the machine; a clock that starts in 1970 is moved forward",
        set: Set::Long,
        boots: 2,
        show: watchdog,
    },
    Scenario {
        name: "init-switches",
        promise: "the keyboard has the layout that is set; Ctrl-Alt-Del restarts the machine and the power button ends it, in order",
        set: Set::Long,
        boots: 2,
        show: switches,
    },
    Scenario {
        name: "init-last-words",
        promise: "what a kernel said before it died is read by the next start, recorded, and cleared",
        set: Set::Long,
        boots: 2,
        show: last_words,
    },
];

/// Longer than PID 1 may stand still.
const STANDSTILL: Duration = Duration::from_secs(180);
const LIMIT: Duration = Duration::from_secs(600);
/// PID 1's own promise.
const RESIDENT_KIB: u64 = 8 * 1024;

/// A unit for test images: busybox's shell with a script, as root, with the rights to do damage.
fn unit(script: &str, lines: &str) -> String {
    format!(
        "kind = \"service\"\nprogram = \"/usr/lib/aios/busybox\"\nargs = [\"sh\", \"/usr/lib/aios/{script}\"]\nuser = \"root\"\n\
         modes = [\"live\"]\nreadiness = \"started\"\n{lines}\n[sandbox]\nown = [\"ipc\"]\nview = \"whole\"\n\
         paths = \"unlimited\"\ncalls = [\"unlimited\"]\n\
         capabilities = [\"CAP_SYS_PTRACE\", \"CAP_KILL\", \"CAP_DAC_OVERRIDE\", \"CAP_SYS_ADMIN\", \"CAP_SYS_RESOURCE\"]\n"
    )
}

/// A test image with these units besides the release's: name, lines of the unit, script.
pub(super) fn image(stage: &Stage<'_>, probes: &[(&str, &str, &str)]) -> Result<Options, Failure> {
    let mut added = Vec::new();
    for (name, lines, script) in probes {
        let path = stage.context.source(format!("qa/guest-probe/{script}"));
        let text = std::fs::read_to_string(&path).map_err(Failure::file("read", &path))?;
        added.extend([Added::unit(name, unit(script, lines)), Added::script(script, &text)]);
    }
    probe_image::with(stage.context, &stage.folder, &added)
}

fn faults(stage: &Stage<'_>) -> Result<(), Failure> {
    let never = "restart = { policy = \"never\" }";
    let options = image(
        stage,
        &[
            ("bomb", "resources = { pids-max = 32 }", "bomb.sh"),
            ("hog", "resources = { memory-max-mib = 16 }\nrestart = { policy = \"on-failure\", budget = 2 }", "hog.sh"),
            ("hoard", "resources = { descriptors-max = 256 }", "hoard.sh"),
            ("deaf", "stop-timeout-s = 1", "deaf.sh"),
            ("churn", "output = \"log\"\nrestart = { backoff-ms = 1, budget = 10000, window-s = 1 }", "churn.sh"),
            (
                "judge",
                &format!(
                    "output = \"consoles\"\nrequires = [\"action-runtime\"]\nresources = {{ pids-max = 4096 }}\n{never}"
                ),
                "judge.sh",
            ),
        ],
    )?;
    let mut aios = Aios::boot(stage, "faults", options, Login::Already)?;
    aios.machine.console.wait_for("judge: all done", LIMIT)?;
    let said = aios.machine.console.said();
    let figure = |text: &str| -> Result<u64, Failure> {
        let rest = said.split_once(text).map(|(_, rest)| rest.trim_start());
        let digits = rest.map(|rest| rest.chars().take_while(char::is_ascii_digit).collect::<String>());
        digits.and_then(|digits| digits.parse().ok()).ok_or_else(|| Failure::broken(format!("there is no '{text}'")))
    };
    ensure!(figure("judge: zombies left")? == 0, "somebody is not reaped");
    let (before, after) = (figure("judge: resident before")?, figure("judge: resident after")?);
    ensure!(after <= RESIDENT_KIB, "PID 1 holds {after} KiB");
    ensure!(after <= before + 512, "PID 1 grew from {before} to {after} KiB");
    let (before, after) = (figure("judge: descriptors before")?, figure("judge: descriptors after")?);
    ensure!(after <= before + 2, "PID 1 had {before} descriptors and has {after}");
    ensure!(figure("judge: hoarded")? == 256, "the hoard does not hold what it may, or holds more");
    ensure!(figure("judge: opened besides")? == 1, "another program cannot open a file beside the hoard");
    ensure!(figure("judge: frozen after")? <= 1000, "a log that stands still freezes actions too late");
    let shown = aios.json("service list")?;
    for name in ["evidence-log", "policy-kernel", "launcher", "action-runtime", "verifier"] {
        let ready = list(&shown)?.iter().any(|service| service["name"] == name && service["state"] == "ready");
        ensure!(ready, "{name} suffered: {shown:#}");
    }
    let status = aios.json("status")?;
    let degraded = list(&status["system"]["degraded"])?;
    ensure!(degraded == [Value::from("hog")], "what is spent is told, and nothing else: {status:#}");
    aios.power_off()
}

fn watchdog(stage: &Stage<'_>) -> Result<(), Failure> {
    let options =
        image(stage, &[("stopper", "output = \"consoles\"\nrequires = [\"action-runtime\"]", "stop-init.sh")])?;
    let options = Options { watchdog: true, power_on_at: Some("1970-01-02"), ..options };
    let mut aios = Aios::boot(stage, "watchdog", options, Login::Already)?;
    let said = aios.machine.console.said();
    ensure!(said.contains("behind what has been and was moved forward"), "the clock was left in 1970:\n{said}");
    aios.machine.console.wait_for("stopper: PID 1 stands still now", LIMIT)?;
    aios.machine.wait_for_reset(STANDSTILL)?;
    aios.machine.console.wait_for("it restarted the machine", BOOT)?;
    Ok(())
}

fn switches(stage: &Stage<'_>) -> Result<(), Failure> {
    let options = image(stage, &[])?;
    let mut aios = Aios::boot(stage, "switches", options, Login::Already)?;
    keyboard(&mut aios)?;
    aios.machine.press(&["ctrl", "alt", "delete"])?;
    aios.machine.wait_for_reset(BOOT)?;
    let rest = aios.machine.console.position();
    aios.machine.console.wait_for_from(rest, "aios: system ready", BOOT)?;
    aios.machine.press_power()?;
    aios.machine.wait_for_power_off(BOOT)?;
    let said = aios.machine.console.said();
    ensure!(said.matches("init: all ended").count() == 2, "an end was not in order:\n{said}");
    Ok(())
}

/// What is typed at the screen is what the layout says: two keys of a German keyboard stand in each other's place.
fn keyboard(aios: &mut Aios) -> Result<(), Failure> {
    aios.ends("settings set keyboard xx", Status::Failed)?;
    for (layout, name) in [("de", "yz"), ("us", "zy")] {
        aios.ok(&format!("settings set keyboard {layout}"))?;
        aios.machine.type_on_keyboard("settings set hostname zy\n")?;
        aios.until("settings list", "what was typed at the screen", BOOT, |settings| settings["hostname"] == name)?;
    }
    Ok(())
}

fn last_words(stage: &Stage<'_>) -> Result<(), Failure> {
    let options = image(stage, &[("fragile", "output = \"consoles\"\nrequires = [\"action-runtime\"]", "fragile.sh")])?;
    // With firmware, whose variables keep the words.
    let direct = options.direct.map(|direct| DirectKernel { start: DirectStart::ByFirmware, ..direct });
    let mut aios = Aios::boot(stage, "last-words", Options { direct, ..options }, Login::Already)?;
    aios.machine.console.wait_for("fragile: an interrupt is the end now", LIMIT)?;
    aios.machine.interrupt()?;
    aios.machine.wait_for_reset(BOOT)?;
    aios.machine.console.wait_for("died and said: ", BOOT)?;
    aios.machine.console.wait_for("anic", BOOT)?;
    Ok(())
}
