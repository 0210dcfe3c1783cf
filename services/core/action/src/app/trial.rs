//! What came of trying a program before anybody approved it: its tests, and what it reached for beyond what it declared.
//!
//! The report is part of the envelope, so a person's approval is for this one.

use std::collections::{BTreeMap, BTreeSet};

use aios_ids::Digest;
use serde::{Deserialize, Serialize};

use super::manifest::{AppRight, Manifest};

/// One report keeps so many words of each area.
const EXAMPLES: usize = 6;

/// A record of what the kernel refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// `landlock` or `seccomp`; anything else says that something is missing.
    pub blocker: String,
    /// The missing rights, or the call.
    pub what: String,
    /// The path.
    pub target: String,
    /// How often.
    pub count: u64,
}

/// What a program reaches for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Area {
    /// The store.
    Store,
    /// What the kernel says of processes.
    Processes,
    /// The devices that can be opened.
    Devices,
    /// Other files.
    Files,
    /// Other machines, or other programs by sockets.
    Network,
    /// Other programs.
    Programs,
    /// Anything else of the kernel.
    Kernel,
}

impl Area {
    /// The right that opens it; there is none for the others.
    const fn right(self) -> Option<AppRight> {
        match self {
            Self::Store => Some(AppRight::Store),
            Self::Processes => Some(AppRight::Processes),
            Self::Devices => Some(AppRight::Devices),
            Self::Files | Self::Network | Self::Programs | Self::Kernel => None,
        }
    }

    /// Its word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Store => "store",
            Self::Processes => "processes",
            Self::Devices => "devices",
            Self::Files => "files",
            Self::Network => "network",
            Self::Programs => "programs",
            Self::Kernel => "kernel",
        }
    }

    /// What was reached for; nothing for a record that only says that others are missing.
    fn of(refused: &Refused) -> Option<Self> {
        match refused.blocker.as_str() {
            "landlock" => Some(match refused.what.split('.').next() {
                Some("net") => Self::Network,
                Some("scope") => Self::Programs,
                _ => Self::of_path(&refused.target),
            }),
            "seccomp" => Some(match refused.what.as_str() {
                "socket" | "socketpair" | "connect" | "bind" | "listen" | "accept" | "accept4" | "sendto"
                | "sendmsg" | "sendmmsg" | "recvfrom" | "recvmsg" | "recvmmsg" | "getsockname" | "getpeername"
                | "setsockopt" | "getsockopt" | "shutdown" => Self::Network,
                "ptrace" | "kill" | "tkill" | "tgkill" | "process_vm_readv" | "process_vm_writev" | "pidfd_open"
                | "pidfd_getfd" | "pidfd_send_signal" => Self::Programs,
                _ => Self::Kernel,
            }),
            _ => None,
        }
    }

    fn of_path(path: &str) -> Self {
        let below =
            |folder: &str| path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if below("/nix") {
            Self::Store
        } else if below("/proc") {
            Self::Processes
        } else if below("/dev") {
            Self::Devices
        } else {
            Self::Files
        }
    }
}

/// What came of the trial of a program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    /// The manifest that was tried.
    pub manifest: Digest,
    /// The program that was tried.
    pub program: Digest,
    /// How many bytes it has.
    pub size: u64,
    /// Each test, in the manifest's order.
    pub tests: Vec<Tested>,
    /// What was declared.
    pub declared: BTreeSet<AppRight>,
    /// What was reached for, declared or not.
    pub reached: BTreeMap<Area, Reached>,
    /// Whether that is all of it.
    pub witnessed: Witnessed,
}

/// What came of one test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tested {
    /// As the manifest says.
    Passed,
    /// Otherwise; how.
    Failed(String),
}

/// What a program reached for in one area.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reached {
    /// How often.
    pub count: u64,
    /// Some calls or paths.
    pub examples: BTreeSet<String>,
}

/// Whether every refusal was written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Witnessed {
    /// Yes, as far as anybody knows.
    All,
    /// There were more than are written down one by one, or some were lost.
    NotAll,
}

impl Trial {
    /// The report on the program of `manifest`, from what its tests did and what the kernel refused it meanwhile.
    pub fn of(
        manifest: &Manifest,
        size: u64,
        tests: Vec<Tested>,
        refused: &[Refused],
        mut witnessed: Witnessed,
    ) -> Self {
        let mut reached = BTreeMap::<Area, Reached>::new();
        for refusal in refused {
            let Some(area) = Area::of(refusal) else {
                witnessed = Witnessed::NotAll;
                continue;
            };
            let of_area = reached.entry(area).or_default();
            of_area.count += refusal.count;
            if of_area.examples.len() < EXAMPLES {
                let what = if refusal.target.is_empty() { &refusal.what } else { &refusal.target };
                of_area.examples.insert(what.chars().take(80).flat_map(char::escape_default).collect());
            }
        }
        Self {
            manifest: manifest.digest(),
            program: manifest.program.sha256,
            size,
            tests,
            declared: manifest.rights.clone(),
            reached,
            witnessed,
        }
    }

