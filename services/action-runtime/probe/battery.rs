//! The table of tries: name, system call, the only errors that mean "contained".

use std::io;

use aios_linux::attempt::{self, BARE};
use aios_wire::probe::Attempt;
use rustix::io::Errno;

use crate::{folder, tries};

/// One row.
struct Try {
    name: &'static str,
    call: &'static str,
    run: fn() -> io::Result<()>,
    contained_by: &'static [Errno],
}

const HIDDEN: &[Errno] = &[Errno::NOENT, Errno::ACCESS];
const FORBIDDEN: &[Errno] = &[Errno::PERM, Errno::NOSYS];
const NOBODY: &[Errno] = &[Errno::SRCH, Errno::PERM, Errno::NOSYS];
const OUTSIDE: &[Errno] = &[Errno::NOENT, Errno::ACCESS, Errno::PERM, Errno::ROFS];
const NOTHING_ABOVE: &[Errno] = &[Errno::BADF, Errno::XDEV];
const NO_FAMILY: &[Errno] = &[Errno::PERM, Errno::ACCESS, Errno::AFNOSUPPORT];

const BATTERY: &[Try] = &[
    row("open_outside", "openat", tries::open_outside, HIDDEN),
    row("inherited_fd", "fcntl", tries::inherited_descriptor, &[Errno::BADF]),
    row("stat_hidden", "statx", tries::stat_hidden, &[Errno::NOENT, Errno::ACCESS, Errno::PERM]),
    row("chmod_outside", "fchmodat", tries::chmod_outside, &[Errno::NOENT, Errno::PERM, Errno::ROFS]),
    row("append_outside", "openat", tries::append_outside, &[Errno::NOENT, Errno::ACCESS, Errno::PERM]),
    row("hardlink_in", "linkat", tries::hardlink_in, &[Errno::NOENT, Errno::XDEV, Errno::PERM, Errno::ACCESS]),
    row("symlink_read", "openat", tries::symlink_read, &[Errno::NOENT, Errno::ACCESS, Errno::PERM]),
    row("write_root", "openat", tries::write_root, &[Errno::ROFS, Errno::ACCESS, Errno::PERM]),
    row("proc_1_root", "openat", tries::proc_of_first, HIDDEN),
    row("proc_other_environ", "openat", tries::proc_of_others, HIDDEN),
    row("sysrq", "openat", tries::sysrq, HIDDEN),
    row("cgroup_procs", "openat", tries::leave_cgroup, HIDDEN),
    row("block_device", "openat", tries::block_device, HIDDEN),
    row("ptrace_attach", "ptrace", tries::trace_others, NOBODY),
    row("process_vm_readv", "process_vm_readv", tries::read_memory_of_others, NOBODY),
    row("pidfd_getfd", "pidfd_getfd", tries::descriptor_of_others, NOBODY),
    row("kill_others", "kill", tries::signal_others, NOBODY),
    row("setuid0", "setuid", attempt::become_root, FORBIDDEN),
    row(
        "connect_unix_path",
        "connect",
        tries::connect_service,
        &[Errno::NOENT, Errno::ACCESS, Errno::PERM, Errno::AFNOSUPPORT],
    ),
    row("connect_unix_abs", "connect", tries::connect_abstract, &[Errno::PERM, Errno::ACCESS, Errno::CONNREFUSED]),
    row("udp_send", "sendto", tries::send_datagram, &[Errno::NETUNREACH, Errno::PERM, Errno::ACCESS]),
    row("tcp_connect", "connect", tries::connect_network, &[Errno::NETUNREACH, Errno::PERM, Errno::ACCESS]),
    row("vsock_socket", "socket", tries::vsock, NO_FAMILY),
    row("netlink_socket", "socket", tries::netlink, NO_FAMILY),
    row("packet_socket", "socket", tries::packet, NO_FAMILY),
    row("io_uring_setup", "io_uring_setup", attempt::io_uring, FORBIDDEN),
    row("unshare_user", "unshare", attempt::user_namespace, FORBIDDEN),
    row("clone3", "clone3", attempt::clone3, &[Errno::NOSYS]),
    row("memfd_exec", "execveat", attempt::execute_from_memory, &[Errno::ACCESS, Errno::PERM]),
    row("mount", "mount", tries::mount, FORBIDDEN),
    row("chroot", "chroot", attempt::change_root, FORBIDDEN),
    row("bpf", "bpf", attempt::bpf, FORBIDDEN),
    row("perf_event_open", "perf_event_open", attempt::performance_event, &[Errno::PERM, Errno::ACCESS, Errno::NOSYS]),
    row("add_key", "add_key", attempt::add_key, FORBIDDEN),
    row("shmget", "shmget", attempt::shared_memory, FORBIDDEN),
    row("tiocsti", "ioctl", tries::type_into_terminal, &[Errno::IO, Errno::NOTTY, Errno::PERM]),
    row("reboot", "reboot", attempt::restart_machine, FORBIDDEN),
    row("truncate_outside", "truncate", tries::truncate_outside, OUTSIDE),
    row("rename_outside", "rename", tries::rename_outside, OUTSIDE),
    row("remove_outside", "rmdir", tries::remove_outside, OUTSIDE),
    row("utimes_outside", "utimensat", tries::touch_outside, OUTSIDE),
    row("chown_outside", "fchownat", tries::give_outside_away, OUTSIDE),
    row("xattr_outside", "setxattr", tries::label_outside, OUTSIDE),
    row("own_program", "openat", tries::write_own_program, &[Errno::ACCESS, Errno::PERM, Errno::ROFS, Errno::TXTBSY]),
    row("own_memory", "openat", tries::write_own_memory, OUTSIDE),
    row("oom_score", "openat", tries::spare_itself, OUTSIDE),
    row("kernel_settings", "openat", tries::kernel_settings, OUTSIDE),
    row("execute_private", "execve", tries::execute_private, OUTSIDE),
    row("process_vm_writev", "process_vm_writev", tries::write_memory_of_others, NOBODY),
    row("crowd", "clone", tries::crowd, &[Errno::AGAIN]),
    row("int_0x80", "int 0x80", attempt::call_of_32_bits, FORBIDDEN),
    row("clone_newns", "clone", attempt::clone_with_mounts, FORBIDDEN),
    row("tioclinux", "ioctl", tries::select_on_terminal, &[Errno::IO, Errno::NOTTY, Errno::PERM]),
    row("raw_socket", "socket", tries::raw, NO_FAMILY),
    row("ping_socket", "socket", tries::ping, NO_FAMILY),
    row("tcp_listen", "bind", tries::listen_on_network, NO_FAMILY),
    row("bluetooth_socket", "socket", tries::bluetooth, NO_FAMILY),
    row("alg_socket", "socket", tries::algorithm, NO_FAMILY),
    row("key_socket", "socket", tries::key, NO_FAMILY),
    row("xdp_socket", "socket", tries::xdp, NO_FAMILY),
    row("can_socket", "socket", tries::can, NO_FAMILY),
    row("tipc_socket", "socket", tries::tipc, NO_FAMILY),
    row("folder_look_up", "statx", folder::look_up, NOTHING_ABOVE),
    row("folder_open_up", "openat", folder::open_up, NOTHING_ABOVE),
    row("folder_touch_up", "utimensat", folder::touch_up, NOTHING_ABOVE),
    // The link itself can be made: it is a folder to work in.
    row("folder_link_out", "openat", folder::link_out, &[Errno::BADF, Errno::NOENT]),
    row("folder_execute", "execve", folder::execute_in_it, &[Errno::BADF, Errno::ACCESS, Errno::PERM]),
];

