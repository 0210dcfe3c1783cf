//! Having the launcher run a program, from the request to its end.
//!
//! Input and output are files in memory: nobody waits on a pipe, and a program that prints a lot is ended by its own
//! budget. They can never be executed.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};

use aios_ids::ActionId;
use aios_linux::scm;
use aios_wire::launch::{
    Exit, FIRST_UID, LaunchFormatError, LaunchReply, LaunchRequest, Limits, Program, REPLY_SIZE, Resource, SANDBOXES,
};
use rustix::fs::MemfdFlags;

/// What to run.
#[derive(Debug)]
pub struct Launch {
    /// The action it runs for.
    pub action: ActionId,
    /// The user it runs as.
    pub user: User,
    /// The program.
    pub program: Program,
    /// Its arguments.
    pub args: Vec<Vec<u8>>,
    /// Its standard input.
    pub input: Vec<u8>,
    /// Its descriptor 3.
    pub resource: Given,
    /// What it may use up.
    pub limits: Limits,
}

/// The one resource a program is given.
#[derive(Debug)]
pub enum Given {
    /// None.
    Nothing,
    /// A connection to a service.
    Connection(UnixStream),
    /// A folder.
    Folder(OwnedFd),
    /// The program itself, for the launcher.
    Program(OwnedFd),
}

impl Given {
    /// Its kind.
    pub fn resource(&self) -> Resource {
        match self {
            Self::Nothing => Resource::None,
            Self::Connection(_) => Resource::Connection,
            Self::Folder(_) => Resource::Folder,
            Self::Program(_) => Resource::Program,
        }
    }
}

/// A program that ran to its end.
#[derive(Debug)]
pub struct Finished {
    /// How it ended and what it used.
    pub exit: Exit,
    /// The beginning of what it printed.
    pub output: Vec<u8>,
    /// The beginning of what it complained.
    pub complaints: Vec<u8>,
    /// How many bytes it printed, both together.
    pub printed: u64,
}

