//! Ending the machine: what is mounted is made safe first.

use std::fs;

use rustix::mount::{MountFlags, UnmountFlags, mount_remount, unmount};
use rustix::system::{RebootCommand, reboot};

use crate::failure::Failure;

/// What comes after the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Afterwards {
    Reboot,
    PowerOff,
}

/// Makes disks safe and ends the machine; returns only to fail.
pub(crate) fn end(then: Afterwards) -> Result<(), Failure> {
    rustix::fs::sync();
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    for place in disk_mounts(&mounts).rev() {
        // Somebody in a shell may use it; then it is at least not written to any more.
        if unmount(&*place, UnmountFlags::empty()).is_err() {
            let _ = mount_remount(&*place, MountFlags::RDONLY, c"");
        }
    }
    rustix::fs::sync();
    let command = match then {
        Afterwards::Reboot => RebootCommand::Restart,
        Afterwards::PowerOff => RebootCommand::PowerOff,
    };
    reboot(command).map_err(|error| {
        Failure::new("the kernel does not end the machine", &error).hint("everything is written; switch it off")
    })
}

/// The places where devices are mounted, in the order in which they were.
fn disk_mounts(mounts: &str) -> impl DoubleEndedIterator<Item = String> {
    let mut places = Vec::new();
    for line in mounts.lines() {
        let mut fields = line.split(' ');
        if let (Some(device), Some(place)) = (fields.next(), fields.next())
            && device.starts_with("/dev/")
        {
            places.push(unescape(place));
        }
    }
    places.into_iter()
}

/// The kernel writes spaces, tabs, newlines and backslashes as `\` and three octal digits.
fn unescape(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (code, letter)| text.replace(code, letter))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_found_and_kernel_views_are_not() {
        let mounts = "proc /proc proc rw 0 0\n/dev/vda7 /mnt ext4 rw 0 0\n/dev/vdb1 /mnt/my\\040stick vfat rw 0 0\n";
        assert_eq!(disk_mounts(mounts).rev().collect::<Vec<_>>(), ["/mnt/my stick", "/mnt"]);
    }

    proptest::proptest! {
        #[test]
        fn no_table_makes_it_panic(mounts in "(/dev/)?\\PC{0,60}\n\\PC{0,60}") {
            let _ = disk_mounts(&mounts).count();
        }
    }
}
