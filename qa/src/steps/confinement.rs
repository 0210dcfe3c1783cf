//! How every process of the running image is confined, by the kernel's word, and what a program gets away with that runs
//! in the profile of each unit.

mod calls;
mod exposure;

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use aios_units::Unit;
use aios_units::unit::{Kind, Network, Own, Paths, Start};
use aios_wire::probe::{LAST_LINE, ProbeReport};

pub(crate) use self::calls::none_is_unused;
use self::exposure::{Process, open, parse, score};
use super::actions::LEAST_TRIES;
use super::{Aios, list, text};
use crate::Context;
use crate::host::probe_image::Added;
use crate::scenario::{Failure, Stage, ensure};

/// What a unit may score, in tenths.
const AIM: u32 = 20;

/// Units whose task is what the others are kept from, each with the reason. A unit here that is no worse than the aim any
/// more fails the scenario.
const EXPOSED: [(&str, &str); 1] = [("launcher", "it mounts, makes namespaces and gives rights away")];

/// How long the guest's own units take under translation.
const GUEST: Duration = Duration::from_secs(240);

/// What PID 1 gives every program to read.
const SHARED: &str = "/usr/share/aios";

/// A unit of the image with the file it was read from.
pub(crate) struct Shipped {
    unit: Unit,
    text: String,
}

/// Every unit and agent that ships, by name.
pub(crate) fn shipped(context: &Context) -> Result<Vec<Shipped>, Failure> {
    let mut shipped = Vec::new();
    for folder in ["rootfs/units", "rootfs/agents"] {
        let folder = context.source(folder);
        for entry in fs::read_dir(&folder).map_err(Failure::file("list", &folder))? {
            let path = entry.map_err(Failure::file("list", &folder))?.path();
            let text = fs::read_to_string(&path).map_err(Failure::file("read", &path))?;
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let unit = Unit::parse(&name, &text).map_err(|error| Failure::broken(format!("unit {name}: {error}")))?;
            shipped.push(Shipped { unit, text });
        }
    }
    shipped.sort_by(|a, b| a.unit.name.cmp(&b.unit.name));
    Ok(shipped)
}

/// What the image gets: the script that looks at processes, and for each unit one that tries to get out of its profile.
pub(crate) fn added(context: &Context, shipped: &[Shipped]) -> Result<Vec<Added>, Failure> {
    let read = |name: &str| {
        let path = context.source(format!("qa/guest-probe/{name}"));
        fs::read_to_string(&path).map_err(Failure::file("read", &path))
    };
    let mut added =
        vec![Added::script("processes.sh", &read("processes.sh")?), Added::unit("processes", read("processes.toml")?)];
    for (number, shipped) in shipped.iter().enumerate().filter(|(_, shipped)| is_tried(&shipped.unit)) {
        let content = shipped.with_the_probe().map_err(|error| Failure::broken(format!("no unit: {error}")))?;
        added.push(Added::unit(&try_name(number), content));
    }
    Ok(added)
}

/// The unit that tries the profile of the unit with this number; unit names are short.
fn try_name(number: usize) -> String {
    format!("try-{number}")
}

/// A unit whose file lifts the list of calls or Landlock says so, and its score does: nothing is learnt by trying.
fn is_tried(unit: &Unit) -> bool {
    unit.sandbox.limits_calls() && unit.sandbox.paths == Paths::Enforced
}

impl Shipped {
    /// The unit's file with another program: user, profile and resources stay. Its folders are its own alone, so that the
    /// other program has them as folders that it may write.
    fn with_the_probe(&self) -> Result<String, toml::de::Error> {
        let mut file: toml::Table = toml::from_str(&self.text)?;
        const KEPT: [&str; 3] = ["user", "sandbox", "resources"];
        file.retain(|key, _| KEPT.contains(&key));
        let opened = self.opened().into_iter().map(toml::Value::from).collect::<Vec<_>>();
        for (key, value) in [
            ("kind", "oneshot".into()),
            ("program", "/usr/lib/aios/aios-probe".into()),
            ("args", toml::Value::from(opened)),
            ("modes", vec!["live"].into()),
            ("after", vec!["logbook", "processes"].into()),
            ("start-timeout-s", 120.into()),
        ] {
            file.insert(key.into(), value);
        }
        let folders = self.unit.state.iter().chain(&self.unit.published).cloned().map(toml::Value::from);
        if let Some(sandbox) = file.get_mut("sandbox").and_then(toml::Value::as_table_mut) {
            let write = sandbox.entry("write").or_insert_with(|| toml::Value::Array(Vec::new()));
            write.as_array_mut().into_iter().for_each(|write| write.extend(folders.clone()));
        }
        Ok(file.to_string())
    }

