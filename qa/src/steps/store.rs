//! Software from a binary cache that Debian's Nix made.

use super::{Aios, Status, text};
use crate::host::nix_cache::{GREETING, NixCache};
use crate::host::web::Web;
use crate::scenario::{Failure, Stage, ensure};

/// A path comes with its closure, verified, and its program runs confined. What the key did not sign stays out.
pub(crate) fn from_a_foreign_cache(aios: &mut Aios, stage: &Stage<'_>) -> Result<(), Failure> {
    let cache = NixCache::make(&stage.folder)?;
    let web = Web::serve(&cache.folder)?;
    let (program, url) = (&cache.program, web.url());

    let add = |key: &str| format!("store add {program} --cache {url} --key {key}");
    let refused = aios.json_of(&add(&cache.wrong_key), Status::Failed)?;
    ensure!(refused["state"]["state"] == "failed", "a wrong signature ended as {refused:#}");
    ensure!(!aios.ok("store list")?.contains(program.as_str()), "a path with a wrong signature is in the store");
    ensure!(!web.asked().iter().any(|path| path.contains("nar/")), "content was fetched before its signature was good");

    let added = aios.json(&add(&cache.key))?;
    super::actions::receipts(aios, &added)?;
    let listed = aios.ok("store list")?;
    for path in [program, &cache.greeting] {
        ensure!(listed.contains(path.as_str()), "the store lacks {path}:\n{listed}");
    }
    let info = aios.json(&format!("store info {program}"))?;
    ensure!(text(&info, "signed_by")? == "aios-test-1", "{info:#}");

    let run = format!("store run {program}/bin/busybox cat {}/share/greeting", cache.greeting);
    let view = aios.json(&run)?;
    super::actions::receipts(aios, &view)?;
    ensure!(view.to_string().contains(GREETING), "the program's output is not in its outcome: {view:#}");
    // A program of the store is as confined as any action.
    let view = aios.json_of(&format!("store run {program}/bin/busybox ls /aios/system"), Status::Failed)?;
    ensure!(view["state"]["state"] == "failed", "a program of the store sees the system's state: {view:#}");
    Ok(())
}
