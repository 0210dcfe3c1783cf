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
/bin/busybox cp -a /bin /console /dev /lib /lib64 /proc /tmp /usr /new/
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

/// Prepares the guest's start. `programs` are copied from this machine with the libraries that they name.
pub fn guest(kernel: &Path, folder: &Path, programs: &[&Path]) -> Result<DirectKernel, Failure> {
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
    for program in programs {
        for file in std::iter::once(program.to_path_buf()).chain(libraries(program)?) {
            let content = fs::read(&file).map_err(Failure::file("read", &file))?;
            files.program(file.to_string_lossy().trim_start_matches('/'), &content);
        }
    }
    let initrd: PathBuf = folder.join("guest.cpio");
    fs::write(&initrd, files.finish()).map_err(Failure::file("write", &initrd))?;
    Ok(DirectKernel {
        kernel: kernel.into(),
        initrd: Some(initrd),
        // Our kernel starts no scripts, so the shell is the first process.
        command_line: "console=ttyS0 quiet panic=0 rdinit=/bin/sh -- /init".into(),
        start: DirectStart::Alone,
    })
}

/// The files that the dynamic linker would load.
fn libraries(program: &Path) -> Result<Vec<PathBuf>, Failure> {
    let listed = crate::vm::process::output("ldd", "libc-bin", &[program.into()])?;
    let listed = String::from_utf8_lossy(&listed).into_owned();
    Ok(listed.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect())
}
