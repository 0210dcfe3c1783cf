//! Programs that hang, spin, flood, fill and multiply as actions: each is ended by the budget that it used up, which the
//! action says, and nothing is left of any.

use std::time::Duration;

use serde_json::Value;

use super::{Aios, Status, list, text};
use crate::Context;
use crate::host::nix_cache::NixCache;
use crate::host::probe_image::Added;
use crate::host::web::Web;
use crate::scenario::{Failure, Stage, ensure};

/// How long the guest's own unit takes for its next line, under translation.
const HELD: Duration = Duration::from_secs(120);

/// How long one action takes at most, under translation.
const ACTION: Duration = Duration::from_secs(180);

/// What the image gets: a unit that says again and again what the launcher and the runtime hold.
pub(crate) fn added(context: &Context) -> Result<Vec<Added>, Failure> {
    let read = |name: &str| {
        let path = context.source(format!("qa/guest-probe/{name}"));
        std::fs::read_to_string(&path).map_err(Failure::file("read", &path))
    };
    Ok(vec![Added::script("held.sh", &read("held.sh")?), Added::unit("held", read("held.toml")?)])
}

/// A program of the store that can do everything wrong: busybox.
pub(crate) fn program(aios: &mut Aios, stage: &Stage<'_>) -> Result<String, Failure> {
    let cache = NixCache::make(&stage.folder)?;
    let web = Web::serve(&cache.folder)?;
    aios.json(&format!("store add {} --cache {} --key {}", cache.program, web.url(), cache.key))?;
    Ok(format!("{}/bin/busybox", cache.program))
}

/// Every budget, by a program that wants more than it.
pub(crate) fn each_ends_its_program(aios: &mut Aios, program: &str) -> Result<(), Failure> {
    for (words, at_most, ending) in [
        ("sleep 500", "time_ms=3000", "its time was over"),
        ("md5sum /dev/zero", "cpu_ms=1500", "it used up its processor time"),
        ("yes", "output=65536", "it printed more than its limit"),
        // The kernel gives it an error, and it ends by itself.
        ("dd if=/dev/zero of=/tmp/file bs=65536 count=64", "written=1048576", "exited with status 1"),
        ("tail /dev/zero", "memory=16777216", "it wanted more memory than its limit"),
    ] {
        let line = format!("action submit task.run program={program} args='{words}' --at-most {at_most}");
        let view = aios.json_of(&line, Status::Failed)?;
        ensure!(why(&view)?.contains(ending), "'{words}' with {at_most} ended as {view:#}");
        let id = text(&view, "id")?.to_owned();
        let results = aios.json(&format!("evidence query --kind result --action {id}"))?;
        ensure!(results.to_string().contains(ending), "the record of {id} does not say which budget: {results:#}");
    }
    Ok(())
}

/// A deadline that is over before the program could begin: nothing is run.
pub(crate) fn a_deadline_comes_first(aios: &mut Aios, program: &str) -> Result<(), Failure> {
    let line = format!("action submit task.run program={program} args=true --at-most deadline_ms=1");
    let view = aios.json_of(&line, Status::Failed)?;
    ensure!(why(&view)?.contains("its deadline of 1 ms was over"), "it ended as {view:#}");
    let id = text(&view, "id")?.to_owned();
    let started = aios.json(&format!("evidence query --kind started --action {id}"))?;
    ensure!(list(&started)?.is_empty(), "something was started: {started:#}");
    Ok(())
}

/// One that makes processes as long as it can, and one that leaves some behind.
pub(crate) fn a_crowd_ends_with_its_action(aios: &mut Aios, program: &str) -> Result<(), Failure> {
    aios.json_of(&format!("store run {program} sh -c 'while :; do (while :; do :; done) & done'"), Status::Failed)?;
    aios.json(&format!("store run {program} sh -c '(while :; do :; done) & exit 0'"))?;
    Ok(())
}

/// Many actions in both tiers; what the launcher and the runtime hold afterwards is what they held before.
pub(crate) fn many_leave_nothing(aios: &mut Aios, program: &str, many: usize) -> Result<(), Failure> {
    // The first of each kind may open what stays open.
    for number in 0..4 {
        one_of_each(aios, program, number)?;
    }
    let before = held(aios)?;
    for number in 0..many / 2 {
        one_of_each(aios, program, number)?;
    }
    let after = held(aios)?;
    println!("  {many} actions: before {before:?}, after {after:?}");
    ensure!(before.cgroups == 0 && after.cgroups == 0, "cgroups are left: {after:?}");
    ensure!(
        (before.launcher, before.runtime, before.mounts) == (after.launcher, after.runtime, after.mounts),
        "before {before:?}, after {after:?}"
    );
    Ok(())
}

fn one_of_each(aios: &mut Aios, program: &str, number: usize) -> Result<(), Failure> {
    for line in
        [format!("store run {program} true"), format!("action submit file.write path=many.txt content={number}")]
    {
        let mut output = aios.machine.console.run(&line, ACTION)?;
        // A fast machine comes to the end of what a person may use up in an hour, which comes back by the minute.
        while output.text.contains("has used up its") {
            std::thread::sleep(Duration::from_secs(60));
            output = aios.machine.console.run(&line, ACTION)?;
        }
        ensure!(output.status == 0, "'{line}' ended with status {}:\n{}", output.status, output.text);
    }
    Ok(())
}

/// What is held: cgroups of actions, descriptors of both services, the launcher's mounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) cgroups: u64,
    pub(crate) launcher: u64,
    pub(crate) runtime: u64,
    pub(crate) mounts: u64,
    /// Of the runtime, in KiB.
    pub(crate) memory: u64,
}

/// What the guest's unit says in its second line from now on: the first may have begun before.
pub(crate) fn held(aios: &mut Aios) -> Result<Held, Failure> {
    let number = |line: &str| field(line, "number");
    let newest = |aios: &mut Aios| {
        let said = aios.json("service logs held -n 1")?;
        let line = list(&said)?.last().map(|line| text(line, "text").map(str::to_owned));
        line.unwrap_or_else(|| Ok(String::new()))
    };
    let first = number(&newest(aios)?).unwrap_or(0);
    let begin = std::time::Instant::now();
    loop {
        let line = newest(aios)?;
        if number(&line).is_some_and(|number| number >= first + 2) {
            let get = |name| field(&line, name).ok_or_else(|| Failure::broken(format!("no {name} in '{line}'")));
            return Ok(Held {
                cgroups: get("cgroups")?,
                launcher: get("launcher")?,
                runtime: get("runtime")?,
                mounts: get("mounts")?,
                memory: get("memory")?,
            });
        }
        ensure!(begin.elapsed() < HELD, "the guest's unit says no more than '{line}'");
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// The number in `held number=7 cgroups=0 …`.
fn field(line: &str, name: &str) -> Option<u64> {
    let words = line.strip_prefix("held ")?.split(' ');
    words.filter_map(|word| word.split_once('=')).find(|(key, _)| *key == name)?.1.parse().ok()
}

fn why(view: &Value) -> Result<&str, Failure> {
    text(&view["state"], "text")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_script_is_read() {
        let line = "held number=7 cgroups=0 launcher=11 runtime=24 mounts=31 memory=14200";
        assert_eq!((field(line, "number"), field(line, "memory")), (Some(7), Some(14200)));
        assert_eq!((field(line, "none"), field("other number=7", "number")), (None, None));
    }
}
