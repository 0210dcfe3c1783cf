//! What the measurements stand beside and no package of the build machine has: a container runtime, supervisors, and a
//! minimal Debian on a disk.
//!
//! Debian's own tool puts it together from Debian's archive, as this machine's apt reaches it. It starts systemd and asks
//! for a login on the serial line, and nothing else; in place of the login program stands one that shows the time since
//! the kernel started, because that is what is measured.

use std::fs;
use std::path::{Path, PathBuf};

use qa::Debian;

use crate::cache::{self, Cache, Key};
use crate::error::{Error, OnFile, Result};
use crate::tool::Tool;

/// The release: the current stable one when the promise was made.
const SUITE: &str = "bookworm";

/// Beside what every Debian has: the first process, devices, a kernel and what starts it.
const PACKAGES: &str = "systemd-sysv,udev,linux-image-amd64,initramfs-tools";

/// Room for all that, mostly the kernel's modules.
const SIZE: &str = "1536M";

/// The terminal's unit asks for nobody's name and shows the time at once.
const TERMINAL: &str = "\
[Service]
ExecStart=
ExecStart=-/sbin/agetty --skip-login --login-program /bin/cat --login-options '/etc/console-ready /proc/uptime' \
                         --keep-baud 115200 %I
";

/// Our kernel has no inotify, without which systemd does not start: where it is not, these calls do nothing and succeed,
/// which costs the peer less than the real thing would.
const INOTIFY: &str = r"
#include <errno.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>
int inotify_init1(int flags) {
    long fd = syscall(SYS_inotify_init1, flags);
    return fd < 0 && errno == ENOSYS ? eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) : (int)fd;
}
int inotify_init(void) { return inotify_init1(0); }
int inotify_add_watch(int fd, const char *path, unsigned mask) {
    static int last;
    long watch = syscall(SYS_inotify_add_watch, fd, path, mask);
    return watch < 0 && errno == ENOSYS ? ++last : (int)watch;
}
int inotify_rm_watch(int fd, int watch) {
    long done = syscall(SYS_inotify_rm_watch, fd, watch);
    return done < 0 && errno == ENOSYS ? 0 : (int)done;
}
";

/// Run with the finished system in `$1` and where to put things in `$OUT`; as root or as what stands in for it, so that
/// files keep their owners. The system's own /proc and /sys are still mounted, and stay behind.
const FINISH: &str = r#"
set -e
mkdir "$1/etc/systemd/system/serial-getty@ttyS0.service.d"
cp "$OUT/terminal.conf" "$1/etc/systemd/system/serial-getty@ttyS0.service.d/time.conf"
echo 'console ready' > "$1/etc/console-ready"
echo debian > "$1/etc/hostname"
cp "$OUT/inotify.so" "$1/usr/lib/"
cp "$1"/boot/vmlinuz-* "$OUT/vmlinuz"
cp "$1"/boot/initrd.img-* "$OUT/initrd"
cp -ax "$1" "$OUT/root"
rm -rf "$OUT/root/var/cache/apt" "$OUT/root/var/lib/apt/lists"
mke2fs -q -t ext4 -d "$OUT/root" "$OUT/disk.raw" "$SIZE"
rm -rf "$OUT/root"
"#;

/// The minimal Debian, made now or earlier.
pub(crate) fn debian(cache: &Cache) -> Result<Debian> {
    let key = Key::new("debian 1").text("suite", SUITE).text("packages", PACKAGES).text("size", SIZE);
    let key = key.text("terminal", TERMINAL).text("finish", FINISH).text("inotify", INOTIFY);
    let place = cache.step("debian", &key, make)?;
    Ok(Debian { kernel: place.join("vmlinuz"), initrd: place.join("initrd"), disk: place.join("disk.raw") })
}

/// Debian's packages of the container runtime that confined programs stand beside, and of the one library of it that the
/// build machine need not have.
const CONTAINER_RUNTIME: [&str; 2] = ["crun", "libyajl2"];

