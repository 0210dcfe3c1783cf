//! A confined program, beside `bwrap --unshare-all` on the same kernel in a machine of the same kind.

use std::path::Path;
use std::time::Duration;

use super::{Peer, Row, live, median};
use crate::host::guest::guest;
use crate::host::nix_cache::NixCache;
use crate::host::web::Web;
use crate::scenario::{Failure, Stage, ensure};
use crate::steps::{at_ms, text};
use crate::vm::{Echo, Machine, Options};

const ROUNDS: u32 = 10;

pub(super) fn row(stage: &Stage<'_>) -> Result<Row, Failure> {
    let value = ours(stage)?;
    let peer = Some(Peer { name: "bwrap --unshare-all", value: bwrap(stage)? });
    Ok(Row { name: "confined program, started to outcome", value, unit: "ms", peer, limit: None })
}

/// From the durable record that it starts to the durable record of what was measured: more than the launch alone.
fn ours(stage: &Stage<'_>) -> Result<f64, Failure> {
    let cache = NixCache::make(&stage.folder)?;
    let web = Web::serve(&cache.folder)?;
    let mut aios = live(stage, "launch")?;
    aios.json(&format!("store add {} --cache {} --key {}", cache.program, web.url(), cache.key))?;
    let mut values = Vec::new();
    for _ in 0..ROUNDS {
        let view = aios.json(&format!("store run {}/bin/busybox true", cache.program))?;
        ensure!(view["state"]["state"] == "succeeded", "the program ended as {view:#}");
        let records = aios.json(&format!("evidence query --action {}", text(&view, "id")?))?;
        values.push(at_ms(&records, "outcome")? - at_ms(&records, "started")?);
    }
    Ok(median(values).expect("there was at least one round"))
}

fn bwrap(stage: &Stage<'_>) -> Result<f64, Failure> {
    let options = Options {
        direct: Some(guest(&stage.context.kernel, &stage.folder, &[Path::new("/usr/bin/bwrap")])?),
        no_net: true,
        timeout: 120,
        ..Options::default()
    };
    let mut machine = Machine::start(options, &stage.log("bwrap"), Echo::Hidden)?;
    let line = format!(
        "read begin rest < /proc/uptime; i=0; while [ $i -lt {ROUNDS} ]; do \
         /usr/bin/bwrap --unshare-all --ro-bind / / /bin/busybox true || exit 1; i=$((i + 1)); done; \
         read end rest < /proc/uptime; echo $begin $end"
    );
    let output = machine.console.run(&line, Duration::from_secs(60))?;
    let mut times = output.text.split_whitespace().filter_map(|word| word.parse::<f64>().ok());
    match (output.status, times.next(), times.next()) {
        (0, Some(begin), Some(end)) => Ok((end - begin) * 1000.0 / f64::from(ROUNDS)),
        _ => Err(Failure::broken(format!("bwrap did not run in the guest:\n{}", output.text))),
    }
}
