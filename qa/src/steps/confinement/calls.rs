//! No list of system calls names one that no program under it can make: such an entry protects nobody and opens something.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use aios_linux::calls::{listed, name_of};

use super::Shipped;
use crate::Context;
use crate::host::made_calls::{NoProgram, made_by};
use crate::scenario::{Failure, ensure};

/// Made for a program and not by it, when it is started or goes on after a signal.
const MADE_FOR_IT: [&str; 4] = ["execve", "write", "exit_group", "restart_syscall"];

/// Two forms of one call; which of them a library uses changes with its version.
const OTHER_FORMS: [&str; 14] = [
    "fchmodat",
    "fchmodat2",
    "fchown",
    "fchownat",
    "fstatfs",
    "link",
    "linkat",
    "mkdirat",
    "readlinkat",
    "renameat",
    "renameat2",
    "symlinkat",
    "truncate",
    "unlinkat",
];

/// What else is listed without being made, with the reason.
const KEPT: [(&str, &str); 1] = [("utimensat", "the standard library's way to set a file's time")];

/// A program that a session starts.
const OF_SESSIONS: &str = "aios";

/// Looks into the programs of all units.
pub(crate) fn none_is_unused(context: &Context, shipped: &[Shipped]) -> Result<(), Failure> {
    let mut made: BTreeMap<&str, BTreeSet<u32>> = BTreeMap::new();
    for unit in shipped.iter().map(|shipped| &shipped.unit).filter(|unit| unit.sandbox.limits_calls()) {
        let own = Path::new(&unit.program).file_name().unwrap_or_default().to_string_lossy().into_owned();
        let started = (!unit.sandbox.execute.is_empty()).then(|| OF_SESSIONS.to_owned());
        for program in [own].into_iter().chain(started) {
            let path = context.program(&program);
            let bytes = fs::read(&path).map_err(Failure::file("read", &path))?;
            let calls =
                made_by(&bytes).map_err(|NoProgram| Failure::broken(format!("{} is no program", path.display())))?;
            ensure!(calls.len() > 40, "only {} calls were found in {}", calls.len(), path.display());
            for list in &unit.sandbox.calls {
                made.entry(list).or_default().extend(&calls);
            }
        }
    }
    let mut wrong = Vec::new();
    // What programs of the store make is not known; theirs is a list of its own.
    for (list, made) in made.iter().filter(|(list, _)| **list != "action") {
        let path = context.source(format!("rootfs/seccomp/{list}.list"));
        let text = fs::read_to_string(&path).map_err(Failure::file("read", &path))?;
        let entries = listed(&text).map_err(|error| Failure::broken(format!("{}: {error}", path.display())))?;
        let unused: Vec<_> = unused(&entries, made).collect();
        println!(
            "  {list}.list: {} calls, {} can be made by nobody: {}",
            entries.len(),
            unused.len(),
            unused.join(", ")
        );
        wrong.extend(unused.into_iter().map(|name| format!("{name} in {list}.list")));
    }
    ensure!(wrong.is_empty(), "no program under the list can make {}: take the entries out", wrong.join(", "));
    Ok(())
}

fn unused<'a>(entries: &'a [u32], made: &'a BTreeSet<u32>) -> impl Iterator<Item = &'static str> + 'a {
    let names = entries.iter().filter(|number| !made.contains(number)).filter_map(|number| name_of((*number).into()));
    names.filter(|name| {
        let kept = KEPT.iter().any(|(kept, _)| kept == name);
        !kept && !MADE_FOR_IT.contains(name) && !OTHER_FORMS.contains(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_makes_is_unused_unless_it_is_another_form() {
        // read, signalfd, unlinkat, restart_syscall.
        let entries = [0, 282, 263, 219];
        assert_eq!(unused(&entries, &BTreeSet::from([0])).collect::<Vec<_>>(), ["signalfd"]);
    }
}
