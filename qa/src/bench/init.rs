//! PID 1 beside s6 and runit: on our kernel, in machines of the same kind, by the same program and the same services.
//!
//! Ours is the whole system in a test image, with more units. A peer is the first process of a machine that has nothing
//! else. Our test units give up the layers that peers do not have (namespaces, Landlock, lists of calls), so that starting is
//! compared with starting; ours still has a cgroup, a pipe for what it prints and a record of each start.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::figures::Figures;
use super::{Peer, Row};
use crate::context::Extent;
use crate::host::guest::libraries;
use crate::host::initramfs::Initramfs;
use crate::host::probe_image::{self, Added};
use crate::scenario::{Failure, Stage, ensure};
use crate::vm::{DirectKernel, DirectStart, Echo, Machine, Options};

/// The program that measures, and what it begins its lines with.
const PROGRAM: &str = "init-load";

/// So many services stand in rows of so many, as the program has them.
const MANY: usize = 200;
const IN_A_ROW: usize = 10;

/// Two hundred services in memory, beside a whole system.
const MEMORY: u32 = 1024;

/// What PID 1 promises, in the rows' units.
const RESIDENT_MIB: f64 = 8.0;
/// The ring of events and the lines of units fill up to their bounds in the first thousands; a leak goes on.
const GROWTH_KIB: f64 = 512.0;
const KILLED_MS: f64 = 150.0;
const LIST_MS: f64 = 50.0;

/// A supervisor that Debian packages.
struct Other {
    name: &'static str,
    /// As the program that measures calls it.
    word: &'static str,
    programs: &'static [&'static str],
    /// What lists all of its services.
    lists: &'static str,
}

const S6: Other = Other {
    name: "s6",
    word: "s6",
    programs: &["usr/bin/s6-svscan", "usr/bin/s6-supervise", "usr/bin/s6-svstat"],
    lists: "s6-svstat, once a service",
};
const RUNIT: Other = Other {
    name: "runit",
    word: "runit",
    programs: &["sbin/runit", "usr/bin/runsvdir", "usr/bin/runsv", "usr/bin/sv"],
    lists: "sv status",
};

pub(super) fn rows(stage: &Stage<'_>, extent: Extent) -> Result<Vec<Row>, Failure> {
    let program = build(stage)?;
    let cycles = match extent {
        Extent::Usual => 1_000,
        Extent::Long => 100_000,
    };
    // Few starts and stops of a peer's service: how it grows is nobody's promise, and runit waits a second in each.
    let s6 = other(stage, &program, &S6, 10)?;
    let runit = other(stage, &program, &RUNIT, 10)?;
    let ours = ours(stage, &program, cycles)?;

    let mut rows = Vec::new();
    let mut against = |name, figure: &str, unit, divisor: f64, limit: &dyn Fn(f64) -> Option<f64>| {
        for (other, theirs) in [(&S6, &s6), (&RUNIT, &runit)] {
            let peer = Peer { name: other.name, value: theirs.get(figure)? / divisor };
            let (value, limit) = (ours.get(figure)? / divisor, limit(peer.value));
            rows.push(Row { name, value, unit, peer: Some(peer), limit });
        }
        Ok::<(), Failure>(())
    };
    against("PID 1 at rest, resident", "rest-resident-kib", "MiB", 1024.0, &|_| Some(RESIDENT_MIB))?;
    against("all that supervises 200, of its own", "many-private-kib", "MiB", 1024.0, &|_| None)?;
    against("200 services started", "start-many-ms", "ms", 1.0, &Some)?;
    against("a killed service runs again", "killed-ms", "ms", 1.0, &|_| Some(KILLED_MS))?;
    against("10,000 orphans made and reaped", "orphans-ms", "ms", 1.0, &|_| None)?;
    against("zombies after them", "zombies", "", 1.0, &|_| Some(0.0))?;
    let list = ours.get("list-ms")?;
    for (other, theirs) in [(&S6, &s6), (&RUNIT, &runit)] {
        let peer = Some(Peer { name: other.lists, value: theirs.get("list-ms")? });
        rows.push(Row { name: "all of 200 services listed", value: list, unit: "ms", peer, limit: Some(LIST_MS) });
    }
    let alone = |name, value, unit, limit| Row { name, value, unit, peer: None, limit: Some(limit) };
    let (warm, cycled) = (ours.get("warm-resident-kib")?, ours.get("cycled-resident-kib")?);
    let (resident, grown) = match extent {
        Extent::Usual => ("PID 1 after 1,000 starts and stops, resident", "grown since the first hundred"),
        Extent::Long => ("PID 1 after 100,000 starts and stops, resident", "grown since the first hundred"),
    };
    rows.push(alone(resident, cycled / 1024.0, "MiB", RESIDENT_MIB));
    rows.push(alone(grown, cycled - warm, "KiB", GROWTH_KIB));
    Ok(rows)
}

