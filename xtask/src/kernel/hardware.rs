//! `cargo xtask kernel hardware`: which devices our kernel is for, beside Debian's configuration of the same series.
//!
//! `kernel-config/hardware.toml` says for each kind of device whether it runs here in a test, is configured and was never
//! run, or is left out. The share of PCI ids is computed from what the drivers of both kernels say of themselves. Both go
//! into `docs/hardware.md`; a test compares the page with the configuration without fetching anything.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;

use aios_ids::Digest;
use serde::Deserialize;

use super::debian::Debian;
use super::modinfo::{self, Drivers, PciId};
use super::{Kernel, Pin, config};
use crate::cache::Cache;
use crate::error::{Error, OnFile, Result};
use crate::project;

/// The page.
const PAGE: &str = "docs/hardware.md";

/// Where the generated part of the page begins and ends.
const BEGIN: &str = "<!-- written by `cargo xtask kernel hardware --write` -->";
const END: &str = "<!-- end of what is written -->";

/// The share that no class may fall below, in percent.
const LEAST: usize = 90;

/// What happens to the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Page {
    /// It must be what we would write.
    Compare,
    /// It is written.
    Write,
}

/// What the share is computed of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    Storage,
    Ethernet,
}

/// `kernel-config/hardware.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Hardware {
    device: Vec<Device>,
}

/// A kind of device.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Device {
    name: String,
    /// The options that it needs.
    options: Vec<String>,
    /// The scenarios that run it.
    #[serde(default)]
    run_by: Vec<String>,
    /// Why it is left out.
    absent: Option<String>,
}

/// How our drivers stand beside Debian's in one class.
#[derive(Debug, Default, PartialEq, Eq)]
struct Share {
    all: usize,
    ours: usize,
    /// Of ours: ids of drivers that may ask for a firmware file.
    with_firmware: usize,
    /// Drivers that Debian has and we have not, with the ids that are missing.
    missing: Vec<(usize, String)>,
}

impl Class {
    const ALL: [Self; 2] = [Self::Storage, Self::Ethernet];

    /// The class of a driver, by its path in the source.
    pub(super) fn of(driver: &str) -> Option<Self> {
        const STORAGE: [&str; 7] = [
            "drivers/ata/",
            "drivers/block/",
            "drivers/message/fusion/",
            "drivers/mmc/host/",
            "drivers/nvme/host/",
            "drivers/scsi/",
            "drivers/ufs/",
        ];
        const ETHERNET: [&str; 2] = ["drivers/net/ethernet/", "drivers/net/vmxnet3/"];
        let within = |folders: &[&str]| folders.iter().any(|folder| driver.starts_with(folder));
        match () {
            () if within(&STORAGE) => Some(Self::Storage),
            () if within(&ETHERNET) => Some(Self::Ethernet),
            () => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Storage => "storage controllers",
            Self::Ethernet => "Ethernet",
        }
    }
}

impl Share {
    fn of(class: Class, ours: &Drivers, debian: &Drivers) -> Self {
        let ids = |drivers: &Drivers, firmware: bool| -> Vec<PciId> {
            let wanted = drivers
                .iter()
                .filter(|(path, driver)| Class::of(path) == Some(class) && (!firmware || !driver.firmware.is_empty()));
            wanted.flat_map(|(_, driver)| driver.devices.iter().cloned()).collect()
        };
        let (have, with_firmware) = (ids(ours, false), ids(ours, true));
        let covered = |by: &[PciId], id: &PciId| by.iter().any(|pattern| pattern.covers(id));
        let all: BTreeSet<PciId> = ids(debian, false).into_iter().collect();
        let mut missing: BTreeMap<&str, usize> = BTreeMap::new();
        for (path, driver) in debian.iter().filter(|(path, _)| Class::of(path) == Some(class)) {
            let lacking = driver.devices.iter().filter(|id| !covered(&have, id)).count();
            if lacking > 0 {
                let name = path.rsplit('/').next().unwrap_or(path);
                *missing.entry(name).or_default() += lacking;
            }
        }
        let mut missing: Vec<_> = missing.into_iter().map(|(name, count)| (count, name.to_owned())).collect();
        missing.sort_by(|one, other| other.0.cmp(&one.0).then_with(|| one.1.cmp(&other.1)));
        Self {
            ours: all.iter().filter(|id| covered(&have, id)).count(),
            with_firmware: all.iter().filter(|id| covered(&with_firmware, id)).count(),
            all: all.len(),
            missing,
        }
    }

