//! One caller: it says what to run, hears that it runs, hears how it ended, and hangs up.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use aios_linux::calls::CallFilter;
use aios_linux::scm;
use aios_wire::launch::{LaunchReply, LaunchRequest, REQUEST_SIZE};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;

use launcher::run::Run;

use crate::chain;

/// A request comes in one piece; who needs longer is not the runtime.
const REQUEST_TIME: Duration = Duration::from_secs(2);

/// What a connection is at.
pub(crate) enum Connection {
    /// Its request is not complete.
    Asking { stream: UnixStream, bytes: Vec<u8>, descriptors: Vec<OwnedFd>, until: Instant },
    /// Its program is there.
    Launched { stream: UnixStream, run: Run },
    /// The caller hung up and its program is being ended.
    Abandoned { run: Run },
}

/// Which of a connection's descriptors have something.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Ready {
    stream: bool,
    run: bool,
}

impl Connection {
    /// A caller that has said nothing yet.
    pub(crate) fn new(stream: UnixStream, now: Instant) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self::Asking { stream, bytes: Vec::new(), descriptors: Vec::new(), until: now + REQUEST_TIME })
    }

    /// What to wait for, in the order that [`Connection::take_ready`] reads the answers.
    pub(crate) fn watched(&self) -> Vec<PollFd<'_>> {
        let stream = |stream, flags| PollFd::from_borrowed_fd(AsFd::as_fd(stream), flags);
        let run = |run| PollFd::from_borrowed_fd(Run::watched(run), PollFlags::IN);
        match self {
            Self::Asking { stream: s, .. } => vec![stream(s, PollFlags::IN)],
            // It has said everything: what comes now is a breach, or the end.
            Self::Launched { stream: s, run: r } => vec![stream(s, PollFlags::IN | PollFlags::RDHUP), run(r)],
            Self::Abandoned { run: r } => vec![run(r)],
        }
    }

    /// Takes this connection's part of what happened.
    pub(crate) fn take_ready(&self, happened: &mut impl Iterator<Item = bool>) -> Ready {
        let mut next = || happened.next().unwrap_or(false);
        match self {
            Self::Asking { .. } => Ready { stream: next(), run: false },
            Self::Launched { .. } => Ready { stream: next(), run: next() },
            Self::Abandoned { .. } => Ready { stream: false, run: next() },
        }
    }

    /// When to look at it although nothing happened.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Asking { until, .. } => Some(*until),
            Self::Launched { run, .. } | Self::Abandoned { run } => run.deadline(),
        }
    }

    /// The user id that its program has.
    pub(crate) fn uid_offset(&self) -> Option<u16> {
        match self {
            Self::Asking { .. } => None,
            Self::Launched { run, .. } | Self::Abandoned { run } => Some(run.uid_offset()),
        }
    }

    /// The connection after what happened; nothing when it is over.
    pub(crate) fn step(
        self,
        ready: Ready,
        taken: &mut BTreeSet<u16>,
        calls: &CallFilter,
        now: Instant,
    ) -> Option<Self> {
        match self {
            Self::Asking { stream, bytes, descriptors, until } if ready.stream => {
                Self::read(stream, bytes, descriptors, until, taken, calls, now)
            }
            Self::Asking { until, .. } if now >= until => None,
            asking @ Self::Asking { .. } => Some(asking),
            Self::Launched { stream, mut run } => {
                run.check_budgets(now);
                if ready.run { Self::advance(stream, run) } else { Self::listen(stream, run, ready) }
            }
            Self::Abandoned { mut run } => {
                run.check_budgets(now);
                if !ready.run {
                    return Some(Self::Abandoned { run });
                }
                if run.is_starting() {
                    // It may have come to run before it was ended; its handle tells.
                    return run.started().is_ok().then_some(Self::Abandoned { run });
                }
                let _ = run.ended();
                None
            }
        }
    }

    fn read(
        stream: UnixStream,
        mut bytes: Vec<u8>,
        mut descriptors: Vec<OwnedFd>,
        until: Instant,
        taken: &mut BTreeSet<u16>,
        calls: &CallFilter,
        now: Instant,
    ) -> Option<Self> {
        let mut part = [0; REQUEST_SIZE];
        let room = REQUEST_SIZE - bytes.len();
        match scm::receive(&stream, &mut part[..room], &mut descriptors) {
            Ok(0) => return None,
            Ok(count) => bytes.extend_from_slice(&part[..count]),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => {
                eprintln!("a request was refused: {error}");
                return None;
            }
        }
        let Ok(request) = <&[u8; REQUEST_SIZE]>::try_from(bytes.as_slice()) else {
            return Some(Self::Asking { stream, bytes, descriptors, until });
        };
        match launch(request, descriptors, taken, calls, now) {
            Ok(run) => {
                taken.insert(run.uid_offset());
                Some(Self::Launched { stream, run })
            }
            Err(reason) => refuse(&stream, reason),
        }
    }

    /// Goes on with a program whose stage changed.
    fn advance(stream: UnixStream, mut run: Run) -> Option<Self> {
        if run.is_starting() {
            if let Err(error) = run.started() {
                return refuse(&stream, chain(&error));
            }
            let told = say(&stream, &LaunchReply::Started { pid: run.pid() });
            return Some(if told { Self::Launched { stream, run } } else { Self::abandon(run) });
        }
        match run.ended() {
            Ok(exit) => {
                // The cgroup goes first: who hears of the end may rely on it.
                drop(run);
                say(&stream, &LaunchReply::Exited(exit));
                None
            }
            Err(error) => refuse(&stream, format!("cannot say how the program ended: {error}")),
        }
    }

    fn listen(stream: UnixStream, run: Run, ready: Ready) -> Option<Self> {
        Some(if ready.stream { Self::abandon(run) } else { Self::Launched { stream, run } })
    }

    fn abandon(run: Run) -> Self {
        run.abandon();
        Self::Abandoned { run }
    }
}