fn build(stage: &Stage<'_>) -> Result<PathBuf, Failure> {
    let cargo = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--release", "--package", PROGRAM])
        .current_dir(&stage.context.workspace)
        .status()
        .map_err(|error| Failure::broken(format!("cannot start cargo: {error}")))?;
    ensure!(cargo.success(), "{PROGRAM} does not compile ({cargo})");
    Ok(stage.context.program(PROGRAM))
}

/// Our whole system with the services beside its own.
fn ours(stage: &Stage<'_>, program: &Path, cycles: u32) -> Result<Figures, Failure> {
    let content = fs::read(program).map_err(Failure::file("read", program))?;
    let peers = stage.context.source("rootfs/peers.toml");
    let peers = fs::read_to_string(&peers).map_err(Failure::file("read", &peers))?;
    let mut added = vec![
        Added { path: format!("usr/lib/aios/{PROGRAM}"), content, mode: 0o755 },
        Added { path: "usr/share/aios/peers.toml".into(), content: allowed(&peers)?.into(), mode: 0o644 },
        Added::unit(PROGRAM, measures(cycles)),
        Added::unit("one", serves("one", &[PROGRAM.into()])),
        Added::unit("many", serves("many", &ends_of_rows())),
    ];
    for number in 0..MANY {
        // The first of each row waits until measuring begins.
        let before = if number % IN_A_ROW == 0 { PROGRAM.to_owned() } else { of_many(number - 1) };
        let name = of_many(number);
        added.push(Added::unit(&name, serves(&name, &[before])));
    }
    let options = probe_image::with(stage.context, &stage.folder, &added)?;
    measured(stage, "ours", Options { memory: MEMORY, ..options }, cycles)
}

/// The name of one of the many, as the program that measures knows it.
fn of_many(number: usize) -> String {
    format!("many-{number:03}")
}

fn ends_of_rows() -> Vec<String> {
    (1..=MANY / IN_A_ROW).map(|row| of_many(row * IN_A_ROW - 1)).collect()
}

/// The table of peers of a test image: what measures may start and stop units.
fn allowed(peers: &str) -> Result<String, Failure> {
    let mut text = peers.to_owned();
    for verb in ["start", "stop"] {
        let line = format!("\n{verb} = [\"service:action-runtime\"]\n");
        ensure!(text.contains(&line), "rootfs/peers.toml has no line '{}' to extend", line.trim());
        text = text.replacen(&line, &format!("\n{verb} = [\"service:action-runtime\", \"service:{PROGRAM}\"]\n"), 1);
    }
    Ok(text)
}

fn measures(cycles: u32) -> String {
    format!(
        "kind = \"service\"\nprogram = \"/usr/lib/aios/{PROGRAM}\"\nargs = [\"measure\", \"aios\", \"{cycles}\"]\n\
         user = \"root\"\nmodes = [\"live\"]\nrequires = [\"verifier\"]\noutput = \"consoles\"\nstart-timeout-s = 120\n\
         restart = {{ policy = \"never\" }}\nresources = {{ pids-max = 4096 }}\n\n[sandbox]\nview = \"whole\"\n\
         network = \"host\"\npaths = \"unlimited\"\ncalls = [\"unlimited\"]\n\
         capabilities = [\"CAP_SYS_PTRACE\", \"CAP_KILL\", \"CAP_DAC_OVERRIDE\"]\n"
    )
}

fn serves(name: &str, requires: &[String]) -> String {
    format!(
        "kind = \"service\"\nprogram = \"/usr/lib/aios/{PROGRAM}\"\nargs = [\"serve\", \"{name}\"]\nuser = \"root\"\n\
         modes = [\"live\"]\nrequires = {requires:?}\nreadiness = \"started\"\nstart-timeout-s = 120\n\n[sandbox]\nview = \"whole\"\n\
         network = \"host\"\npaths = \"unlimited\"\ncalls = [\"unlimited\"]\n"
    )
}