    fn percent(&self) -> f64 {
        if self.all == 0 { 0.0 } else { 100.0 * self.ours as f64 / self.all as f64 }
    }
}

/// Computes the shares, prints them and compares or writes the page.
pub(super) fn run(cache: &Cache, kernel: &Kernel, pin: &Pin, page: Page) -> Result<()> {
    let (hardware, fragments) = (read()?, super::all_fragments()?);
    let untrue = untrue(&hardware, &fragments);
    if !untrue.is_empty() {
        return Err(Error::refused(
            format!("kernel-config/hardware.toml is not true:\n    {}", untrue.join("\n    ")),
            "an option that is named is in a fragment, one of a device that is left out is not",
        ));
    }
    let debian = Debian::obtain(cache, pin)?;
    let modinfo = kernel.modinfo();
    let ours = modinfo::of_builtin(&fs::read(&modinfo).on("read", &modinfo)?);
    let theirs = debian.drivers()?;
    let shares: Vec<(Class, Share)> =
        Class::ALL.into_iter().map(|class| (class, Share::of(class, &ours, &theirs))).collect();
    let counted = counted(&shares, &ours, &debian.version);
    println!("{counted}");
    let written = format!("{}\n{counted}\n{}", device_table(&hardware), stamp(&fragments, pin));
    let path = project::path(PAGE);
    let text = project::read(PAGE)?;
    let new = with_generated(&text, &written)?;
    match page {
        Page::Write => fs::write(&path, new).on("write", &path)?,
        Page::Compare if text != new => {
            return Err(Error::refused(
                format!("{PAGE} is not of this configuration"),
                "`cargo xtask kernel hardware --write` writes it",
            ));
        }
        Page::Compare => {}
    }
    for (class, share) in &shares {
        if share.ours * 100 < share.all * LEAST {
            return Err(Error::refused(
                format!(
                    "our drivers know {:.1} % of Debian's {}; {LEAST} % is the least",
                    share.percent(),
                    class.name()
                ),
                "the drivers with the most ids that are missing are listed above",
            ));
        }
    }
    Ok(())
}

/// The shares as the page shows them.
fn counted(shares: &[(Class, Share)], ours: &Drivers, version: &str) -> String {
    let mut text = format!("Beside the drivers of Debian's kernel {version} for ordinary PCs:\n\n");
    text += "| PCI ids | Debian's | ours | share | of ours, may ask for firmware |\n|---|---|---|---|---|\n";
    for (class, share) in shares {
        let Share { all, ours, with_firmware, .. } = share;
        let _ = writeln!(text, "| {} | {all} | {ours} | {:.1} % | {with_firmware} |", class.name(), share.percent());
    }
    for (class, share) in shares {
        let names: Vec<String> = share.missing.iter().map(|(count, name)| format!("{name} {count}")).collect();
        let _ = write!(text, "\nNot in, {}, with the ids that are missing: {}.\n", class.name(), names.join(", "));
    }
    let asking = ours.iter().filter(|(path, driver)| Class::of(path).is_some() && !driver.firmware.is_empty());
    let names: Vec<&str> = asking.map(|(path, _)| path.rsplit('/').next().unwrap_or(path)).collect();
    let _ = write!(
        text,
        "\nDrivers that may ask for a firmware file, for all their devices or for a few: {}. None is on the image; \
         `kernel-config/firmware` takes what you add.\n",
        names.join(", ")
    );
    text
}

fn device_table(hardware: &Hardware) -> String {
    let mut text = "| device | here |\n|---|---|\n".to_owned();
    for device in &hardware.device {
        let state = match (&device.absent, device.run_by.as_slice()) {
            (Some(why), _) => format!("not in: {why}"),
            (None, []) => "configured, not run".to_owned(),
            (None, scenarios) => format!("runs in `{}`", scenarios.join("`, `")),
        };
        let _ = writeln!(text, "| {} | {state} |", device.name);
    }
    text
}

/// Names the configuration that a page was written for.
fn stamp(fragments: &str, pin: &Pin) -> String {
    let digest = Digest::of(fragments.as_bytes()).to_string();
    format!("Configuration {}, linux {}.", &digest[..12], pin.version)
}

fn with_generated(page: &str, written: &str) -> Result<String> {
    let (before, rest) = page.split_once(BEGIN).unwrap_or((page, ""));
    let (_, after) = rest.split_once(END).ok_or_else(|| {
        Error::refused(
            format!("{PAGE} does not say where the generated part is"),
            format!("it needs {BEGIN} and {END}"),
        )
    })?;
    Ok(format!("{before}{BEGIN}\n\n{}\n\n{END}{after}", written.trim()))
}

