//! Leaving every file system as it should be found: unmounted, or at least read-only.

use std::fs;
use std::time::Duration;

use rustix::mount::{MountFlags, UnmountFlags, mount_remount, unmount};

/// What the kernel shows of itself, and the root, which is read-only and goes with the machine.
const STAYING: [&str; 5] = ["/", "/proc", "/sys", "/dev", "/run"];
/// File systems whose last write has to reach a device.
const ON_DEVICES: [&str; 2] = ["ext4", "vfat"];
/// What is busy may be let go in a moment by a process that is dying.
const ROUNDS: usize = 5;
const PAUSE: Duration = Duration::from_millis(100);

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mounted {
    at: String,
    kind: String,
}

/// Unmounts everything, last first. Says what could not be, and what was done instead.
pub(crate) fn unmount_all() -> Vec<String> {
    for round in 0..ROUNDS {
        let mut left = leaving(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default());
        left.retain(|mounted| unmount(mounted.at.as_str(), UnmountFlags::empty()).is_err());
        if left.is_empty() {
            return Vec::new();
        }
        if round + 1 < ROUNDS {
            std::thread::sleep(PAUSE);
        }
    }
    let left = leaving(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default());
    let on_devices = left.into_iter().filter(|mounted| ON_DEVICES.contains(&mounted.kind.as_str()));
    on_devices.map(|mounted| freeze(&mounted.at)).collect()
}

fn freeze(at: &str) -> String {
    match mount_remount(at, MountFlags::RDONLY, c"") {
        Ok(()) => format!("{at} is busy and was made read-only"),
        Err(error) => format!("{at} is busy and cannot be made read-only: {error}"),
    }
}

/// The mounts that have to go, in the order in which they can: what is above goes before what is below it.
fn leaving(mountinfo: &str) -> Vec<Mounted> {
    let mut mounts: Vec<Mounted> = mountinfo.lines().filter_map(read).collect();
    mounts.retain(|mounted| {
        let below = |place: &str| mounted.at.strip_prefix(place).is_some_and(|rest| rest.starts_with('/'));
        let kept = STAYING.contains(&mounted.at.as_str()) || STAYING[1..].iter().any(|place| below(place));
        // The updater mounts its partition below /run.
        !kept || ON_DEVICES.contains(&mounted.kind.as_str())
    });
    mounts.reverse();
    mounts
}

/// `36 35 98:0 /part /at options [fields] - kind source options`, as proc(5) has it.
fn read(line: &str) -> Option<Mounted> {
    let (front, back) = line.split_once(" - ")?;
    let at = unescaped(front.split(' ').nth(4)?)?;
    let kind = back.split(' ').next()?.to_owned();
    at.starts_with('/').then_some(Mounted { at, kind })
}

/// Blanks and the like are written as three octal digits behind a backslash.
fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        match (first, tail) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', tail @ ..]) => {
                bytes.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = tail;
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_go_last_first_and_the_kernels_own_stay() {
        let info = "\
            20 1 0:20 / / ro - erofs /dev/dm-0 ro\n\
            21 20 0:21 / /proc rw - proc proc rw\n\
            22 20 0:22 / /sys rw - sysfs sysfs rw\n\
            23 22 0:23 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n\
            24 20 0:24 / /run rw - tmpfs tmpfs rw\n\
            25 24 11:0 / /run/medium ro - iso9660 /dev/sr0 ro\n\
            26 20 0:26 / /tmp rw - tmpfs tmpfs rw\n\
            27 20 254:3 / /aios rw,nosuid shared:1 - ext4 /dev/vda3 rw\n\
            28 20 254:3 /store /nix/store rw - ext4 /dev/vda3 rw\n\
            29 20 254:4 / /mnt/a\\040stick rw - vfat /dev/sda1 rw\n\
            30 24 254:5 / /run/esp rw - vfat /dev/vda1 rw\n";
        let order: Vec<String> = leaving(info).into_iter().map(|mounted| mounted.at).collect();
        assert_eq!(order, ["/run/esp", "/mnt/a stick", "/nix/store", "/aios", "/tmp"]);
    }

    proptest::proptest! {
        #[test]
        fn no_table_makes_it_panic(text in "([0-9:/ a-z\\\\-]{0,60}( - )?[a-z ]{0,20}\\n){0,5}\\PC{0,30}") {
            assert!(leaving(&text).iter().all(|mounted| mounted.at.starts_with('/')));
        }
    }
}
