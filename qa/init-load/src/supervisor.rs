//! The three that are measured, and how each is asked to start and stop a service and to list all.
//!
//! Each is asked in its quickest way: PID 1 over its socket; the supervisors of s6 and runit over the pipe that their own
//! tools write to, without starting those.

use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::str::FromStr;
use std::time::{Duration, Instant};

use aios_wire::init::{Reply, Request};

/// Where services are laid out for s6 and runit.
pub(crate) const SERVICES: &str = "/run/services";

/// How many there are beside the one that is started and stopped again and again.
pub(crate) const MANY: usize = 200;
/// The unit that needs all of them.
const ALL: &str = "many";
/// What is started and stopped again and again.
pub(crate) const ONE: &str = "one";

/// A supervisor does not become ready any more after that.
const PATIENCE: Duration = Duration::from_secs(120);

/// What supervises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum System {
    Aios,
    S6,
    Runit,
}

impl FromStr for System {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        match name {
            "aios" => Ok(Self::Aios),
            "s6" => Ok(Self::S6),
            "runit" => Ok(Self::Runit),
            _ => Err(()),
        }
    }
}

/// The names of the many.
pub(crate) fn many() -> Vec<String> {
    (0..MANY).map(|number| format!("many-{number:03}")).collect()
}

impl System {
    /// Its name as arguments have it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Aios => "aios",
            Self::S6 => "s6",
            Self::Runit => "runit",
        }
    }

    /// The names of the programs that supervise; ours is one.
    pub(crate) fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Aios => &["init"],
            Self::S6 => &["s6-svscan", "s6-supervise"],
            Self::Runit => &["runit", "runsvdir", "runsv"],
        }
    }

    /// Waits until each service can be started.
    pub(crate) fn wait_until_ready(self) -> io::Result<()> {
        if self == Self::Aios {
            return Ok(());
        }
        let end = Instant::now() + PATIENCE;
        for name in many().iter().map(String::as_str).chain([ONE]) {
            // There is nobody to write to until the service's supervisor has its pipe open.
            while let Err(error) = pipe(name) {
                if Instant::now() > end {
                    return Err(io::Error::new(error.kind(), format!("{name} has no supervisor: {error}")));
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        Ok(())
    }

    /// Says that measuring begins. Our many wait for that, because nothing is started later that is not started at all.
    pub(crate) fn open_the_gate(self) -> io::Result<()> {
        let Some(place) = std::env::var_os("NOTIFY_SOCKET").filter(|_| self == Self::Aios) else { return Ok(()) };
        std::os::unix::net::UnixDatagram::unbound()?.send_to(b"READY=1", place).map(drop)
    }

    /// Has all of the many started, in the order of what they need where the system knows one.
    pub(crate) fn start_many(self) -> io::Result<()> {
        match self {
            Self::Aios => ask(&Request::Start { name: ALL.into() }),
            Self::S6 | Self::Runit => many().iter().try_for_each(|name| self.start(name)),
        }
    }

    /// Has all of the many stopped.
    pub(crate) fn stop_many(self) -> io::Result<()> {
        if self == Self::Aios {
            self.stop(ALL)?;
        }
        many().iter().rev().try_for_each(|name| self.stop(name))
    }

    pub(crate) fn start(self, name: &str) -> io::Result<()> {
        match self {
            Self::Aios => ask(&Request::Start { name: name.into() }),
            Self::S6 | Self::Runit => pipe(name)?.write_all(b"u"),
        }
    }

    pub(crate) fn stop(self, name: &str) -> io::Result<()> {
        match self {
            Self::Aios => ask(&Request::Stop { name: name.into() }),
            Self::S6 | Self::Runit => pipe(name)?.write_all(b"d"),
        }
    }

    /// Has the state of every service printed to nobody, by the system's own tool.
    pub(crate) fn list(self) -> io::Result<()> {
        let places = || many().into_iter().chain([ONE.to_owned()]).map(|name| format!("{SERVICES}/{name}"));
        match self {
            Self::Aios => run(Command::new("/usr/bin/aios").args(["service", "list"])),
            // It takes one service.
            Self::S6 => places().try_for_each(|place| run(Command::new("/usr/bin/s6-svstat").arg(place))),
            Self::Runit => run(Command::new("/usr/bin/sv").arg("status").args(places())),
        }
    }
}

fn pipe(name: &str) -> io::Result<fs::File> {
    let path = format!("{SERVICES}/{name}/supervise/control");
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    OpenOptions::new().write(true).custom_flags(nonblocking).open(path)
}

fn run(command: &mut Command) -> io::Result<()> {
    let ended = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit()).status()?;
    if ended.success() { Ok(()) } else { Err(io::Error::other(format!("{command:?} ended with {ended}"))) }
}

fn ask(request: &Request) -> io::Result<()> {
    let mut stream = UnixStream::connect(format!("{}/init", aios_wire::SOCKET_DIR))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&serde_json::to_vec(request)?)?;
    stream.write_all(b"\n")?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    match serde_json::from_str(&answer)? {
        Reply::Refused { reason } => Err(io::Error::other(format!("PID 1 refused {}: {reason}", request.verb()))),
        _ => Ok(()),
    }
}
