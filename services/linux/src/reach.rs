//! Path rules as a Landlock domain.
//!
//! The rules handle every right of [`ABI`]; what is not granted is refused. A kernel that knows less is an error:
//! a domain with holes would look like a domain.

#![expect(
    unsafe_code,
    reason = "a descriptor placed for the program is a bare number here, and a version is asked by a bare call"
)]

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetStatus, Scope,
};
use rustix::fs::{FileType, Mode, OFlags};

use crate::sandbox::{PathRules, Tcp};

/// The newest that the `landlock` crate can ask for: path-based Unix sockets are under its rules.
const LANDLOCK_ABI: i32 = 9;
const ABI: ABI = ABI::V9;

/// `linux/landlock.h`: the call makes nothing and answers with the version.
const ASK_VERSION: u32 = 1;

/// The kernel has less than the rules ask for.
#[derive(Debug, thiserror::Error)]
pub enum LandlockError {
    /// It was built without it, or started without it.
    #[error("this kernel has no Landlock; version {LANDLOCK_ABI} is needed")]
    None(#[source] io::Error),
    /// It is older than the rules.
    #[error("this kernel has version {has} of Landlock; version {LANDLOCK_ABI} is needed")]
    Older {
        /// Its version.
        has: i64,
    },
}

/// Makes sure that this kernel can put a program under every rule.
pub fn require_landlock() -> Result<(), LandlockError> {
    // SAFETY: with this flag the call reads no attributes; none are passed.
    let version =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0_usize, ASK_VERSION) };
    enough(if version < 0 { Err(io::Error::last_os_error()) } else { Ok(version) })
}

fn enough(version: io::Result<i64>) -> Result<(), LandlockError> {
    match version.map_err(LandlockError::None)? {
        has if has < i64::from(LANDLOCK_ABI) => Err(LandlockError::Older { has }),
        _ => Ok(()),
    }
}

/// A domain that is ready to be entered.
pub(crate) struct Domain(RulesetCreated);

/// Opens every path of `rules` in the current view and makes the domain.
pub(crate) fn domain(rules: &PathRules) -> Result<Domain, (String, io::Error)> {
    let failed = |what: &str| {
        let what = what.to_owned();
        move |error: landlock::RulesetError| (what, io_error(&error))
    };
    let everything = AccessFs::from_all(ABI);
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(everything)
        .and_then(|ruleset| ruleset.scope(Scope::from_all(ABI)))
        .map_err(failed("Landlock of this kernel"))?;
    if rules.tcp == Tcp::Refused {
        ruleset = ruleset.handle_access(AccessNet::from_all(ABI)).map_err(failed("Landlock of this kernel"))?;
    }
    // The domain is entered before the program is executed, so what the program is refused comes after "an execution".
    let created = ruleset.create().and_then(|created| created.log_new_exec(true));
    let mut created = created.map_err(failed("Landlock"))?;

    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    // Executing a program needs reading it too: the kernel opens it.
    let execute = read | AccessFs::Execute;
    let kinds_never_made = AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::IoctlDev | AccessFs::ResolveUnix;
    let write = read | (AccessFs::from_write(ABI) & !kinds_never_made);
    let device = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::IoctlDev;
    for (paths, access) in [
        (&rules.execute, execute),
        (&rules.read, read),
        (&rules.write, write),
        (&rules.connect, AccessFs::ResolveUnix.into()),
        (&rules.device, device),
    ] {
        for path in paths {
            let (beneath, access) = open(path, access).map_err(|error| (path.display().to_string(), error))?;
            created = created
                .add_rule(PathBeneath::new(beneath, access))
                .map_err(|error| (path.display().to_string(), io_error(&error)))?;
        }
    }
    for number in &rules.write_descriptors {
        // SAFETY: the caller placed a descriptor under this number for the program, and nothing here closes it.
        let folder = unsafe { BorrowedFd::borrow_raw(*number) };
        created = created
            .add_rule(PathBeneath::new(folder, write))
            .map_err(|error| (format!("descriptor {number}"), io_error(&error)))?;
    }
    Ok(Domain(created))
}

impl Domain {
    /// Puts the calling thread under the rules, for good. Sets `no_new_privs`.
    pub(crate) fn enter(self) -> io::Result<()> {
        let status = self.0.restrict_self().map_err(|error| io_error(&error))?;
        match status.ruleset {
            RulesetStatus::FullyEnforced => Ok(()),
            _ => Err(io::Error::new(io::ErrorKind::Unsupported, "Landlock enforces only a part of the rules")),
        }
    }
}

/// Opens a path for a rule; rights that only folders have are left out for a file.
fn open(path: &Path, access: BitFlags<AccessFs>) -> io::Result<(OwnedFd, BitFlags<AccessFs>)> {
    let fd = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode);
    Ok((fd, if kind == FileType::Directory { access } else { access & AccessFs::from_file(ABI) }))
}

/// The kernel's own error where there is one, otherwise the crate's words.
fn io_error(error: &landlock::RulesetError) -> io::Error {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(cause) = source {
        if let Some(code) = cause.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
            return io::Error::from_raw_os_error(code);
        }
        source = cause.source();
    }
    io::Error::new(io::ErrorKind::Unsupported, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_with_less_is_told_from_one_with_none() {
        assert!(enough(Ok(9)).is_ok() && enough(Ok(10)).is_ok());
        let older = enough(Ok(8)).expect_err("older").to_string();
        assert_eq!(older, "this kernel has version 8 of Landlock; version 9 is needed");
        let none = enough(Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP))).expect_err("none").to_string();
        assert_eq!(none, "this kernel has no Landlock; version 9 is needed");
    }
}
