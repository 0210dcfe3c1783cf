//! A service that does nothing but say that it runs, and the place where that is heard.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

/// Where services say that they run.
const PLACE: &str = "/run/init-load.socket";

/// Longer than anything takes that is measured here: who is silent for so long does not start.
const PATIENCE: Duration = Duration::from_secs(120);

/// Says that it runs, and then waits for its end.
pub(crate) fn serve(name: &str) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    // Nobody listens when the machine starts.
    let _ = socket.send_to(format!("{name} {}", std::process::id()).as_bytes(), PLACE);
    drop(socket);
    loop {
        std::thread::park();
    }
}

/// Hears services start.
pub(crate) struct Ear {
    socket: UnixDatagram,
    /// The process of each service that runs.
    running: BTreeMap<String, u32>,
}

impl Ear {
    pub(crate) fn open() -> io::Result<Self> {
        let _ = fs::remove_file(PLACE);
        let socket = UnixDatagram::bind(PLACE)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { socket, running: BTreeMap::new() })
    }

    /// Waits until each of these has started; gives the moment of the last. What was known of them is forgotten before.
    pub(crate) fn wait_for(&mut self, names: &[String]) -> io::Result<Instant> {
        let mut missing: Vec<&String> = names.iter().collect();
        while !missing.is_empty() {
            let mut buffer = [0; 128];
            let length = self.socket.recv(&mut buffer).map_err(|error| {
                io::Error::new(error.kind(), format!("{} services do not start, {:?} first", missing.len(), missing[0]))
            })?;
            let Some((name, process)) = heard(&buffer[..length]) else { continue };
            missing.retain(|missing| *missing != name);
            self.running.insert(name.to_owned(), process);
        }
        Ok(Instant::now())
    }

    /// The process that last said that it is this service.
    pub(crate) fn process(&self, name: &str) -> io::Result<rustix::process::Pid> {
        let process = self.running.get(name).and_then(|process| i32::try_from(*process).ok());
        let process = process.and_then(rustix::process::Pid::from_raw);
        process.ok_or_else(|| io::Error::other(format!("{name} never said that it runs")))
    }

    /// Waits until none of the processes of these services is there any more.
    pub(crate) fn wait_for_ends(&self, names: &[String]) -> io::Result<()> {
        let end = Instant::now() + PATIENCE;
        for name in names {
            let process = self.process(name)?;
            while rustix::process::test_kill_process(process).is_ok() {
                if Instant::now() > end {
                    return Err(io::Error::other(format!("{name} does not end")));
                }
                std::thread::sleep(Duration::from_micros(500));
            }
        }
        Ok(())
    }
}

/// `many-007 123`.
fn heard(bytes: &[u8]) -> Option<(&str, u32)> {
    let (name, process) = std::str::from_utf8(bytes).ok()?.split_once(' ')?;
    Some((name, process.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_service_says_is_read() {
        assert_eq!(heard(b"many-007 123"), Some(("many-007", 123)));
        for other in [&b"many-007"[..], b"many-007 x", b"\xff 1", b""] {
            assert_eq!(heard(other), None);
        }
    }
}
