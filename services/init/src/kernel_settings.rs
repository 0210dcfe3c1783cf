//! The kernel's settings: written once before any service runs, and looked at again while the machine runs.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

const PLACE: &str = "/proc/sys";

/// Kernel settings before any service runs. Locks that only close come last.
const SETTINGS: &[(&str, &str)] = &[
    ("kernel/kptr_restrict", "2"),
    ("kernel/dmesg_restrict", "1"),
    ("kernel/perf_event_paranoid", "3"),
    ("kernel/yama/ptrace_scope", "2"),
    ("kernel/io_uring_disabled", "2"),
    ("kernel/sysrq", "0"),
    ("kernel/oops_limit", "100"),
    ("kernel/warn_limit", "100"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("kernel/randomize_va_space", "2"),
    ("kernel/core_pattern", "|/bin/false"),
    ("net/core/bpf_jit_harden", "2"),
    ("fs/protected_symlinks", "1"),
    ("fs/protected_hardlinks", "1"),
    ("fs/protected_fifos", "2"),
    ("fs/protected_regular", "2"),
    ("fs/suid_dumpable", "0"),
    ("vm/mmap_min_addr", "65536"),
    ("vm/mmap_rnd_bits", "32"),
    ("vm/unprivileged_userfaultfd", "0"),
    ("dev/tty/ldisc_autoload", "0"),
    ("dev/tty/legacy_tiocsti", "0"),
    ("user/max_user_namespaces", "0"),
    ("net/ipv4/ip_forward", "0"),
    ("net/ipv4/tcp_syncookies", "1"),
    ("net/ipv4/tcp_rfc1337", "1"),
    ("net/ipv4/icmp_echo_ignore_broadcasts", "1"),
    ("net/ipv4/conf/all/accept_redirects", "0"),
    ("net/ipv4/conf/default/accept_redirects", "0"),
    ("net/ipv4/conf/all/secure_redirects", "0"),
    ("net/ipv4/conf/default/secure_redirects", "0"),
    ("net/ipv4/conf/all/send_redirects", "0"),
    ("net/ipv4/conf/default/send_redirects", "0"),
    ("net/ipv4/conf/all/accept_source_route", "0"),
    ("net/ipv4/conf/default/accept_source_route", "0"),
    // Off until a link has an address: an offer of one comes from a host that nothing leads to yet.
    ("net/ipv4/conf/all/rp_filter", "0"),
    ("net/ipv4/conf/default/rp_filter", "0"),
    ("net/ipv4/conf/all/log_martians", "1"),
    ("net/ipv4/conf/default/log_martians", "1"),
    ("net/ipv6/conf/all/accept_redirects", "0"),
    ("net/ipv6/conf/default/accept_redirects", "0"),
    ("net/ipv6/conf/all/accept_source_route", "0"),
    ("net/ipv6/conf/default/accept_source_route", "0"),
    ("kernel/unprivileged_bpf_disabled", "1"),
    ("kernel/kexec_load_disabled", "1"),
    ("kernel/modules_disabled", "1"),
];

/// Applies the settings; a kernel that was built without a feature has no setting for it, which is as good.
pub(crate) fn apply() -> Vec<String> {
    SETTINGS.iter().filter_map(|(name, value)| set(Path::new(PLACE), name, value).err()).collect()
}

/// Puts right every setting that is not as it was written, and tells of each.
pub(crate) fn put_right() -> Vec<String> {
    put_right_in(Path::new(PLACE))
}

fn put_right_in(place: &Path) -> Vec<String> {
    let drifted = |(name, value): &(&str, &str)| {
        let found = fs::read_to_string(place.join(name)).ok()?;
        // The kernel separates several numbers by tabs.
        let found = found.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
        (found != *value).then(|| match set(place, name, value) {
            Ok(()) => format!("kernel setting {name} was {} and is {value} again", found.escape_default()),
            Err(error) => error,
        })
    };
    SETTINGS.iter().filter_map(drifted).collect()
}

fn set(place: &Path, name: &str, value: &str) -> Result<(), String> {
    match fs::write(place.join(name), value) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(format!("kernel setting {name} could not be set to {value}: {error}"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    /// The part of the kernel's policy that is about settings; `cargo xtask kernel config` compares the rest.
    #[derive(Deserialize)]
    struct Policy {
        setting: Vec<Row>,
    }

    #[derive(Deserialize)]
    struct Row {
        name: String,
        value: String,
        exception: Option<String>,
    }

    #[test]
    fn the_settings_are_those_of_the_kernel_policy() {
        let policy: Policy = toml::from_str(include_str!("../../../kernel-config/required.toml")).expect("understood");
        let settings: BTreeMap<&str, &str> = SETTINGS.iter().copied().collect();
        assert_eq!(settings.len(), SETTINGS.len(), "no setting is written twice");
        for row in &policy.setting {
            let written = settings.get(row.name.as_str()).is_some_and(|value| *value == row.value);
            assert_eq!(written, row.exception.is_none(), "{} = {}", row.name, row.value);
        }
        for name in settings.keys() {
            assert!(policy.setting.iter().any(|row| row.name == *name), "{name} has no row in required.toml");
        }
    }

    #[test]
    fn what_drifted_is_put_right_and_told_once() {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, value) in SETTINGS {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(path, format!("{value}\n")).expect("written");
        }
        assert_eq!(put_right_in(folder.path()), Vec::<String>::new());
        fs::write(folder.path().join("kernel/sysrq"), "1\n").expect("written");
        let told = put_right_in(folder.path());
        assert_eq!(told, ["kernel setting kernel/sysrq was 1 and is 0 again"]);
        assert_eq!(put_right_in(folder.path()), Vec::<String>::new());
    }
}
