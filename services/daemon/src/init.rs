//! Asking PID 1: one line of JSON each way.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use aios_wire::MESSAGE_LIMIT;
use aios_wire::init::{Reply, Request};

/// PID 1 answers from memory; longer than this means that it is not PID 1 that answers.
const PATIENCE: Duration = Duration::from_secs(5);

/// PID 1 could not be asked or refused.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The socket is not there or does not answer.
    #[error("cannot reach PID 1 on {socket}")]
    Reach {
        /// Where it should be.
        socket: String,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
    /// The answer is not one that this system knows.
    #[error("PID 1 gave an answer that cannot be read")]
    Answer(#[source] serde_json::Error),
    /// PID 1 said no.
    #[error("PID 1 refused: {0}")]
    Refused(String),
}

/// Asks PID 1. A refusal is an error.
pub fn ask(request: &Request) -> Result<Reply, AskError> {
    ask_at(&Path::new(aios_wire::SOCKET_DIR).join("init"), request)
}

/// Asks PID 1 something that it may answer only after `wait`.
pub fn ask_patiently(request: &Request, wait: Duration) -> Result<Reply, AskError> {
    let socket = Path::new(aios_wire::SOCKET_DIR).join("init");
    let reach = |source| AskError::Reach { socket: socket.display().to_string(), source };
    exchange(UnixStream::connect(&socket).map_err(reach)?, request, PATIENCE + wait)
}

fn ask_at(socket: &Path, request: &Request) -> Result<Reply, AskError> {
    let reach = |source| AskError::Reach { socket: socket.display().to_string(), source };
    let stream = UnixStream::connect(socket).map_err(reach)?;
    ask_on(stream, request).map_err(|error| match error {
        AskError::Reach { source, .. } => reach(source),
        other => other,
    })
}

/// Asks PID 1 over a connection that somebody opened: PID 1 sees who opened it.
pub fn ask_on(stream: UnixStream, request: &Request) -> Result<Reply, AskError> {
    exchange(stream, request, PATIENCE)
}

fn exchange(mut stream: UnixStream, request: &Request, patience: Duration) -> Result<Reply, AskError> {
    let reach = |source| AskError::Reach { socket: "a passed connection".into(), source };
    let mut line = serde_json::to_vec(request).expect("a request has only text keys");
    line.push(b'\n');
    stream.set_read_timeout(Some(patience)).map_err(reach)?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(reach)?;
    stream.write_all(&line).map_err(reach)?;
    let mut answer = String::new();
    BufReader::new(stream.take(MESSAGE_LIMIT as u64)).read_line(&mut answer).map_err(reach)?;
    match serde_json::from_str(&answer).map_err(AskError::Answer)? {
        Reply::Refused { reason } => Err(AskError::Refused(reason)),
        reply => Ok(reply),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    fn answered(answer: &'static str) -> Result<Reply, AskError> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("init");
        let listener = UnixListener::bind(&path).expect("a socket");
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a caller");
            let mut line = String::new();
            BufReader::new(stream.try_clone().expect("a copy")).read_line(&mut line).expect("a line");
            stream.write_all(answer.as_bytes()).expect("written");
            line
        });
        let reply = ask_at(&path, &Request::Identify { cgroup: 7 });
        assert_eq!(server.join().expect("no panic"), "{\"verb\":\"identify\",\"cgroup\":7}\n");
        reply
    }

    #[test]
    fn an_answer_is_read_and_a_refusal_is_an_error() {
        assert_eq!(answered("{\"reply\":\"identity\",\"peer\":null}\n").ok(), Some(Reply::Identity { peer: None }));
        let refused = answered("{\"reply\":\"refused\",\"reason\":\"closed\"}\n").expect_err("refused");
        assert_eq!(refused.to_string(), "PID 1 refused: closed");
        assert!(matches!(answered("nonsense\n"), Err(AskError::Answer(_))));
        assert!(matches!(answered(""), Err(AskError::Answer(_))));
    }
}
