//! A guest that is not AIOS: a kernel, a shell, and a console with the marks of ours.

use std::fs;
use std::path::{Path, PathBuf};

use super::initramfs::Initramfs;
use crate::scenario::Failure;
use crate::vm::{DirectKernel, DirectStart};

/// Debian's static busybox, the guest's only program unless others are added.
pub const BUSYBOX: &str = "/bin/busybox";

/// The guest's first process. The root moves off the initial file system, which programs that pivot cannot leave.
const START: &str = r#"
/bin/busybox mount -t tmpfs none /new
for entry in /*; do [ "$entry" = /new ] || /bin/busybox cp -a "$entry" /new/; done
exec /bin/busybox switch_root /new /bin/sh /console
"#;

const CONSOLE: &str = r#"
/bin/busybox --install -s /bin
mount -t proc proc /proc
status=0
while :; do
    printf '\033]133;A\007guest# \033]133;B\007'
    IFS= read -r line || break
    printf '\r\n\033]133;C\007'
    [ "$line" = die ] && exit
    (eval "$line")
    status=$?
    printf '\033]133;D;%s\033\\' "$status"
done
"#;

/// The guest as it is put together.
pub struct Guest(Initramfs);

impl Guest {
    /// A guest with a shell and a console.
    pub fn new() -> Result<Self, Failure> {
        let busybox = fs::read(BUSYBOX)
            .map_err(|error| Failure::broken(format!("cannot read {BUSYBOX} ({error}); install busybox-static")))?;
        let mut files = Initramfs::default();
        for path in ["bin", "dev", "lib", "lib/x86_64-linux-gnu", "lib64", "new", "proc", "tmp", "usr", "usr/bin"] {
            files.folder(path);
        }
        files.device("dev/console", 5, 1);
        files.device("dev/null", 1, 3);
        files.program("bin/busybox", &busybox);
        files.program("bin/sh", &busybox);
        files.program("init", START.as_bytes());
        files.program("console", CONSOLE.as_bytes());
        Ok(Self(files))
    }

    /// Adds a folder, whose parent is there.
    pub fn folder(&mut self, path: &str) {
        self.0.folder(path);
    }

    /// Adds a character device.
    pub fn device(&mut self, path: &str, major: u32, minor: u32) {
        self.0.device(path, major, minor);
    }

    /// Adds a file of this machine at a place of the guest.
    pub fn copy(&mut self, from: &Path, at: &str) -> Result<(), Failure> {
        let content = fs::read(from).map_err(Failure::file("read", from))?;
        self.0.program(at.trim_start_matches('/'), &content);
        Ok(())
    }

    /// How to start it.
    pub fn finish(self, kernel: &Path, folder: &Path) -> Result<DirectKernel, Failure> {
        let initrd: PathBuf = folder.join("guest.cpio");
        fs::write(&initrd, self.0.finish()).map_err(Failure::file("write", &initrd))?;
        Ok(DirectKernel {
            kernel: kernel.into(),
            initrd: Some(initrd),
            // Our kernel starts no scripts, so the shell is the first process.
            command_line: "console=ttyS0 quiet panic=0 rdinit=/bin/sh -- /init".into(),
            start: DirectStart::Alone,
        })
    }
}

/// The files that the dynamic linker would load.
pub fn libraries(program: &Path) -> Result<Vec<PathBuf>, Failure> {
    let listed = crate::vm::process::output("ldd", "libc-bin", &[program.into()])?;
    let listed = String::from_utf8_lossy(&listed).into_owned();
    Ok(listed.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect())
}
