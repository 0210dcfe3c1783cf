//! Another release in the other slot.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use super::{Aios, Status, policy, text};
use crate::host::disk::Disk;
use crate::host::web::Web;
use crate::scenario::{Failure, Stage, ensure};
use crate::vm::BOOT;
use crate::{Payload, ReleaseOrder};

/// Reading, writing, reading back through verity, under translation.
const APPLY: Duration = Duration::from_secs(900);

/// Three starts of a release that panics, each with its waiting time, and one of the release before it.
const THREE_FAILURES: Duration = Duration::from_secs(900);

/// How the version of a release is followed by the next one's.
pub(crate) const GOOD: &str = "0.1.1";
const BAD: &str = "0.1.2";

/// A newer release is written to the other slot, started once, and marked good.
pub(crate) fn to_a_good_release(aios: &mut Aios, stage: &Stage<'_>) -> Result<(), Failure> {
    let before = running(aios)?;
    apply(aios, stage, GOOD, Payload::Works)?;
    ensure!(running(aios)? == before, "the running system changed before a restart");
    restart(aios, BOOT)?;
    let (version, slot) = running(aios)?;
    ensure!(version == GOOD, "after the update {version} runs");
    ensure!(slot != before.1, "the new release runs in the same slot {slot}");
    aios.until("service show updater", "the release to be marked good", BOOT, |updater| {
        updater["note"].as_str().is_some_and(|note| note.contains("marked good"))
    })?;
    Ok(())
}

/// A newer release that cannot start is tried, given up by itself, and the one before runs again.
pub(crate) fn back_from_a_bad_release(aios: &mut Aios, stage: &Stage<'_>) -> Result<(), Failure> {
    let before = running(aios)?;
    apply(aios, stage, BAD, Payload::PanicsAtBoot)?;
    restart(aios, THREE_FAILURES)?;
    ensure!(running(aios)? == before, "after a release that panics {:?} runs instead of {before:?}", running(aios)?);
    Ok(())
}

/// What the ESP says once the machine is off: the good release has no counter left, the bad one no tries.
pub(crate) fn on_the_disk(disk: &Disk) -> Result<(), Failure> {
    let files = disk.esp()?.files()?;
    let named = |prefix: &str| files.iter().find(|path| path.starts_with(&format!("EFI/Linux/{prefix}")));
    ensure!(named(&format!("aios_{GOOD}.efi")).is_some(), "the good release is not marked good: {files:?}");
    let bad = named(&format!("aios_{BAD}"));
    ensure!(bad.is_none_or(|path| path.contains("+0")), "the bad release may be tried again: {files:?}");
    Ok(())
}

fn apply(aios: &mut Aios, stage: &Stage<'_>, version: &str, payload: Payload) -> Result<(), Failure> {
    let out: PathBuf = stage.folder.join(format!("release-{version}"));
    fs::create_dir_all(&out).map_err(Failure::file("make", &out))?;
    let order = ReleaseOrder { version: version.into(), out: out.clone(), payload };
    (stage.context.make_release)(&order).map_err(Failure::Broken)?;
    let web = Web::serve(&out)?;
    aios.ends("update check", Status::Failed)?;
    aios.ok(&format!("settings set update.source {}", web.url()))?;
    let offer = aios.json("update check")?;
    ensure!(
        offer["offer"]["version"] == version && offer["offer"]["refused"].is_null(),
        "the offer of {version} is shown as {offer:#}"
    );
    let (action, approval) = policy::waiting(aios, "update apply")?;
    aios.ok("settings set update.source ''")?;
    aios.approve(&approval)?;
    let watched = aios.machine.console.run(&format!("--json action watch {action}"), APPLY)?;
    let view = super::first_json(&watched.text).unwrap_or_default();
    ensure!(view["state"]["state"] == "succeeded", "the update ended as:\n{}", watched.text);
    Ok(())
}

fn restart(aios: &mut Aios, limit: Duration) -> Result<(), Failure> {
    aios.machine.console.prompt(BOOT)?;
    aios.machine.console.type_line("reboot")?;
    aios.enter_again(limit)
}

fn running(aios: &mut Aios) -> Result<(String, String), Failure> {
    let status = aios.json("update status")?;
    Ok((text(&status, "running")?.to_owned(), text(&status, "slot")?.to_owned()))
}
