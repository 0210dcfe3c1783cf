//! Whether the units of an image can start: each program ships, each user and group exists, each list of system calls is
//! there, and together they make a graph in every mode. A fault here ends the build, not a machine.

use std::collections::BTreeSet;

use aios_units::unit::Kind;
use aios_units::{Graph, Mode, Unit};

use crate::error::{Error, Result};
use crate::files_list::FilesList;
use crate::project;

/// Terminals that a machine may have; a terminal unit is started on each.
const TERMINALS: [&str; 2] = ["tty1", "ttyS0"];

/// What units may name.
struct Image {
    paths: BTreeSet<String>,
    users: BTreeSet<String>,
    lists: BTreeSet<String>,
}

/// Checks the units and agents of the tree.
pub(crate) fn check() -> Result<()> {
    let mut units = Vec::new();
    for folder in ["rootfs/units", "rootfs/agents"] {
        for file in project::list(folder)? {
            let text = project::read(&format!("{folder}/{file}"))?;
            let name = file.trim_end_matches(".toml");
            units.push(Unit::parse(name, &text).map_err(|e| Error::library(format!("{folder}/{file} is no good"), e))?);
        }
    }
    let users: toml::Table = toml::from_str(&project::read("rootfs/users.toml")?)
        .map_err(|e| Error::library("rootfs/users.toml is not understood", e))?;
    let lists = project::list("rootfs/seccomp")?;
    let image = Image {
        paths: FilesList::read("rootfs/files.toml")?.paths().map(str::to_owned).collect(),
        users: users.keys().cloned().chain(["root".to_owned()]).collect(),
        lists: lists.iter().map(|file| file.trim_end_matches(".list").to_owned()).collect(),
    };
    check_units(units, &image)
}

fn check_units(units: Vec<Unit>, image: &Image) -> Result<()> {
    for unit in &units {
        check_unit(unit, image)?;
    }
    let mut instances = Vec::new();
    for unit in units {
        match unit.kind {
            Kind::Terminal => {
                for terminal in TERMINALS {
                    let instance = unit.on_terminal(terminal);
                    instances.push(instance.map_err(|e| Error::library("a terminal unit's name is too long", e))?);
                }
            }
            _ => instances.push(unit),
        }
    }
    for mode in [Mode::Live, Mode::Install, Mode::Disk] {
        Graph::new(mode, instances.clone())
            .map_err(|e| Error::library(format!("the units do not fit together in mode {mode:?}"), e))?;
    }
    Ok(())
}

fn check_unit(unit: &Unit, image: &Image) -> Result<()> {
    let missing = |what: &str, name: &str, hint: &str| {
        Err(Error::refused(format!("unit '{}': there is no {what} '{name}'", unit.name), hint))
    };
    if !image.paths.contains(&unit.program) {
        return missing("program", &unit.program, "list it in rootfs/files.toml, or correct the unit");
    }
    for name in std::iter::once(&unit.user).chain(&unit.sandbox.groups) {
        if !image.users.contains(name) && name.parse::<u32>().is_err() {
            return missing("user", name, "add it to rootfs/users.toml, or correct the unit");
        }
    }
    for list in unit.sandbox.calls.iter().filter(|_| unit.sandbox.limits_calls()) {
        if !image.lists.contains(list) {
            return missing("list of system calls", list, "it would be rootfs/seccomp/NAME.list");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(name: &str, line: &str) -> Unit {
        let text = format!(
            "kind = \"service\"\nmodes = [\"live\"]\nprogram = \"/usr/lib/aios/a\"\nuser = \"a\"\n{line}\n[sandbox]\nown = [\"mount\"]\ncalls = [\"service\"]\n"
        );
        Unit::parse(name, &text).expect("a unit")
    }

    /// Refused, with what is wrong and where.
    fn check_refused(units: Vec<Unit>, expected: &str) {
        let image = Image {
            paths: ["/usr/lib/aios/a".to_owned()].into(),
            users: ["a".to_owned(), "root".to_owned()].into(),
            lists: ["service".to_owned()].into(),
        };
        let error = check_units(units, &image).expect_err(expected);
        let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        assert!(format!("{error} {source}").contains(expected), "{error} {source}");
    }

    #[test]
    fn the_units_of_this_tree_can_start() {
        check().expect("they can");
    }

    #[test]
    fn a_missing_program_user_group_or_list_ends_the_build() {
        check_refused(
            vec![Unit { program: "/usr/lib/aios/b".into(), ..unit("x", "") }],
            "no program '/usr/lib/aios/b'",
        );
        check_refused(vec![Unit { user: "b".into(), ..unit("x", "") }], "no user 'b'");
        let mut grouped = unit("x", "");
        grouped.sandbox.groups = vec!["c".into()];
        check_refused(vec![grouped], "no user 'c'");
        let mut listed = unit("x", "");
        listed.sandbox.calls = vec!["other".into()];
        check_refused(vec![listed], "no list of system calls 'other'");
    }

    #[test]
    fn units_that_do_not_fit_together_end_the_build() {
        check_refused(vec![unit("x", "requires = [\"y\"]"), unit("y", "after = [\"x\"]")], "wait for each other: x, y");
        check_refused(vec![unit("x", "requires = [\"y\"]")], "'x' requires 'y'");
        check_refused(vec![unit("x", "conflicts = [\"y\"]"), unit("y", "")], "conflict");
        check_refused(vec![unit("init", "socket = true")], "both claim /run/aios/init");
        let other = Unit { user: "root".into(), ..unit("y", "state = [\"/aios/z\"]") };
        check_refused(vec![unit("x", "state = [\"/aios/z\"]"), other], "both claim /aios/z");
    }
}
