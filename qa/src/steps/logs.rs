//! What is kept of what programs and the kernel say: after a flood, on a full disk, and across a loss of power.

use std::fs;
use std::time::Duration;

use serde_json::Value;

use super::{Aios, list, services, text};
use crate::Context;
use crate::host::probe_image::Added;
use crate::scenario::{Failure, ensure};
use crate::vm::BOOT;

/// How long the guest's script takes for each of its parts under translation.
const PART: Duration = Duration::from_secs(180);

/// What the image gets: a service that talks without end and fills the disk.
pub(crate) fn flood(context: &Context) -> Result<Vec<Added>, Failure> {
    let read = |name: &str| {
        let path = context.source(format!("qa/guest-probe/{name}"));
        fs::read_to_string(&path).map_err(Failure::file("read", &path))
    };
    Ok(vec![Added::script("flood.sh", &read("flood.sh")?), Added::unit("flood", read("flood.toml")?)])
}

/// A flood costs the service that made it its own lines; the others' are there, and the loss is counted.
pub(crate) fn after_a_flood(aios: &mut Aios) -> Result<(), Failure> {
    // PID 1 reads the flood meanwhile.
    services::list_is_quick(aios)?;
    // Its own words are more urgent than the flood.
    let said = aios.until("service logs flood --priority notice", "the end of the flood", PART, |kept| {
        texts(kept).contains(&"the flood is over")
    })?;
    let said = texts(&said);
    ensure!(said.contains(&"before the flood"), "what was said before the flood is gone: {said:?}");
    let lost: Vec<_> = said.iter().filter(|text| text.ends_with("are lost")).collect();
    ensure!(!lost.is_empty(), "nothing says that lines are lost: {said:?}");
    println!("  of a flood of 64 MiB: {lost:?}");
    for (unit, word) in [("init", "system ready"), ("kernel", "Linux version")] {
        let kept = aios.json(&format!("service logs {unit} -n 2000"))?;
        ensure!(texts(&kept).iter().any(|text| text.contains(word)), "of {unit} there is no line with '{word}'");
    }
    let errors = aios.json("service logs flood --priority err")?;
    ensure!(texts(&errors).iter().all(|text| *text == "after the flood"), "these are no errors: {errors:#}");
    services::all_ready(aios)
}

/// With the disk full, PID 1 and its services go on, what is said is kept in the room that the log has, and questions are
/// answered.
pub(crate) fn on_a_full_disk(aios: &mut Aios) -> Result<(), Failure> {
    let kept =
        aios.until("service logs flood --priority notice", "lines that were said on a full disk", PART, |kept| {
            texts(kept).contains(&"said on a full disk: 3")
        })?;
    let full = texts(&kept).iter().position(|text| *text == "the disk is full");
    ensure!(full.is_some(), "the disk was not filled: {kept:#}");
    let list_of_services = aios.json("service list")?;
    ensure!(list(&list_of_services)?.iter().all(|service| service["state"] != "failed"), "{list_of_services:#}");
    aios.until("service logs flood --priority notice -n 5", "room again", PART, |kept| {
        texts(kept).contains(&"there is room again")
    })?;
    Ok(())
}

/// A loss of power takes no line that was said a moment before; the boot before stays readable, and its times.
pub(crate) fn across_a_power_cut(aios: &mut Aios, round: u32) -> Result<(), Failure> {
    services::restart(aios, "network")?;
    let before = aios.until("service logs init -n 1000", "the restart in the log", PART, |kept| {
        texts(kept).iter().any(|text| text.starts_with("network asked: restart"))
    })?;
    // A line is durable within a second.
    std::thread::sleep(Duration::from_secs(3));
    aios.machine.power_cut()?;
    aios.enter_again(BOOT)?;
    let after = aios.json("service logs init --boot -1 -n 1000")?;
    let (before, after) = (texts(&before).len(), texts(&after).len());
    ensure!(after >= before, "round {round}: {before} lines before the power cut, {after} after it");
    let boot = aios.json("boot")?;
    ensure!(boot["previous"]["how"] == "power-lost", "the end of the boot before is told as {:#}", boot["previous"]);
    let status = aios.ok("status")?;
    ensure!(status.contains("the boot before lost its power"), "the status does not tell of it:\n{status}");
    ensure!(boot["boot"]["system_ms"].is_u64(), "the boot's times lack the ready system: {boot:#}");
    let earlier = list(&boot["earlier"])?.len();
    ensure!(earlier >= round as usize, "round {round}: {earlier} earlier boots are on record");
    println!(
        "  round {round}: {after} lines of PID 1 before the cut, all readable after it; {earlier} earlier boots on record"
    );
    Ok(())
}

/// A machine that was ended in order knows it, by the log's last record of that boot.
pub(crate) fn across_an_end_in_order(aios: &mut Aios) -> Result<(), Failure> {
    aios.machine.console.prompt(BOOT)?;
    aios.machine.console.type_line("reboot")?;
    aios.enter_again(BOOT)?;
    let previous = aios.json("boot")?["previous"].clone();
    ensure!(previous["how"] == "clean", "the end of the boot before is told as {previous:#}");
    let ends = aios.json("evidence query --kind end")?;
    ensure!(list(&ends)?.len() == 1, "one end in order is on record, and no other: {ends:#}");
    aios.ok("evidence verify")?;
    Ok(())
}

/// The times of a boot are there, in order, and add up.
pub(crate) fn boot_times(aios: &mut Aios) -> Result<(), Failure> {
    let boot = aios.json("boot")?;
    let ms = |value: &Value| value.as_u64();
    let report = &boot["boot"];
    for unit in list(&report["units"])? {
        let times = [ms(&unit["started_ms"]), ms(&unit["running_ms"]), ms(&unit["ready_ms"])];
        ensure!(times.windows(2).all(|pair| pair[1].is_none() || pair[0] <= pair[1]), "times go back: {unit}");
    }
    let order = [ms(&report["init_ms"]), ms(&report["units_ms"]), ms(&report["console_ms"]), ms(&report["system_ms"])];
    ensure!(order.iter().all(Option::is_some) && order.is_sorted(), "a part of the boot is missing: {report:#}");
    let name = |unit: &Value| text(unit, "name").map(str::to_owned);
    let names: Vec<_> = list(&report["units"])?.iter().map(name).collect::<Result<_, _>>()?;
    ensure!(names.iter().any(|name| name == "evidence-log"), "units are missing: {names:?}");
    println!("{}", aios.ok("boot")?.trim_end().replace('\r', ""));
    Ok(())
}

/// The words of kept lines.
fn texts(kept: &Value) -> Vec<&str> {
    kept.as_array().map_or_else(Vec::new, |kept| kept.iter().filter_map(|line| line["text"].as_str()).collect())
}