/// Debian's packages of the supervisors that PID 1 stands beside, and their libraries.
const SUPERVISORS: [&str; 5] = ["s6", "libs6-2.11", "libskarnet2.13", "libexecline2.9", "runit"];

/// The container runtime, unpacked now or earlier and never installed.
pub(crate) fn container_runtime(cache: &Cache) -> Result<PathBuf> {
    unpacked(cache, "container-runtime", &CONTAINER_RUNTIME)
}

/// The supervisors, unpacked now or earlier and never installed.
pub(crate) fn supervisors(cache: &Cache) -> Result<PathBuf> {
    unpacked(cache, "supervisors", &SUPERVISORS)
}

/// Packages of Debian, in one folder.
fn unpacked(cache: &Cache, name: &str, packages: &[&str]) -> Result<PathBuf> {
    let key = Key::new(&format!("{name} 1")).text("packages", &packages.join(" "));
    cache.step(name, &key, |out| {
        Tool::new("apt-get").directory(out).arg("download").args(packages).run()?;
        for entry in fs::read_dir(out).on("list", out)? {
            let path = entry.on("list", out)?.path();
            if path.extension().is_some_and(|extension| extension == "deb") {
                Tool::new("dpkg-deb").arg("-x").arg(&path).arg(out).run()?;
                fs::remove_file(&path).on("remove", &path)?;
            }
        }
        Ok(())
    })
}

fn make(out: &Path) -> Result<()> {
    eprintln!("putting a minimal Debian together for the measurements; this takes about two minutes");
    let write = |name: &str, text: &str| {
        let path = out.join(name);
        fs::write(&path, text).on("write", &path).map(|()| path)
    };
    let terminal = write("terminal.conf", TERMINAL)?;
    let finish = write("finish.sh", FINISH)?;
    let source = write("inotify.c", INOTIFY)?;
    Tool::new("gcc").directory(out).args(["-shared", "-fPIC", "-O2", "-o", "inotify.so"]).arg(&source).run()?;
    // Proxies and the like; the tool reads no configuration of this machine by itself.
    let network = Tool::new("apt-config").args(["dump", "--format", "%f \"%v\";%n", "Acquire"]).output()?;
    let network = write("apt.conf", &network)?;
    Tool::new("mmdebstrap")
        .env("OUT", out)
        .env("SIZE", SIZE)
        .args(["--variant=minbase", "--include", PACKAGES])
        .arg(format!("--aptopt={}", network.display()))
        .arg(format!("--customize-hook=sh {} \"$1\"", finish.display()))
        .args([SUITE, "/dev/null", &format!("deb {} {SUITE} main", archive()?)])
        .logged(&out.join("mmdebstrap.log"))?;
    [terminal, finish, source, network].iter().try_for_each(|path| fs::remove_file(path).on("remove", path))?;
    cache::remove_tree(&out.join("root"))
}

/// Debian's archive, as this machine's apt reaches it.
fn archive() -> Result<String> {
    let targets = Tool::new("apt-get").args(["indextargets", "--format", "$(REPO_URI)"]).output()?;
    archive_in(&targets).map(str::to_owned).ok_or_else(|| {
        Error::refused(
            "this machine's apt has no Debian archive configured",
            "measurements beside Debian need one; name other measurements to leave them out",
        )
    })
}

fn archive_in(targets: &str) -> Option<&str> {
    targets.lines().map(|uri| uri.trim_end_matches('/')).find(|uri| uri.ends_with("/debian"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_is_told_from_what_stands_beside_it() {
        let targets = "http://a.example/debian-security/\nhttps://b.example/x/debian/\n";
        assert_eq!(archive_in(targets), Some("https://b.example/x/debian"));
        assert_eq!(archive_in("http://a.example/ubuntu/\n"), None);
    }
}
