//! No evidence log, no actions; no policy kernel, no actions.

use std::time::Duration;

use super::{Aios, list, services};
use crate::host::nix_cache::NixCache;
use crate::host::web::Web;
use crate::scenario::{Failure, Stage, ensure};

/// How long actions may go on after a service they must not run without is gone.
const PROMISED_MS: u64 = 1000;

const LIMIT: Duration = Duration::from_secs(180);

/// The machine's guest probe takes each service away while an action runs.
pub(crate) fn without_its_witnesses(aios: &mut Aios, stage: &Stage<'_>) -> Result<(), Failure> {
    services::all_ready(aios)?;
    let cache = NixCache::make(&stage.folder)?;
    let web = Web::serve(&cache.folder)?;
    aios.json(&format!("store add {} --cache {} --key {}", cache.program, web.url(), cache.key))?;
    let line = format!("store run {}/bin/busybox sleep 4", cache.program);
    for service in ["evidence-log", "policy-kernel"] {
        aios.machine.console.start(&line, LIMIT)?;
        let frozen = milliseconds(aios, &format!("probe: {service} frozen after "))?;
        ensure!(
            frozen <= PROMISED_MS,
            "without {service}, actions went on for {frozen} ms; {PROMISED_MS} are promised"
        );
        milliseconds(aios, &format!("probe: {service} thawed after "))?;
        aios.machine.console.wait_for(&format!("probe: {service} done"), LIMIT)?;
        // How the interrupted action ended is its own business; that the next one works is the promise.
        aios.machine.console.finish(&line, LIMIT)?;
        services::all_ready(aios)?;
    }
    aios.json("object put notes/after thaw")?;
    aios.ok("evidence verify")?;
    let events = aios.json("evidence query --kind unit-event")?;
    for what in ["frozen", "thawed"] {
        let recorded = list(&events)?.iter().filter(|record| record["payload"]["what"] == what).count();
        ensure!(recorded >= 2, "'{what}' is on record {recorded} times: {events:#}");
    }
    Ok(())
}

/// The number that the probe says after a text.
fn milliseconds(aios: &mut Aios, text: &str) -> Result<u64, Failure> {
    aios.machine.console.wait_for(text, LIMIT)?;
    let begin = aios.machine.console.looked();
    aios.machine.console.wait_for(" ms", LIMIT)?;
    let said = aios.machine.console.said_between(begin, aios.machine.console.looked());
    let number = said.trim_end_matches(" ms").trim().parse();
    number.map_err(|_| Failure::broken(format!("the probe says '{said}' where a number should be")))
}
