//! Calls whose error alone tells whether they are open.
//!
//! None of their arguments is valid: where a call wants memory it gets an address that is mapped in no process, where it
//! wants a descriptor or a word it gets one that does not exist. A call that is shut says so before it looks at them; one
//! that is open fails later, with another error, and has done nothing.

use std::io;

use super::done;

/// One call with its arguments.
#[derive(Debug, Clone, Copy)]
pub struct Bare {
    /// The kernel's name of the call.
    pub name: &'static str,
    number: libc::c_long,
    arguments: [libc::c_long; 5],
}

/// An address below everything that the kernel lets a process map.
const NOWHERE: libc::c_long = 1;
/// No descriptor.
const NONE: libc::c_long = -1;
/// No flag, operation or kind has this number.
const NO_WORD: libc::c_long = 0x7fff;
/// The x32 table's calls have this bit.
const X32: libc::c_long = 0x4000_0000;

const fn call(name: &'static str, number: libc::c_long, arguments: [libc::c_long; 5]) -> Bare {
    Bare { name, number, arguments }
}

/// Every such call, each a way out of its own.
pub const BARE: &[Bare] = &[
    // Other file trees and mounts.
    call("unshare", libc::SYS_unshare, [1, 0, 0, 0, 0]),
    call("setns", libc::SYS_setns, [NONE, 0, 0, 0, 0]),
    call("pivot_root", libc::SYS_pivot_root, [NOWHERE, NOWHERE, 0, 0, 0]),
    call("umount2", libc::SYS_umount2, [NOWHERE, 0, 0, 0, 0]),
    call("fsopen", libc::SYS_fsopen, [NOWHERE, 0, 0, 0, 0]),
    call("fspick", libc::SYS_fspick, [NONE, NOWHERE, 0, 0, 0]),
    call("open_tree", libc::SYS_open_tree, [NONE, NOWHERE, 0, 0, 0]),
    call("move_mount", libc::SYS_move_mount, [NONE, NOWHERE, NONE, NOWHERE, 0]),
    call("mount_setattr", libc::SYS_mount_setattr, [NONE, NOWHERE, 0, NOWHERE, 32]),
    call("open_by_handle_at", libc::SYS_open_by_handle_at, [NONE, NOWHERE, 0, 0, 0]),
    call("mknodat", libc::SYS_mknodat, [NONE, NOWHERE, 0o020_600, 0x0101, 0]),
    call("quotactl", libc::SYS_quotactl, [NO_WORD, NOWHERE, 0, NOWHERE, 0]),
    call("swapon", libc::SYS_swapon, [NOWHERE, 0, 0, 0, 0]),
    call("acct", libc::SYS_acct, [NOWHERE, 0, 0, 0, 0]),
    call("fanotify_init", libc::SYS_fanotify_init, [NO_WORD, 0, 0, 0, 0]),
    // The kernel itself.
    call("init_module", libc::SYS_init_module, [NOWHERE, 0, NOWHERE, 0, 0]),
    call("finit_module", libc::SYS_finit_module, [NONE, NOWHERE, 0, 0, 0]),
    call("delete_module", libc::SYS_delete_module, [NOWHERE, 0, 0, 0, 0]),
    call("kexec_load", libc::SYS_kexec_load, [0, 17, NOWHERE, 0, 0]),
    call("kexec_file_load", libc::SYS_kexec_file_load, [NONE, NONE, 0, NOWHERE, NO_WORD]),
    call("syslog", libc::SYS_syslog, [NO_WORD, 0, 0, 0, 0]),
    call("iopl", libc::SYS_iopl, [NO_WORD, 0, 0, 0, 0]),
    call("ioperm", libc::SYS_ioperm, [0x10_0000, 1, 1, 0, 0]),
    call("modify_ldt", libc::SYS_modify_ldt, [0, NOWHERE, 0, 0, 0]),
    call("userfaultfd", libc::SYS_userfaultfd, [NO_WORD, 0, 0, 0, 0]),
    call("io_setup", libc::SYS_io_setup, [0, NOWHERE, 0, 0, 0]),
    call("keyctl", libc::SYS_keyctl, [NO_WORD, 0, 0, 0, 0]),
    call("request_key", libc::SYS_request_key, [NOWHERE, NOWHERE, NOWHERE, 0, 0]),
    call("x32_getpid", X32 | libc::SYS_getpid, [0, 0, 0, 0, 0]),
    // The machine's clock and name.
    call("clock_settime", libc::SYS_clock_settime, [0, NOWHERE, 0, 0, 0]),
    call("settimeofday", libc::SYS_settimeofday, [NOWHERE, 0, 0, 0, 0]),
    call("sethostname", libc::SYS_sethostname, [NOWHERE, 1, 0, 0, 0]),
    // Other processes.
    call("kcmp", libc::SYS_kcmp, [1, 1, NO_WORD, 0, 0]),
    call("process_madvise", libc::SYS_process_madvise, [NONE, NOWHERE, 1, 0, 0]),
    call("process_mrelease", libc::SYS_process_mrelease, [NONE, 0, 0, 0, 0]),
    call("migrate_pages", libc::SYS_migrate_pages, [1, 64, NOWHERE, NOWHERE, 0]),
    call("sched_setscheduler", libc::SYS_sched_setscheduler, [0, NO_WORD, NOWHERE, 0, 0]),
    call("setpriority", libc::SYS_setpriority, [NO_WORD, 0, 0, 0, 0]),
    call("ioprio_set", libc::SYS_ioprio_set, [NO_WORD, 0, 0, 0, 0]),
    call("msgget", libc::SYS_msgget, [0x0a10_5001, 0, 0, 0, 0]),
    call("semget", libc::SYS_semget, [0x0a10_5001, 0, 0, 0, 0]),
    call("mq_open", libc::SYS_mq_open, [NOWHERE, 0, 0, 0, 0]),
    // Its own rights.
    call("setgroups", libc::SYS_setgroups, [0x10_0000, NOWHERE, 0, 0, 0]),
    call("capset", libc::SYS_capset, [NOWHERE, NOWHERE, 0, 0, 0]),
    call("personality", libc::SYS_personality, [0xffff_ffff, 0, 0, 0, 0]),
];

impl Bare {
    /// Makes the call.
    pub fn make(&self) -> io::Result<()> {
        let [a, b, c, d, e] = self.arguments;
        // SAFETY: no argument is the address of memory that a process can have, so the kernel reads and writes none.
        done(unsafe { libc::syscall(self.number, a, b, c, d, e, 0) })
    }
}