const fn row(
    name: &'static str,
    call: &'static str,
    run: fn() -> io::Result<()>,
    contained_by: &'static [Errno],
) -> Try {
    Try { name, call, run, contained_by }
}

/// Makes every try.
pub(crate) fn run() -> Vec<Attempt> {
    let tries = BATTERY.iter().map(|row| came_of(row.name, row.call, row.contained_by, (row.run)()));
    let bare = BARE.iter().map(|call| came_of(call.name, call.name, FORBIDDEN, call.make()));
    tries.chain(bare).collect()
}

fn came_of(name: &str, call: &str, contained_by: &[Errno], result: io::Result<()>) -> Attempt {
    let errno = result.as_ref().err().and_then(Errno::from_io_error);
    Attempt {
        name: name.to_owned(),
        call: call.to_owned(),
        contained: errno.is_some_and(|errno| contained_by.contains(&errno)),
        result: match (&result, errno) {
            (Ok(()), _) => "done".to_owned(),
            (_, Some(errno)) => name_of(errno).to_owned(),
            (Err(other), None) => other.to_string(),
        },
    }
}

/// The error's name; rare ones read as `OTHER`, which no row expects.
fn name_of(errno: Errno) -> &'static str {
    const NAMES: &[(Errno, &str)] = &[
        (Errno::PERM, "EPERM"),
        (Errno::NOENT, "ENOENT"),
        (Errno::SRCH, "ESRCH"),
        (Errno::IO, "EIO"),
        (Errno::BADF, "EBADF"),
        (Errno::ACCESS, "EACCES"),
        (Errno::XDEV, "EXDEV"),
        (Errno::INVAL, "EINVAL"),
        (Errno::NOTTY, "ENOTTY"),
        (Errno::ROFS, "EROFS"),
        (Errno::NOSYS, "ENOSYS"),
        (Errno::AFNOSUPPORT, "EAFNOSUPPORT"),
        (Errno::NETUNREACH, "ENETUNREACH"),
        (Errno::CONNREFUSED, "ECONNREFUSED"),
        (Errno::FAULT, "EFAULT"),
        (Errno::NOEXEC, "ENOEXEC"),
        (Errno::EXIST, "EEXIST"),
        (Errno::PROTOTYPE, "EPROTOTYPE"),
        (Errno::PROTONOSUPPORT, "EPROTONOSUPPORT"),
        (Errno::AGAIN, "EAGAIN"),
        (Errno::TXTBSY, "ETXTBSY"),
        (Errno::NOTDIR, "ENOTDIR"),
        (Errno::BUSY, "EBUSY"),
    ];
    NAMES.iter().find(|(known, _)| *known == errno).map_or("OTHER", |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn outside_of_a_sandbox_the_battery_reports_escapes() {
        let report = aios_wire::probe::ProbeReport { attempts: run() };
        assert!(report.attempts.len() >= aios_wire::probe::ProbeReport::LEAST);
        let escaped = |name: &str| report.attempts.iter().any(|a| a.name == name && !a.contained);
        // What every user of an ordinary machine can do.
        for name in [
            "open_outside",
            "stat_hidden",
            "proc_other_environ",
            "clone3",
            "memfd_exec",
            "netlink_socket",
            "crowd",
            "own_memory",
        ] {
            assert!(escaped(name), "{name} must be seen to work here: {:?}", report.attempts);
        }
        assert!(report.verdict().is_err());
    }

    #[test]
    fn names_are_unique() {
        let names: Vec<_> = BATTERY.iter().map(|row| row.name).chain(BARE.iter().map(|call| call.name)).collect();
        let distinct: BTreeSet<_> = names.iter().collect();
        assert_eq!(names.len(), distinct.len());
    }
}