/// The program did not run to its end.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The request cannot be put into the launcher's form.
    #[error("the launcher's form cannot hold the request")]
    Form(#[from] LaunchFormatError),
    /// Every sandbox user is taken.
    #[error("{SANDBOXES} sandboxes run already; wait for one to end")]
    Full,
    /// The launcher cannot be talked to; nothing was run.
    #[error("cannot reach the launcher; 'aios service list' shows whether it runs")]
    Reach(#[source] io::Error),
    /// The launcher said no; nothing was run.
    #[error("the launcher refused: {0}")]
    Refused(String),
    /// The program ran and nobody can say how it ended.
    #[error("the launcher went away while the program ran")]
    Lost(#[source] io::Error),
}

/// So much of what a program prints is kept.
const KEPT: u64 = 256 * 1024;

/// Has the launcher at `socket` run a program and waits for its end. Blocks.
pub fn run(launcher: UnixStream, launch: Launch) -> Result<Finished, LaunchError> {
    let request = LaunchRequest {
        action: launch.action,
        uid_offset: launch.user.0.offset,
        program: launch.program,
        args: launch.args,
        resource: launch.resource.resource(),
        limits: launch.limits,
    };
    let bytes = request.encode()?;
    let mut input = memory("input").map_err(LaunchError::Reach)?;
    input.write_all(&launch.input).and_then(|()| input.rewind()).map_err(LaunchError::Reach)?;
    let output = memory("output").map_err(LaunchError::Reach)?;
    let complaints = memory("complaints").map_err(LaunchError::Reach)?;
    let mut descriptors = vec![input.as_fd(), output.as_fd(), complaints.as_fd()];
    match &launch.resource {
        Given::Nothing => {}
        Given::Connection(stream) => descriptors.push(stream.as_fd()),
        Given::Folder(file) | Given::Program(file) => descriptors.push(file.as_fd()),
    }
    let mut launcher = launcher;
    let sent = scm::send(&launcher, &bytes, &descriptors).map_err(|error| LaunchError::Reach(error.into()))?;
    launcher.write_all(&bytes[sent..]).map_err(LaunchError::Reach)?;
    match reply(&mut launcher).map_err(LaunchError::Reach)? {
        LaunchReply::Started { .. } => {}
        LaunchReply::Refused { reason } => return Err(LaunchError::Refused(reason)),
        LaunchReply::Exited(_) => return Err(LaunchError::Refused("it ended before it began".into())),
    }
    let exit = match reply(&mut launcher).map_err(LaunchError::Lost)? {
        LaunchReply::Exited(exit) => exit,
        other => return Err(LaunchError::Lost(io::Error::other(format!("it answered {other:?}")))),
    };
    let size = |file: &File| file.metadata().map_or(0, |data| data.len());
    let printed = size(&output) + size(&complaints);
    let kept = |file| beginning(file).map_err(LaunchError::Lost);
    Ok(Finished { exit, output: kept(output)?, complaints: kept(complaints)?, printed })
}

fn reply(launcher: &mut UnixStream) -> io::Result<LaunchReply> {
    let mut bytes = [0; REPLY_SIZE];
    launcher.read_exact(&mut bytes)?;
    LaunchReply::decode(&bytes).map_err(io::Error::other)
}

/// A file in memory that can be read and written and never executed.
pub fn memory(name: &str) -> io::Result<File> {
    Ok(File::from(rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::NOEXEC_SEAL)?))
}

fn beginning(mut file: File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.take(KEPT).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The sandbox users that are taken.
#[derive(Debug, Clone, Default)]
pub struct Users(Arc<Mutex<BTreeSet<u16>>>);

/// One sandbox user, free again when the last clone is dropped.
#[derive(Debug, Clone)]
pub struct User(Arc<Taken>);

#[derive(Debug)]
struct Taken {
    offset: u16,
    users: Users,
}

impl Users {
    /// A user that no other sandbox has.
    pub fn take(&self) -> Result<User, LaunchError> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let offset = (0..SANDBOXES).find(|offset| !taken.contains(offset)).ok_or(LaunchError::Full)?;
        taken.insert(offset);
        Ok(User(Arc::new(Taken { offset, users: self.clone() })))
    }
}

impl User {
    /// Its number on the machine.
    pub fn uid(&self) -> u32 {
        FIRST_UID + u32::from(self.0.offset)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.users.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.offset);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aios_wire::launch::{Ending, REQUEST_SIZE, Tier};

    fn launch() -> Launch {
        Launch {
            action: ActionId::new(0, [0; 10]),
            user: Users::default().take().expect("free"),
            program: Program::Probe(Tier::Adapter),
            args: vec![],
            input: b"input".to_vec(),
            resource: Given::Nothing,
            limits: Limits { memory: 1, processes: 1, cpu_percent: 1, time_ms: 1, cpu_ms: 1, output: 1, written: 1 },
        }
    }

    /// A launcher that reads one request, writes "output" as the program would, and says `replies`.
    fn launched(replies: Vec<LaunchReply>) -> Result<Finished, LaunchError> {
        let (here, mut there) = UnixStream::pair().expect("a pair");
        let other_end = std::thread::spawn(move || {
            let (mut bytes, mut descriptors) = (vec![0; REQUEST_SIZE], Vec::new());
            assert_eq!(scm::receive(&there, &mut bytes, &mut descriptors), Ok(REQUEST_SIZE));
            let mut given = String::new();
            File::from(descriptors.remove(0)).read_to_string(&mut given).expect("readable");
            assert_eq!(given, "input");
            File::from(descriptors.remove(0)).write_all(b"output").expect("writable");
            for reply in replies {
                there.write_all(&reply.encode()).expect("sent");
            }
        });
        let result = run(here, launch());
        other_end.join().expect("no panic");
        result
    }

    #[test]
    fn it_is_told_how_a_program_ended_and_what_it_printed() {
        let exit = Exit { ending: Ending::Status(3), cpu_us: 1, memory_peak: 2 };
        let finished = launched(vec![LaunchReply::Started { pid: 9 }, LaunchReply::Exited(exit)]).expect("finished");
        assert_eq!((finished.exit, finished.output.as_slice()), (exit, b"output".as_slice()));
    }

    #[test]
    fn a_refusal_and_a_lost_launcher_are_not_the_same() {
        let refused = launched(vec![LaunchReply::Refused { reason: "no cgroup".into() }]).expect_err("refused");
        assert_eq!(refused.to_string(), "the launcher refused: no cgroup");
        assert!(matches!(launched(vec![]), Err(LaunchError::Reach(_))));
        assert!(matches!(launched(vec![LaunchReply::Started { pid: 9 }]), Err(LaunchError::Lost(_))));
    }

    #[test]
    fn no_two_programs_share_a_user() {
        let users = Users::default();
        let first = users.take().expect("free");
        let second = users.take().expect("free");
        assert_ne!(first.uid(), second.uid());
        let (freed, clone) = (first.uid(), first.clone());
        drop(first);
        assert_ne!(users.take().expect("free").uid(), freed);
        drop(clone);
        assert_eq!(users.take().expect("free").uid(), freed);
    }
}