/// A machine that is the peer and nothing else. It knows no dependencies: s6-rc, which does, is not in Debian, so all of
/// its services start at once.
fn other(stage: &Stage<'_>, program: &Path, other: &Other, cycles: u32) -> Result<Figures, Failure> {
    let unpacked = (stage.context.supervisors)().map_err(Failure::broken)?;
    let mut files = Initramfs::default();
    for folder in ["dev", "proc", "run", "tmp", "bin", "sbin", "lib", "lib/x86_64-linux-gnu", "lib64", "usr", "usr/bin"]
    {
        files.folder(folder);
    }
    files.device("dev/console", 5, 1);
    files.device("dev/null", 1, 3);
    let mut copy = |from: &Path, at: &str| -> Result<(), Failure> {
        files.program(at, &fs::read(from).map_err(Failure::file("read", from))?);
        Ok(())
    };
    copy(program, "init")?;
    copy(Path::new(crate::host::guest::BUSYBOX), "bin/busybox")?;
    let mut loaded: Vec<PathBuf> = Vec::new();
    for path in other.programs {
        copy(&unpacked.join(path), path)?;
        loaded.extend(libraries(&unpacked.join(path))?);
    }
    loaded.sort();
    loaded.dedup();
    for path in loaded {
        copy(&path, path.to_string_lossy().trim_start_matches('/'))?;
    }
    // The packages' own libraries, by the names that programs ask for.
    let own = unpacked.join("usr/lib/x86_64-linux-gnu");
    for entry in fs::read_dir(&own).map_err(Failure::file("list", &own))? {
        let path = entry.map_err(Failure::file("list", &own))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_file() && name.contains(".so.") {
            copy(&path, &format!("lib/x86_64-linux-gnu/{name}"))?;
        }
    }
    let initrd = stage.folder.join(format!("{}.cpio", other.word));
    fs::write(&initrd, files.finish()).map_err(Failure::file("write", &initrd))?;
    let options = Options {
        direct: Some(DirectKernel {
            kernel: stage.context.kernel.clone(),
            initrd: Some(initrd),
            command_line: format!(
                "{} console=ttyS0 quiet panic=-1 rdinit=/init -- first {} {cycles}",
                stage.context.kernel_line, other.word
            ),
            start: DirectStart::Alone,
        }),
        memory: MEMORY,
        no_net: true,
        ..Options::default()
    };
    measured(stage, other.word, options, cycles)
}

fn measured(stage: &Stage<'_>, name: &str, options: Options, cycles: u32) -> Result<Figures, Failure> {
    // Ten times what it takes under translation when the host has nothing else to do.
    let limit = std::time::Duration::from_secs(1200 + u64::from(cycles) / 2);
    let options = Options { timeout: limit.as_secs(), ..options };
    let mut machine = Machine::start(options, &stage.log(name), Echo::Hidden)?;
    let words = ["init-load: done", "init-load: failed", "Kernel panic"];
    let ended = machine.console.wait_for_any(&words, limit)?;
    machine.console.listen(std::time::Duration::from_millis(500))?;
    let said = machine.console.said();
    ensure!(ended == 0, "{name} was not measured to the end:\n{said}");
    Ok(Figures::read(PROGRAM, &figures(&said)))
}

/// What follows the program's name in each line that has it; others write to the same line.
fn figures(said: &str) -> String {
    let mark = format!("{PROGRAM}: ");
    said.lines().filter_map(|line| line.rsplit_once(&mark)).map(|(_, figure)| format!("{}\n", figure.trim())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_is_one_that_the_system_would_start() {
        let one = of_many(199);
        for (name, text) in [
            (PROGRAM, measures(7)),
            (one.as_str(), serves(&one, &[of_many(198)])),
            ("many", serves("many", &ends_of_rows())),
        ] {
            aios_units::Unit::parse(name, &text).unwrap_or_else(|error| panic!("{name}: {error:?}"));
        }
        assert_eq!((ends_of_rows().len(), ends_of_rows()[0].as_str()), (20, "many-009"));
    }

    #[test]
    fn only_what_measures_may_start_and_stop_besides() {
        let real = include_str!("../../../rootfs/peers.toml");
        let text = allowed(real).expect("both lines are there");
        assert_eq!(text.lines().count(), real.lines().count());
        assert_eq!(text.matches("service:init-load").count(), 2);
        assert!(allowed("[init]\nstart = []\n").is_err());
    }

    #[test]
    fn figures_are_found_between_what_others_print() {
        let said = "aios> \u{1b}[Kinit-load: list-ms 12.500\r\nx\r\n[ 1.0] init-load: init-load: zombies 0.000\r\n";
        assert_eq!(figures(said), "list-ms 12.500\nzombies 0.000\n");
    }
}
