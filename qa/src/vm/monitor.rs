//! The machine's monitor (QMP): power, pictures of the screen, media.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::VmError;

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(60);

/// A connection to the monitor of one machine.
#[derive(Debug)]
pub(super) struct Monitor {
    reader: BufReader<UnixStream>,
}

impl Monitor {
    /// Connects; the socket appears shortly after the machine was started.
    pub(super) fn connect(socket: &Path) -> Result<Self, VmError> {
        let end = Instant::now() + Duration::from_secs(60);
        let stream = loop {
            match UnixStream::connect(socket) {
                Ok(stream) => break stream,
                Err(_) if Instant::now() < end => std::thread::sleep(Duration::from_millis(20)),
                Err(source) => return Err(VmError::File { what: "connect to", path: socket.into(), source }),
            }
        };
        stream.set_read_timeout(Some(ANSWER)).map_err(VmError::file("set a time limit on", socket))?;
        let mut monitor = Self { reader: BufReader::new(stream) };
        monitor.line("connecting")?;
        monitor.execute("qmp_capabilities", json!({}))?;
        Ok(monitor)
    }

    /// Carries out one command and gives its answer; events that come in between are of no interest here.
    pub(super) fn execute(&mut self, command: &str, arguments: Value) -> Result<Value, VmError> {
        let failed = |reason: String| VmError::Monitor { command: command.to_owned(), reason };
        let request = json!({ "execute": command, "arguments": arguments });
        writeln!(self.reader.get_mut(), "{request}").map_err(|error| failed(error.to_string()))?;
        loop {
            let mut answer = self.line(command)?;
            if let Some(error) = answer.get("error") {
                return Err(failed(error["desc"].as_str().unwrap_or("no reason given").to_owned()));
            }
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
        }
    }

    /// Waits until the machine has been reset, by whomever.
    pub(super) fn wait_for_reset(&mut self, limit: Duration) -> Result<(), VmError> {
        let what = "waiting for a reset";
        let timed = |reader: &BufReader<UnixStream>, limit| {
            let set = reader.get_ref().set_read_timeout(Some(limit));
            set.map_err(|error| VmError::Monitor { command: what.to_owned(), reason: error.to_string() })
        };
        timed(&self.reader, limit)?;
        while self.line(what)?["event"] != "RESET" {}
        timed(&self.reader, ANSWER)
    }

    fn line(&mut self, command: &str) -> Result<Value, VmError> {
        let failed = |reason: String| VmError::Monitor { command: command.to_owned(), reason };
        let mut line = String::new();
        match self.reader.read_line(&mut line) {
            Ok(0) => Err(failed("the machine ended".into())),
            Ok(_) => serde_json::from_str(&line).map_err(|error| failed(error.to_string())),
            Err(error) => Err(failed(error.to_string())),
        }
    }
}