    /// What was reached for and not declared.
    pub fn undeclared(&self) -> impl Iterator<Item = (Area, &Reached)> {
        let declared = |area: Area| area.right().is_some_and(|right| self.declared.contains(&right));
        self.reached.iter().map(|(area, reached)| (*area, reached)).filter(move |(area, _)| !declared(*area))
    }

    /// The same for the person who decides, the worst first.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (area, reached) in self.undeclared() {
            let examples: Vec<_> = reached.examples.iter().map(String::as_str).collect();
            lines.push(format!(
                "NOT DECLARED: it reached for {}, {} times: {}",
                area.word(),
                reached.count,
                examples.join(", ")
            ));
        }
        if self.witnessed == Witnessed::NotAll {
            lines.push("NOT ALL SEEN: it was refused more than could be written down one by one".into());
        }
        for (number, test) in self.tests.iter().enumerate() {
            if let Tested::Failed(why) = test {
                lines.push(format!("TEST {} FAILED: {why}", number + 1));
            }
        }
        let passed = self.tests.iter().filter(|test| **test == Tested::Passed).count();
        lines.push(format!("{passed} of {} tests passed in quarantine", self.tests.len()));
        let words = |rights: Vec<&str>| if rights.is_empty() { "nothing".to_owned() } else { rights.join(", ") };
        lines.push(format!("declared rights: {}", words(self.declared.iter().map(|right| right.word()).collect())));
        lines.push(format!("observed: {}", words(self.reached.keys().map(|area| area.word()).collect())));
        lines.push(format!("the program has {} bytes and the digest {}", self.size, self.program));
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::manifest::tests::written;

    fn refused(blocker: &str, what: &str, target: &str) -> Refused {
        Refused { blocker: blocker.into(), what: what.into(), target: target.into(), count: 2 }
    }

    fn trial(refused: &[Refused]) -> Trial {
        let mut value = written();
        value["tier"] = "T1".into();
        value["rights"] = serde_json::json!(["processes"]);
        let manifest = Manifest::parse(&value.to_string()).expect("right");
        Trial::of(&manifest, 7, vec![Tested::Passed], refused, Witnessed::All)
    }

    #[test]
    fn what_is_refused_is_told_by_what_it_was_about() {
        for (blocker, what, target, area) in [
            ("landlock", "fs.read_file", "/nix/store/x", Some(Area::Store)),
            ("landlock", "fs.read_file", "/proc/1/stat", Some(Area::Processes)),
            ("landlock", "fs.read_dir", "/dev", Some(Area::Devices)),
            ("landlock", "fs.read_dir", "/device", Some(Area::Files)),
            ("landlock", "fs.read_dir", "/", Some(Area::Files)),
            ("landlock", "net.connect_tcp", "", Some(Area::Network)),
            ("landlock", "scope.signal", "", Some(Area::Programs)),
            ("seccomp", "socket", "", Some(Area::Network)),
            ("seccomp", "ptrace", "", Some(Area::Programs)),
            ("seccomp", "mount", "", Some(Area::Kernel)),
            ("audit", "by-kernel", "", None),
        ] {
            assert_eq!(Area::of(&refused(blocker, what, target)), area, "{blocker} {what} {target}");
        }
    }

    #[test]
    fn a_lie_stands_first_and_what_was_declared_is_none() {
        let honest = trial(&[refused("landlock", "fs.read_file", "/proc/self/status")]);
        assert_eq!(honest.undeclared().count(), 0);
        assert_eq!(honest.lines()[0], "1 of 1 tests passed in quarantine");
        let lying =
            trial(&[refused("landlock", "fs.read_file", "/proc/self/status"), refused("seccomp", "socket", "")]);
        assert_eq!(lying.undeclared().map(|(area, _)| area).collect::<Vec<_>>(), [Area::Network]);
        assert_eq!(lying.lines()[0], "NOT DECLARED: it reached for network, 2 times: socket");
        assert!(lying.lines().contains(&"declared rights: processes".to_owned()));
    }

    #[test]
    fn what_was_lost_is_told() {
        let lost = trial(&[refused("audit", "by-socket", "")]);
        assert_eq!((lost.witnessed, lost.undeclared().count()), (Witnessed::NotAll, 0));
        assert!(lost.lines()[0].starts_with("NOT ALL SEEN"));
        assert_eq!(trial(&[]).witnessed, Witnessed::All);
    }
}
