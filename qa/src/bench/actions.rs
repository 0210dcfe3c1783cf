//! What an action costs beside its records: a confined launch with every layer beside other sandboxes on the same kernel in
//! the same machine, started by the same program; the whole way of an action; the runtime's memory.

use std::fs;
use std::path::PathBuf;

use super::{Peer, Row, median};
use crate::host::figures::{Launching, Other};
use crate::host::guest::libraries;
use crate::host::probe_image;
use crate::scenario::{Failure, Stage, ensure};
use crate::steps::{Aios, at_ms, budgets, services, text};
use crate::vm::Login;

/// Launches of each kind.
const ROUNDS: u32 = 100;

/// Whole actions.
const ACTIONS: u32 = 10;

/// The most memory that the runtime may hold, in MiB.
const MEMORY: f64 = 32.0;

/// The same layers as far as a container has them: no Landlock, no list of calls.
const CONTAINER: &str = r#"{
    "ociVersion": "1.0.0",
    "process": {
        "terminal": false, "cwd": "/", "args": ["/bin/busybox", "true"], "noNewPrivileges": true,
        "user": {"uid": 61000, "gid": 61000}
    },
    "root": {"path": "/bundle/rootfs", "readonly": true},
    "linux": {"namespaces": [
        {"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}, {"type": "cgroup"}
    ]},
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"}
    ]
}
"#;

pub(super) fn rows(stage: &Stage<'_>) -> Result<Vec<Row>, Failure> {
    let mut rows = launches(stage)?;
    rows.extend(whole(stage)?);
    Ok(rows)
}

fn launches(stage: &Stage<'_>) -> Result<Vec<Row>, Failure> {
    let others = [bwrap()?];
    let mut launching = Launching::start(stage, &stage.context.kernel, &others)?;
    let ours = launching.ours(ROUNDS)?;
    let [bwrap] = &others;
    let bwrap = launching.other(ROUNDS, bwrap)?;
    drop(launching);
    // A container runtime wants user namespaces, which our kernel does not have.
    let debian = (stage.context.debian_kernel)().map_err(Failure::broken)?;
    let others = [crun(stage)?];
    let mut launching = Launching::start(stage, &debian, &others)?;
    let on_debian = launching.ours(ROUNDS)?.get("launch-p50-us")?;
    let [crun] = &others;
    let crun = launching.other(ROUNDS, crun)?;
    let row = |name, value, peer, limit| Row { name, value, unit: "us", peer, limit };
    let peer = |name, value| Some(Peer { name, value });
    let value = ours.get("launch-p50-us")?;
    Ok(vec![
        row("confined true, all layers", value, peer("bwrap --unshare-all", bwrap), Some(bwrap / 2.0)),
        row("the same on Debian's kernel", on_debian, peer("crun run", crun), None),
        row("confined true, all layers, p99", ours.get("launch-p99-us")?, None, None),
        row("confined true, four at a time, each", 1e6 / ours.get("launches-per-second")?, None, None),
    ])
}

fn bwrap() -> Result<Other, Failure> {
    let program = PathBuf::from("/usr/bin/bwrap");
    let files = std::iter::once(program.clone()).chain(libraries(&program)?);
    Ok(Other {
        files: files.map(|file| (file.clone(), file.to_string_lossy().into_owned())).collect(),
        prepare: "",
        command: "/usr/bin/bwrap --unshare-all --ro-bind / / /bin/busybox true",
    })
}

fn crun(stage: &Stage<'_>) -> Result<Other, Failure> {
    let unpacked = (stage.context.container_runtime)().map_err(Failure::broken)?;
    let program = unpacked.join("usr/bin/crun");
    let bundle = stage.folder.join("config.json");
    fs::write(&bundle, CONTAINER).map_err(Failure::file("write", &bundle))?;
    let mut files = vec![(program.clone(), "/usr/bin/crun".to_owned()), (bundle, "/root/config.json".to_owned())];
    files.extend(libraries(&program)?.into_iter().map(|file| (file.clone(), file.to_string_lossy().into_owned())));
    // The one library that this machine need not have.
    let own = unpacked.join("usr/lib/x86_64-linux-gnu");
    for entry in fs::read_dir(&own).map_err(Failure::file("list", &own))? {
        let path = entry.map_err(Failure::file("list", &own))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_file() && name.contains(".so.") {
            files.push((path, format!("/lib/x86_64-linux-gnu/{name}")));
        }
    }
    files.sort();
    files.dedup_by(|a, b| a.1 == b.1);
    Ok(Other {
        files,
        prepare: "busybox mkdir -p /bundle/rootfs/bin /bundle/rootfs/proc /bundle/rootfs/tmp /bundle/rootfs/dev && \
                  busybox cp /bin/busybox /bundle/rootfs/bin/ && busybox cp /root/config.json /bundle/",
        command: "/usr/bin/crun --root /run/crun --cgroup-manager=disabled run --bundle /bundle one",
    })
}

/// Whole actions on the whole system, and what the runtime holds after them.
fn whole(stage: &Stage<'_>) -> Result<Vec<Row>, Failure> {
    let options = probe_image::with(stage.context, &stage.folder, &budgets::added(stage.context)?)?;
    let mut aios = Aios::boot(stage, "actions", options, Login::Already)?;
    services::all_ready(&mut aios)?;
    let program = budgets::program(&mut aios, stage)?;
    let mut values = Vec::new();
    for _ in 0..ACTIONS {
        let view = aios.json(&format!("store run {program} true"))?;
        ensure!(view["state"]["state"] == "succeeded", "the program ended as {view:#}");
        let records = aios.json(&format!("evidence query --action {}", text(&view, "id")?))?;
        values.push(at_ms(&records, "outcome")? - at_ms(&records, "started")?);
    }
    let held = budgets::held(&mut aios)?;
    let row = |name, value, unit, limit| Row { name, value, unit, peer: None, limit };
    Ok(vec![
        row("confined program, started to outcome", median(values).expect("there was at least one round"), "ms", None),
        row("memory of the action runtime", held.memory as f64 / 1024.0, "MiB", Some(MEMORY)),
    ])
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_container_is_json() {
        serde_json::from_str::<serde_json::Value>(super::CONTAINER).expect("JSON");
    }
}
