//! The agents' door as a program without a library speaks to it: one JSON message a line.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::{Value, json};

/// The one socket that an agent sees.
pub(crate) const PATH: &str = "/run/aios/agent-door";

/// What the door says to one conversation too many.
const NO_ROOM: i64 = -32_000;

/// No answer takes longer, even of a machine under translation.
const PATIENCE: Duration = Duration::from_secs(120);

/// What the door said to a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Nothing came of it, for this reason: its code, or the beginning of the text where there is no code.
    Refused(String),
    /// A person is asked.
    Waits,
    /// It went on to this state.
    Ended(String),
}

/// A conversation.
#[derive(Debug)]
pub(crate) struct Door {
    stream: BufReader<UnixStream>,
    last: u64,
}

impl Door {
    /// Knocks and introduces itself.
    pub(crate) fn open() -> io::Result<Self> {
        let mut door = Self::knock()?;
        let said = door.send(&json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
            "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "hostile", "version": "0"},
        }}));
        // Who is turned away hears why, also when the door was quicker.
        door.answer(0).and(said)?;
        door.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))?;
        Ok(door)
    }

    /// Knocks and says nothing.
    pub(crate) fn knock() -> io::Result<Self> {
        let stream = UnixStream::connect(PATH)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream: BufReader::new(stream), last: 0 })
    }

    /// Asks for an action and waits for what becomes of it.
    pub(crate) fn call(&mut self, tool: &str, arguments: &Value) -> io::Result<Answer> {
        let message = self.message(tool, arguments);
        self.send(&message)?;
        self.answer(self.last).map(|answer| understood(&answer))
    }

    /// The message of a call, not sent yet.
    pub(crate) fn message(&mut self, tool: &str, arguments: &Value) -> Value {
        self.last += 1;
        let call = json!({"name": tool, "arguments": arguments});
        json!({"jsonrpc": "2.0", "id": self.last, "method": "tools/call", "params": call})
    }

    pub(crate) fn send(&mut self, message: &Value) -> io::Result<()> {
        self.send_bytes(format!("{message}\n").as_bytes())
    }

    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// What is behind it.
    pub(crate) fn socket(&self) -> &UnixStream {
        self.stream.get_ref()
    }

    /// The answer to the message with this number.
    pub(crate) fn answer(&mut self, id: u64) -> io::Result<Value> {
        loop {
            let message = self.next()?;
            if message["error"]["code"] == NO_ROOM {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            if message["id"] == id {
                return Ok(message);
            }
        }
    }

    /// What comes next.
    pub(crate) fn next(&mut self) -> io::Result<Value> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the door was closed"));
        }
        serde_json::from_str(&line).map_err(io::Error::from)
    }
}

/// What an answer to a call means.
pub(crate) fn understood(answer: &Value) -> Answer {
    let result = &answer["result"];
    let text = result["content"][0]["text"].as_str().or(answer["error"]["message"].as_str()).unwrap_or_default();
    let state = result["structuredContent"]["state"].as_str().unwrap_or_default();
    match state {
        "waiting" => Answer::Waits,
        "" | "denied" => Answer::Refused(word(text)),
        // It began, and came to nothing or was undone.
        "failed" | "rolled-back" => Answer::Ended(format!("{state}: {}", shortened(text))),
        _ => Answer::Ended(state.to_owned()),
    }
}

/// The reason's code in `denied (Code): …`, or what stands for the refusals that have none.
fn word(text: &str) -> String {
    if let Some((code, _)) = text.strip_prefix("denied (").and_then(|rest| rest.split_once(')')) {
        return code.to_owned();
    }
    for (part, word) in [
        ("has used up its", "used up"),
        ("unfinished actions", "too many unfinished"),
        ("the request was not taken", "no action"),
        ("belongs to", "key taken"),
        ("the program was not tried", "NotTried"),
    ] {
        if text.contains(part) {
            return word.to_owned();
        }
    }
    shortened(text)
}

fn shortened(text: &str) -> String {
    text.chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_what_it_says() {
        let answer = |state: &str, text: &str| json!({"result": {"content": [{"type": "text", "text": text}], "structuredContent": {"state": state}}});
        let refused = |word: &str| Answer::Refused(word.to_owned());
        assert_eq!(understood(&answer("denied", "denied (NoMatchingPermit): no")), refused("NoMatchingPermit"));
        assert_eq!(understood(&answer("waiting", "a person")), Answer::Waits);
        assert_eq!(understood(&answer("succeeded", "done")), Answer::Ended("succeeded".into()));
        let untaken = json!({"result": {"content": [{"text": "it could not: the request was not taken: no type"}]}});
        assert_eq!(understood(&untaken), refused("no action"));
        assert_eq!(
            understood(&json!({"error": {"code": -32601, "message": "tools/approve"}})),
            refused("tools/approve")
        );
    }
}