    /// The paths that its profile opens on purpose.
    fn opened(&self) -> BTreeSet<String> {
        let profile = &self.unit.sandbox;
        let lists =
            [&profile.read, &profile.write, &profile.execute, &profile.connect, &self.unit.state, &self.unit.published];
        // Of its own processes only.
        let processes = profile.own.contains(&Own::Pid).then(|| "/proc".to_owned());
        lists.into_iter().flatten().cloned().chain([SHARED.to_owned()]).chain(processes).collect()
    }

    /// What its profile permits besides.
    fn permitted(&self) -> BTreeSet<&'static str> {
        let profile = &self.unit.sandbox;
        // C libraries start threads by it; without capabilities none of its flags makes a namespace.
        let mut permitted = BTreeSet::from(["clone3"]);
        if profile.network == Network::Host {
            permitted.extend(["udp_send", "tcp_connect", "tcp_listen"]);
        }
        if profile.capabilities.iter().any(|capability| capability == "CAP_NET_RAW") {
            permitted.insert("raw_socket");
        }
        if profile.calls.iter().any(|list| list == "network") {
            // ARP is how it finds out whether an address is free.
            permitted.extend(["netlink_socket", "packet_socket"]);
        }
        permitted
    }
}

/// Every process as the kernel describes it, with its score; the table is printed and kept.
pub(crate) fn report(aios: &mut Aios, stage: &Stage<'_>, shipped: &[Shipped]) -> Result<(), Failure> {
    let lines = said(aios, "processes", |line| line == "all processes")?;
    let first = lines.iter().find_map(|line| parse(line, None).filter(|(process, _)| process.pid == 1));
    let (_, machine) = first.ok_or_else(|| Failure::broken(format!("PID 1 is not among the processes: {lines:?}")))?;
    let processes: Vec<Process> =
        lines.iter().filter_map(|line| parse(line, Some(&machine))).map(|(process, _)| process).collect();
    let mut table = format!(
        "{:15} {:>5} {:>6} {:>16} {:8} {:8} {:28} {:>5}  open\n",
        "process", "pid", "uid", "capabilities", "seccomp", "landlock", "namespaces of its own", "score"
    );
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    for process in &processes {
        let unit = shipped.iter().map(|shipped| &shipped.unit).find(|unit| is_of(process, unit));
        let open = open(process, unit);
        let points = score(&open);
        let landlock = match unit {
            Some(unit) if unit.sandbox.paths == Paths::Enforced => "yes",
            _ => "no",
        };
        let whats: Vec<_> = open.iter().map(|(_, what)| *what).collect();
        table.push_str(&format!(
            "{:15} {:>5} {:>6} {:>16x} {:8} {landlock:8} {:28} {:>3}.{}  {}\n",
            process.name,
            process.pid,
            process.uid,
            process.capabilities,
            if process.seccomp == 2 { "list" } else { "none" },
            process.own.join(","),
            points / 10,
            points % 10,
            whats.join(", ")
        ));
        let Some(unit) = unit else {
            // What runs as an action is the business of another scenario.
            let known = process.cgroup == "/system/processes" || process.cgroup.starts_with("/actions/");
            if process.pid != 1 && !known {
                wrong.push(format!("{} ({}) is of no unit", process.name, process.cgroup));
            }
            continue;
        };
        seen.insert(unit.name.to_string());
        wrong.extend(broken_layers(process, unit));
        let exposed = EXPOSED.iter().any(|(name, _)| unit.name.as_str() == *name);
        if (points > AIM) != exposed {
            wrong.push(format!("{} scores {}.{}", process.name, points / 10, points % 10));
        }
    }
    println!("{table}");
    let file = stage.folder.join("confinement.txt");
    fs::write(&file, &table).map_err(Failure::file("write", &file))?;
    for shipped in shipped.iter().filter(|shipped| is_always_there(&shipped.unit)) {
        let name = shipped.unit.name.to_string();
        if !seen.contains(&name) {
            wrong.push(format!("{name} has no process"));
        }
    }
    ensure!(wrong.is_empty(), "not confined as promised: {}", wrong.join("; "));
    Ok(())
}

/// What only its callers start has no process when nobody calls.
fn is_always_there(unit: &Unit) -> bool {
    unit.kind == Kind::Service && unit.modes.contains(&aios_units::Mode::Live) && unit.start != Start::OnCall
}

