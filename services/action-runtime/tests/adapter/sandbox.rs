//! Where the real adapter runs in tests: the file tree and the calls of an action, without what a build machine may lack.

use aios_linux::calls::{CallFilter, Otherwise};
use aios_linux::sandbox::{Allow, Identity, Mount, Namespace, Reach, Sandbox, View};

/// Where the adapter is in it.
pub(crate) const INSIDE: &str = "/usr/lib/aios/adapter";

/// A sandbox of the user `uid`, in the group of the granted folder.
pub(crate) fn sandbox(uid: u32) -> Sandbox {
    let calls = include_str!("../../../../rootfs/seccomp/action.list");
    Sandbox {
        namespaces: vec![Namespace::Mount, Namespace::Pid, Namespace::Ipc, Namespace::Uts, Namespace::Net],
        view: View::Only(vec![
            Mount::Memory { at: "/tmp".into(), bytes: 1 << 20, mode: 0o700 },
            Mount::Bind { from: env!("CARGO_BIN_EXE_adapter").into(), at: INSIDE.into(), allow: Allow::Execute },
        ]),
        reach: Reach::Unlimited,
        calls: Some(CallFilter::compile(calls, Otherwise::Fails).expect("the list compiles")),
        directory: "/tmp".into(),
        umask: 0o007,
        ..Sandbox::new(Identity { uid, gid: uid, groups: vec![300] })
    }
}