/// Says what is not so in the list of devices.
fn untrue(hardware: &Hardware, fragments: &str) -> Vec<String> {
    let set = |option: &str| config::values(fragments).get(option).is_some_and(|value| *value != "n");
    let mut untrue = Vec::new();
    for device in &hardware.device {
        let wanted = device.absent.is_none();
        for option in device.options.iter().filter(|option| set(option) != wanted) {
            untrue.push(format!("{}: {option}", device.name));
        }
        let known = |name: &String| qa::scenarios().any(|scenario| scenario.name == name);
        untrue.extend(device.run_by.iter().filter(|name| !known(name)).map(|name| format!("no scenario {name}")));
        if device.absent.is_some() && !device.run_by.is_empty() {
            untrue.push(format!("{} is left out and run", device.name));
        }
    }
    untrue
}

fn read() -> Result<Hardware> {
    toml::from_str(&project::read("kernel-config/hardware.toml")?)
        .map_err(|source| Error::library("kernel-config/hardware.toml is not understood", source))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drivers(text: &str) -> Drivers {
        modinfo::of_builtin(text.replace(' ', "\0").as_bytes())
    }

    #[test]
    fn shares_are_of_distinct_ids() {
        let debian = drivers(
            "a.file=drivers/ata/a a.alias=pci:v00000001d00000001sv*sd*bc*sc*i* b.file=drivers/scsi/b \
             b.alias=pci:v00000001d00000001sv*sd*bc*sc*i* b.alias=pci:v00000001d00000002sv*sd*bc*sc*i* \
             c.file=drivers/net/ethernet/c c.alias=pci:v00000002d00000001sv*sd*bc*sc*i* \
             d.file=drivers/gpu/d d.alias=pci:v00000003d00000001sv*sd*bc*sc*i*",
        );
        let ours = drivers(
            "a.file=drivers/ata/a a.alias=pci:v00000001d00000001sv*sd*bc*sc*i* a.firmware=x \
             c.file=drivers/net/ethernet/c c.alias=pci:v00000002d*sv*sd*bc*sc*i*",
        );
        let share = Share::of(Class::Storage, &ours, &debian);
        assert_eq!(share, Share { all: 2, ours: 1, with_firmware: 1, missing: vec![(1, "b".into())] });
        let share = Share::of(Class::Ethernet, &ours, &debian);
        assert_eq!((share.all, share.ours, share.with_firmware), (1, 1, 0));
    }

    #[test]
    fn only_the_generated_part_changes() {
        let page = format!("before\n{BEGIN}\nold\n{END}\nafter\n");
        let new = with_generated(&page, "new\n").expect("marks");
        assert_eq!(new, format!("before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"));
        assert_eq!(with_generated(&new, "new").expect("marks"), new);
        assert!(with_generated("no marks", "new").is_err());
    }

    #[test]
    fn the_list_of_devices_is_true() {
        let fragments = crate::kernel::all_fragments().expect("read");
        assert_eq!(untrue(&read().expect("understood"), &fragments), Vec::<String>::new());
    }

    #[test]
    fn an_untrue_list_is_noticed() {
        let list = |text: &str| toml::from_str::<Hardware>(&format!("[[device]]\nname = \"x\"\n{text}")).expect("read");
        assert_eq!(untrue(&list("options = [\"CONFIG_A\"]"), "CONFIG_A=n\n"), ["x: CONFIG_A"]);
        assert_eq!(untrue(&list("options = [\"CONFIG_A\"]\nabsent = \"no\""), "CONFIG_A=y\n"), ["x: CONFIG_A"]);
        assert_eq!(untrue(&list("options = []\nrun_by = [\"nothing\"]"), ""), ["no scenario nothing"]);
        assert!(toml::from_str::<Hardware>("[[device]]\nname = \"x\"\noptions = []\nwhy = 1\n").is_err());
    }

    #[test]
    fn the_page_is_of_this_configuration() {
        let page = project::read(PAGE).expect("there");
        let pin = crate::kernel::read_pin().expect("a pin");
        let stamp = stamp(&crate::kernel::all_fragments().expect("read"), &pin);
        assert!(
            page.contains(&stamp),
            "{PAGE} was written for another configuration; `cargo xtask kernel hardware --write`"
        );
        assert!(
            page.contains(&device_table(&read().expect("understood"))),
            "{PAGE} shows other devices than hardware.toml"
        );
    }
}