/// A terminal's units have the terminal's name behind theirs; a session is named after its operator.
fn is_of(process: &Process, unit: &Unit) -> bool {
    let name = unit.name.as_str();
    match (unit.kind, &unit.session) {
        (Kind::Terminal, Some(_)) => process.cgroup.starts_with("/operators/"),
        (Kind::Terminal, None) => process.cgroup.strip_prefix("/system/").is_some_and(|rest| rest.starts_with(name)),
        (Kind::Agent, _) => process.cgroup == format!("/agents/{name}"),
        _ => process.cgroup == format!("/system/{name}"),
    }
}

/// Layers that the unit's file asks for and the kernel does not show.
fn broken_layers(process: &Process, unit: &Unit) -> Vec<String> {
    let mut broken = Vec::new();
    let mut unless = |holds: bool, what: &str| {
        if !holds {
            broken.push(format!("{}: {what}", process.name));
        }
    };
    let listed = unit.sandbox.capabilities.len() as u32;
    unless(process.capabilities.count_ones() == listed, "has other capabilities than its unit lists");
    unless(process.bounding & !process.capabilities == 0, "could get capabilities back");
    unless(process.no_new_privileges, "may gain privileges");
    unless(process.seccomp == 2 || !unit.sandbox.limits_calls(), "has no list of calls");
    unless(process.own.contains(&"net".to_owned()) == (unit.sandbox.network == Network::None), "is in another network");
    broken
}

/// The battery in each profile: everything fails that the profile does not permit.
pub(crate) fn nothing_escapes(aios: &mut Aios, shipped: &[Shipped]) -> Result<(), Failure> {
    let mut wrong = Vec::new();
    for (number, shipped) in shipped.iter().enumerate().filter(|(_, shipped)| is_tried(&shipped.unit)) {
        let name = &shipped.unit.name;
        let lines = said(aios, &try_name(number), |line| line == LAST_LINE)?.join("\n");
        let ProbeReport { attempts } = ProbeReport::parse(lines.as_bytes())
            .map_err(|error| Failure::broken(format!("the battery in the profile of {name} says {lines}: {error}")))?;
        let escaped = attempts.iter().filter(|attempt| !attempt.contained);
        let mut done: BTreeSet<_> = escaped.map(|attempt| format!("{} ({})", attempt.name, attempt.result)).collect();
        let permitted = shipped.permitted();
        done.retain(|name| !permitted.iter().any(|known| name.split(' ').next() == Some(known)));
        println!("  {name}: {} tries, {} get through: {}", attempts.len(), done.len(), join(&done));
        if attempts.len() < LEAST_TRIES || !done.is_empty() {
            wrong.push(format!("{name}: {}", join(&done)));
        }
    }
    ensure!(wrong.is_empty(), "profiles let through what they should not: {}", wrong.join("; "));
    Ok(())
}

fn join(names: &BTreeSet<String>) -> String {
    names.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// What a unit has said, once `last` is among it.
fn said(aios: &mut Aios, unit: &str, last: impl Fn(&str) -> bool) -> Result<Vec<String>, Failure> {
    let kept =
        aios.until(&format!("service logs {unit} -n 500"), &format!("the last word of {unit}"), GUEST, |kept| {
            list(kept).is_ok_and(|kept| kept.iter().any(|line| line["text"].as_str().is_some_and(&last)))
        })?;
    list(&kept)?.iter().map(|line| text(line, "text").map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_try_keeps_the_profile_and_nothing_that_makes_it_a_service() {
        let text = include_str!("../../../rootfs/units/evidence-log.toml");
        let shipped = Shipped { unit: Unit::parse("evidence-log", text).expect("a unit"), text: text.into() };
        let tried = Unit::parse("try-1", &shipped.with_the_probe().expect("a file")).expect("a unit");
        assert_eq!((&tried.sandbox.calls, &tried.user), (&shipped.unit.sandbox.calls, &shipped.unit.user));
        assert_eq!((&tried.sandbox.write, tried.state.len()), (&shipped.unit.state, 0));
        assert_eq!((tried.kind, tried.socket, tried.audit, tried.critical), (Kind::Oneshot, false, false, false));
        assert!(tried.args.contains(&"/run/aios".to_owned()) && tried.args.contains(&SHARED.to_owned()));
    }

    #[test]
    fn a_process_is_of_the_unit_that_its_cgroup_names() {
        let session = Unit::parse("session", include_str!("../../../rootfs/units/session.toml")).expect("a unit");
        let network = Unit::parse("network", include_str!("../../../rootfs/units/network.toml")).expect("a unit");
        let process = |cgroup: &str| Process { cgroup: cgroup.into(), ..Process::default() };
        assert!(is_of(&process("/operators/live-ttyS0"), &session));
        assert!(is_of(&process("/system/network"), &network) && !is_of(&process("/system/networks"), &network));
    }
}