fn launch(
    request: &[u8; REQUEST_SIZE],
    descriptors: Vec<OwnedFd>,
    taken: &BTreeSet<u16>,
    calls: &CallFilter,
    now: Instant,
) -> Result<Run, String> {
    let request = LaunchRequest::decode(request).map_err(|error| error.to_string())?;
    let needed = request.resource.descriptors();
    if descriptors.len() != needed {
        return Err(format!("{} descriptors came; the request needs {needed}", descriptors.len()));
    }
    if taken.contains(&request.uid_offset) {
        return Err(format!("user id offset {} belongs to a sandbox that still runs", request.uid_offset));
    }
    Run::start(&request, descriptors, calls, now).map_err(|error| chain(&error))
}

fn refuse(stream: &UnixStream, reason: String) -> Option<Connection> {
    eprintln!("a launch was refused: {reason}");
    say(stream, &LaunchReply::Refused { reason });
    None
}

/// Sends a reply. It fits into an empty socket buffer, so it goes whole or the caller is gone.
fn say(mut stream: &UnixStream, reply: &LaunchReply) -> bool {
    stream.write_all(&reply.encode()).is_ok()
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use aios_wire::launch::{Limits, Program, REPLY_SIZE, Resource, Tier};

    use super::*;
    use launcher::confine;

    fn request() -> LaunchRequest {
        LaunchRequest {
            action: "act_00000000000000000000000000".parse().expect("an id"),
            uid_offset: 1,
            program: Program::Probe(Tier::Adapter),
            args: vec![],
            resource: Resource::None,
            limits: Limits {
                memory: 1 << 20,
                processes: 1,
                cpu_percent: 1,
                time_ms: 1,
                cpu_ms: 1,
                output: 1,
                written: 1,
            },
        }
    }

    /// Sends `bytes` with `descriptors` to a fresh connection and returns what it answers.
    fn answer(bytes: &[u8], descriptors: usize, taken: &[u16]) -> Option<LaunchReply> {
        let (mut here, there) = UnixStream::pair().expect("a pair");
        let file = std::fs::File::open("/dev/null").expect("always there");
        let sent = vec![file.as_fd(); descriptors];
        scm::send(&here, bytes, &sent).expect("sent");
        let calls = confine::calls().expect("the list compiles");
        let mut taken = taken.iter().copied().collect();
        let now = Instant::now();
        let connection = Connection::new(there, now).expect("a connection");
        let left = connection.step(Ready { stream: true, run: false }, &mut taken, &calls, now);
        if matches!(left, Some(Connection::Asking { .. })) {
            return None;
        }
        drop(left);
        let mut reply = [0; REPLY_SIZE];
        here.read_exact(&mut reply).expect("an answer");
        Some(LaunchReply::decode(&reply).expect("of the known form"))
    }

    fn refused(bytes: &[u8], descriptors: usize, taken: &[u16]) -> String {
        match answer(bytes, descriptors, taken) {
            Some(LaunchReply::Refused { reason }) => reason,
            other => panic!("{other:?} is no refusal"),
        }
    }

    #[test]
    fn what_is_wrong_is_refused_with_its_name() {
        let good = request().encode().expect("a good request");
        assert!(refused(&[0; REQUEST_SIZE], 3, &[]).contains("AIOSRUN2"));
        assert_eq!(refused(&good, 2, &[]), "2 descriptors came; the request needs 3");
        assert_eq!(refused(&good, 4, &[]), "4 descriptors came; the request needs 3");
        assert!(refused(&good, 3, &[1]).contains("still runs"));
        assert!(refused(&good, 3, &[]).contains("character device"));
    }

    #[test]
    fn half_a_request_waits_for_the_rest_and_not_for_ever() {
        let good = request().encode().expect("a good request");
        assert_eq!(answer(&good[..100], 3, &[]), None);
        let (_here, there) = UnixStream::pair().expect("a pair");
        let now = Instant::now();
        let connection = Connection::new(there, now).expect("a connection");
        let calls = confine::calls().expect("the list compiles");
        let late = now + REQUEST_TIME;
        assert!(connection.step(Ready::default(), &mut BTreeSet::new(), &calls, late).is_none());
    }
}
