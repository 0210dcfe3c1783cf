//! `aios boot`: where the boot time went, and whether it was much more than usual.

use aios_daemon::proxy::Logs1Proxy;
use aios_wire::init::{Reply, Request};
use aios_wire::logs::{BootReport, Boots, Slow};
use serde_json::json;

use crate::failure::Failure;
use crate::previous;
use crate::show::{Format, read, table};

pub(crate) async fn run(format: Format) -> Result<(), Failure> {
    let Reply::Boot(report) = aios_daemon::init::ask(&Request::Boot)? else {
        return Err(Failure::failed("PID 1 answered something else than the times of this boot"));
    };
    // Without the earlier boots this one is shown all the same.
    let boots = boots().await.unwrap_or_default();
    let slow = slow_of(&boots, &report.boot_id);
    let previous = previous::ask(&report.boot_id).await.ok().flatten();
    let shown = json!({
        "boot": report,
        "total_ms": report.total_ms(),
        "earlier": boots.boots.iter().filter(|boot| boot.boot_id != report.boot_id).collect::<Vec<_>>(),
        "slow": slow,
        "previous": previous,
    });
    format.print(&shown, |_| {
        people(&report, &boots, slow);
        if let Some(previous) = &previous {
            println!("the boot before {}", previous.told());
        }
    });
    Ok(())
}

/// Whether this boot took much longer than usual, once it is on record.
pub(crate) async fn slow(boot_id: &str) -> Option<Slow> {
    slow_of(&boots().await.ok()?, boot_id)
}

fn slow_of(boots: &Boots, boot_id: &str) -> Option<Slow> {
    boots.slow.filter(|_| boots.boots.last().is_some_and(|last| last.boot_id == boot_id))
}

/// The same in words.
pub(crate) fn slow_text(slow: Slow) -> String {
    format!("this boot took {} ms; usual are {} ms", slow.took_ms, slow.usual_ms)
}

async fn boots() -> Result<Boots, Failure> {
    let connection = aios_daemon::connect("logbook").await.map_err(|error| Failure::not_reachable("logbook", error))?;
    read("logbook", &Logs1Proxy::new(&connection).await?.boots().await?)
}

fn people(report: &BootReport, boots: &Boots, slow: Option<Slow>) {
    for (name, took) in parts(report) {
        println!("{name:24} {}", took.map_or_else(|| "unknown".into(), |ms| format!("{ms:>7} ms")));
    }
    if report.waited_ms > 0 {
        println!("and {} ms for a person to type the data's pass phrase, which are not counted", report.waited_ms);
    }
    println!();
    let ms = |value: Option<u64>| value.map_or_else(|| "-".into(), |ms| ms.to_string());
    table(
        ["UNIT", "STARTED", "RUNNING", "READY", "TOOK"],
        report.units.iter().map(|unit| {
            let took = unit.ready_ms.map(|ready| ready - unit.started_ms);
            [unit.name.clone(), unit.started_ms.to_string(), ms(unit.running_ms), ms(unit.ready_ms), ms(took)]
        }),
    );
    println!("in milliseconds since the kernel started");
    let earlier: Vec<_> = boots.boots.iter().filter(|boot| boot.boot_id != report.boot_id).collect();
    if !earlier.is_empty() {
        let totals: Vec<_> = earlier.iter().rev().take(8).map(|boot| ms(boot.total_ms())).collect();
        println!("earlier boots, newest first: {} ms", totals.join(", "));
    }
    if let Some(slow) = slow {
        println!("! {}", slow_text(slow));
    }
}

/// The boot from power to ready, part by part.
fn parts(report: &BootReport) -> [(&'static str, Option<u64>); 7] {
    let between = |from: Option<u64>, to: Option<u64>| to?.checked_sub(from?);
    let in_pid_1 = between(report.init_ms, report.units_ms).map(|ms| ms.saturating_sub(report.waited_ms));
    [
        ("firmware", report.firmware_ms),
        ("boot loader", report.loader_ms),
        ("kernel", report.init_ms),
        ("PID 1 until first unit", in_pid_1),
        ("until console ready", between(report.units_ms, report.console_ms)),
        ("until system ready", between(report.console_ms.min(report.system_ms), report.system_ms)),
        ("together", report.total_ms()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_boot_is_called_slow() {
        let slow = Some(Slow { took_ms: 9_000, usual_ms: 3_000 });
        let boots = Boots { boots: vec![BootReport { boot_id: "b".into(), ..BootReport::default() }], slow };
        assert_eq!(slow_of(&boots, "b").map(slow_text).as_deref(), Some("this boot took 9000 ms; usual are 3000 ms"));
        assert_eq!(slow_of(&boots, "c"), None, "the record is of the boot before");
    }

    #[test]
    fn the_parts_of_a_boot_are_its_whole() {
        let report = BootReport {
            firmware_ms: Some(2000),
            loader_ms: Some(300),
            init_ms: Some(900),
            waited_ms: 60_000,
            units_ms: Some(61_100),
            console_ms: Some(61_300),
            system_ms: Some(62_600),
            ..BootReport::default()
        };
        let parts = parts(&report);
        let (whole, parts) = parts.split_last().expect("parts");
        assert_eq!(parts.iter().filter_map(|(_, ms)| *ms).sum::<u64>(), 4900);
        assert_eq!(whole.1, Some(4900));
        assert_eq!(super::parts(&BootReport::default()).iter().filter(|(_, ms)| ms.is_none()).count(), 7);
    }
}
