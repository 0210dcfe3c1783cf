//! How much a process could reach if it were taken over, as a number: 0 is nothing, 10 everything. In the manner of
//! `systemd-analyze security`, with our layers and our weights; `docs/services.md` has the table.

use aios_units::Unit;
use aios_units::unit::{Paths, View};

/// What the kernel says about a process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) name: String,
    pub(crate) uid: u32,
    /// Effective capabilities, one bit each.
    pub(crate) capabilities: u64,
    /// Whether its bounding set has more than it uses: by a set-user-id program it could get these.
    pub(crate) bounding: u64,
    pub(crate) no_new_privileges: bool,
    /// 2: a list of system calls.
    pub(crate) seccomp: u32,
    /// Its namespaces that are not PID 1's, such as `net`.
    pub(crate) own: Vec<String>,
    /// Its cgroup, such as `/system/network`.
    pub(crate) cgroup: String,
}

/// The namespaces that are looked at.
pub(crate) const NAMESPACES: [&str; 6] = ["mnt", "pid", "net", "ipc", "uts", "cgroup"];

const SYS_ADMIN: u32 = 21;
/// Capabilities that lead to all others: DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER, SETUID, SETGID, SETPCAP, SYS_MODULE, SYS_RAWIO,
/// SYS_PTRACE, MAC_OVERRIDE, MAC_ADMIN, BPF.
const STRONG: [u32; 12] = [1, 2, 3, 6, 7, 8, 16, 17, 19, 32, 33, 39];

/// One thing that is open, and how many hundredths of the whole it counts.
pub(crate) type Open = (u32, &'static str);

/// What is open to a process of `unit`; none: of no unit.
pub(crate) fn open(process: &Process, unit: Option<&Unit>) -> Vec<Open> {
    let mut open = Vec::new();
    let mut when = |condition: bool, weight: u32, what: &'static str| {
        if condition {
            open.push((weight, what));
        }
    };
    let has = |capability: &u32| process.capabilities >> capability & 1 == 1;
    let strong = STRONG.iter().filter(|capability| has(capability)).count() as u32;
    let all = process.capabilities.count_ones();
    let other = all - strong - u32::from(has(&SYS_ADMIN));
    when(process.uid == 0, 14, "user root");
    when(has(&SYS_ADMIN), 12, "CAP_SYS_ADMIN");
    when(strong > 0, (3 * strong).min(9), "strong capabilities");
    when(other > 0, other.min(4), "other capabilities");
    when(!process.no_new_privileges, 8, "may gain privileges");
    when(process.seccomp != 2, 14, "every system call");
    // The kernel does not tell who is under Landlock; a program whose rules were not taken does not start.
    when(unit.is_none_or(|unit| unit.sandbox.paths == Paths::Unlimited), 12, "no Landlock");
    when(unit.is_none_or(|unit| unit.sandbox.view == View::Whole), 6, "whole file tree");
    let shares = |namespace: &str| !process.own.iter().any(|own| own == namespace);
    when(shares("mnt"), 5, "mounts shared");
    when(shares("net"), 8, "network of the machine");
    when(shares("pid"), 3, "processes seen");
    when(shares("ipc"), 2, "shared memory");
    when(shares("uts"), 2, "host name");
    when(shares("cgroup"), 1, "cgroup tree");
    open
}

/// Their sum in tenths of a point.
pub(crate) fn score(open: &[Open]) -> u32 {
    open.iter().map(|(weight, _)| weight).sum()
}

/// Reads a line of the guest's script; `first` is PID 1, whose namespaces are the machine's.
pub(crate) fn parse(line: &str, first: Option<&[String; 6]>) -> Option<(Process, [String; 6])> {
    let mut process = Process::default();
    let mut namespaces: [String; 6] = Default::default();
    let (fields, name) = line.strip_prefix("process ")?.split_once(" name=")?;
    process.name = name.to_owned();
    for field in fields.split(' ') {
        let (key, value) = field.split_once('=')?;
        let hex = || u64::from_str_radix(value, 16).ok();
        match key {
            "id" => process.pid = value.parse().ok()?,
            "uid" => process.uid = value.parse().ok()?,
            "cap" => process.capabilities = hex()?,
            "bnd" => process.bounding = hex()?,
            "nnp" => process.no_new_privileges = value == "1",
            "seccomp" => process.seccomp = value.parse().ok()?,
            "group" => process.cgroup = value.to_owned(),
            _ => *namespaces.get_mut(NAMESPACES.iter().position(|known| *known == key)?)? = value.to_owned(),
        }
    }
    if let Some(first) = first {
        let own = NAMESPACES.iter().zip(&namespaces).zip(first).filter(|((_, own), first)| own != first);
        process.own = own.map(|((name, _), _)| (*name).to_owned()).collect();
    }
    Some((process, namespaces))
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: &str = "kind = \"service\"\nprogram = \"/p\"\nuser = \"u\"\nmodes = [\"live\"]\n[sandbox]\nown = [\"mount\"]\ncalls = [\"service\"]\n";

    #[test]
    fn nothing_is_zero_and_everything_is_ten() {
        let unit = Unit::parse("a", UNIT).expect("a unit");
        let closed = Process {
            uid: 101,
            no_new_privileges: true,
            seccomp: 2,
            own: NAMESPACES.map(str::to_owned).into(),
            ..Process::default()
        };
        assert_eq!(open(&closed, Some(&unit)), []);
        let everything = Process { capabilities: (1 << 41) - 1, ..Process::default() };
        assert_eq!(score(&open(&everything, None)), 100);
    }

    #[test]
    fn capabilities_count_by_what_they_lead_to() {
        let unit = Unit::parse("a", UNIT).expect("a unit");
        let with = |capabilities| {
            let own = NAMESPACES.map(str::to_owned).into();
            let process =
                Process { uid: 1, capabilities, no_new_privileges: true, seccomp: 2, own, ..Process::default() };
            score(&open(&process, Some(&unit)))
        };
        assert_eq!(with(1 << SYS_ADMIN), 12);
        assert_eq!(with(1 << 12 | 1 << 13), 2, "NET_ADMIN and NET_RAW");
        assert_eq!(with(1 << 1 | 1 << 3 | 1 << 6 | 1 << 7), 9, "no more than all of them");
    }

    #[test]
    fn a_line_of_the_script_is_a_process() {
        let first = ["mnt:[1]", "pid:[2]", "net:[3]", "ipc:[4]", "uts:[5]", "cgroup:[6]"].map(str::to_owned);
        let line = "process id=77 uid=107 cap=3400 bnd=3400 nnp=1 seccomp=2 group=/system/network mnt=mnt:[9] pid=pid:[2] \
                    net=net:[3] ipc=ipc:[8] uts=uts:[5] name=net work";
        let (process, _) = parse(line, Some(&first)).expect("a process");
        assert_eq!((process.pid, process.uid, process.capabilities, process.seccomp), (77, 107, 0x3400, 2));
        assert_eq!((process.name.as_str(), process.cgroup.as_str()), ("net work", "/system/network"));
        assert_eq!(process.own, ["mnt", "ipc", "cgroup"]);
        assert_eq!(parse("process id=x name=y", None), None);
    }
}
