//! When the parts of this boot began and were ready. Everything is noted as it happens; whoever keeps it comes and asks.

use std::fs;

use aios_ids::UnitName;
use aios_wire::init::System;
use aios_wire::logs::{BootReport, UnitTimes};

use crate::efi;

/// What the kernel read from the firmware's own record of its times, where it has one.
const FIRMWARE_RECORD: &str = "/sys/firmware/acpi/fpdt/boot";

/// The first start of each unit.
#[derive(Debug, Default)]
pub(crate) struct Times {
    waited_ms: u64,
    units_ms: Option<u64>,
    units: Vec<UnitTimes>,
}

impl Times {
    /// The times of a start that waited so long for a person.
    pub(crate) fn after_waiting(waited_ms: u64) -> Self {
        Self { waited_ms, ..Self::default() }
    }

    /// The units are about to be started.
    pub(crate) fn begin(&mut self, now_ms: u64) {
        self.units_ms = Some(now_ms);
    }

    /// Nothing keeps a unit from starting any more. Later starts are not part of the boot.
    pub(crate) fn started(&mut self, unit: &UnitName, now_ms: u64) {
        if self.units.iter().all(|times| times.name != unit.as_str()) {
            let name = unit.to_string();
            self.units.push(UnitTimes { name, started_ms: now_ms, running_ms: None, ready_ms: None });
        }
    }

    /// A unit's program runs.
    pub(crate) fn running(&mut self, unit: &UnitName, now_ms: u64) {
        if let Some(times) = self.of(unit) {
            times.running_ms.get_or_insert(now_ms);
        }
    }

    /// A unit is ready.
    pub(crate) fn ready(&mut self, unit: &UnitName, now_ms: u64) {
        if let Some(times) = self.of(unit) {
            times.ready_ms.get_or_insert(now_ms);
        }
    }

    fn of(&mut self, unit: &UnitName) -> Option<&mut UnitTimes> {
        self.units.iter_mut().find(|times| times.name == unit.as_str())
    }

    /// All of it, with what the firmware and the loader left behind.
    pub(crate) fn report(&self, system: &System) -> BootReport {
        let before = Before::find();
        BootReport {
            boot_id: system.boot_id.clone(),
            version: system.version.clone(),
            firmware_ms: before.firmware_ms,
            loader_ms: before.loader_ms,
            init_ms: system.boot_ms.init,
            waited_ms: self.waited_ms,
            units_ms: self.units_ms,
            console_ms: system.boot_ms.console,
            system_ms: system.boot_ms.system,
            units: self.units.clone(),
        }
    }
}

/// What was before the kernel.
#[derive(Debug, PartialEq, Eq)]
struct Before {
    firmware_ms: Option<u64>,
    loader_ms: Option<u64>,
}

impl Before {
    fn find() -> Self {
        let times = efi::loader_times();
        if times.began_us.is_some() {
            return Self::of_loader(times.began_us, times.ended_us);
        }
        let nanoseconds = |name: &str| {
            let text = fs::read_to_string(format!("{FIRMWARE_RECORD}/{name}")).ok()?;
            text.trim().parse::<u64>().ok().filter(|value| *value > 0)
        };
        Self::of_firmware(nanoseconds("bootloader_launch_ns"), nanoseconds("exitbootservice_start_ns"))
    }

    /// From the loader's variables: both count from the processor's start.
    fn of_loader(began_us: Option<u64>, ended_us: Option<u64>) -> Self {
        let loader_us = began_us.zip(ended_us).and_then(|(began, ended)| ended.checked_sub(began));
        Self { firmware_ms: began_us.map(|us| us / 1000), loader_ms: loader_us.map(|us| us / 1000) }
    }

    /// From the firmware's record: what the firmware started is the loader, and the kernel's image ends its services.
    fn of_firmware(launched_ns: Option<u64>, ended_ns: Option<u64>) -> Self {
        Self::of_loader(launched_ns.map(|ns| ns / 1000), ended_ns.map(|ns| ns / 1000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_start_of_a_unit_is_part_of_the_boot() {
        let (mut times, name): (_, UnitName) = (Times::default(), "network".parse().expect("a name"));
        times.ready(&name, 1);
        times.started(&name, 10);
        times.running(&name, 12);
        times.ready(&name, 20);
        times.started(&name, 100);
        times.running(&name, 110);
        times.ready(&name, 120);
        let expected = UnitTimes { name: "network".into(), started_ms: 10, running_ms: Some(12), ready_ms: Some(20) };
        assert_eq!(times.units, [expected]);
    }

    #[test]
    fn what_was_before_the_kernel_is_told_as_far_as_it_is_known() {
        let before = |firmware_ms, loader_ms| Before { firmware_ms, loader_ms };
        assert_eq!(Before::of_loader(Some(2_500_400), Some(3_000_400)), before(Some(2500), Some(500)));
        assert_eq!(Before::of_loader(Some(2_500_400), None), before(Some(2500), None));
        assert_eq!(Before::of_loader(Some(5), Some(4)), before(Some(0), None), "a clock that went back tells nothing");
        assert_eq!(Before::of_firmware(Some(7_000_000), Some(9_000_000)), before(Some(7), Some(2)));
        assert_eq!(Before::of_firmware(None, None), before(None, None));
    }
}
