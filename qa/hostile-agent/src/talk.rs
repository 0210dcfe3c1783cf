//! What an agent can do at the door besides asking: it says too much, too little, in pieces, twice, or in another language.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use serde_json::{Value, json};

use crate::Came;
use crate::door::{Answer, Door, understood};
use crate::draw::Draw;

/// How long the door may take to say that it did not understand.
const REPLY: Duration = Duration::from_secs(2);

/// What the door makes of something that is no request: an error, silence, or the end of the conversation.
fn heard(door: &mut Door) -> io::Result<Came> {
    door.socket().set_read_timeout(Some(REPLY))?;
    match door.next() {
        Ok(message) if message["result"].is_null() => Ok(refused("answered with an error")),
        Ok(message) => Ok(Came::Through(message.to_string().chars().take(60).collect())),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(refused("not answered")),
        Err(_) => Ok(refused("hung up on")),
    }
}

fn refused(word: &str) -> Came {
    Came::Refused(word.to_owned())
}

/// A request that is denied whenever it is understood.
fn forbidden(draw: &mut Draw) -> Value {
    json!({"key": "hostname", "value": format!("mine-{}", draw.below(1000))})
}

fn came(answer: Answer) -> Came {
    match answer {
        Answer::Refused(word) => Came::Refused(word),
        Answer::Waits => Came::Waits,
        Answer::Ended(state) => Came::Through(state),
    }
}

/// Bytes that are no message.
pub(crate) fn noise(draw: &mut Draw) -> io::Result<Came> {
    let mut door = Door::knock()?;
    let mut bytes: Vec<u8> = (0..draw.below(4000)).map(|_| draw.number() as u8).collect();
    bytes.push(b'\n');
    door.send_bytes(&bytes)?;
    heard(&mut door)
}

/// The greeting of the services' own protocol.
pub(crate) fn another_language(_: &mut Draw) -> io::Result<Came> {
    let mut door = Door::knock()?;
    door.send_bytes(b"\0AUTH EXTERNAL 30\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n")?;
    heard(&mut door)
}

/// A line without an end, up to some MiB.
pub(crate) fn a_huge_line(draw: &mut Draw) -> io::Result<Came> {
    let mut door = Door::knock()?;
    let piece = vec![b'['; 1 << 20];
    for _ in 0..1 + draw.below(24) {
        if door.send_bytes(&piece).is_err() {
            return Ok(refused("hung up on"));
        }
    }
    Ok(refused("not answered"))
}

/// A parameter in very many brackets.
pub(crate) fn a_deep_value(draw: &mut Draw) -> io::Result<Came> {
    let mut door = Door::open()?;
    let depth = 100 + draw.below(50_000);
    let value = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
        "name": "settings.set", "arguments": {"key": "hostname", "value": "DEEP"},
    }});
    door.send_bytes(format!("{call}\n").replace("\"DEEP\"", &value).as_bytes())?;
    heard(&mut door)
}

/// The same name twice: whoever reads the first and whoever reads the last must not both be asked.
pub(crate) fn a_name_twice(_: &mut Draw) -> io::Result<Came> {
    let mut door = Door::open()?;
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
        "name": "service.restart", "arguments": {"TWICE": 0},
    }});
    let both = "\"name\":\"network\",\"name\":\"policy-kernel\"";
    door.send_bytes(format!("{call}\n").replace("\"TWICE\":0", both).as_bytes())?;
    door.answer(1).map(|answer| came(understood(&answer)))
}

/// A request in pieces of a few bytes.
pub(crate) fn in_pieces(draw: &mut Draw) -> io::Result<Came> {
    let mut door = Door::open()?;
    let message = format!("{}\n", door.message("settings.set", &forbidden(draw)));
    let mut rest = message.as_bytes();
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(rest.len().min(1 + draw.below(40)));
        door.send_bytes(piece)?;
        std::thread::sleep(Duration::from_millis(1));
        rest = after;
    }
    door.answer(1).map(|answer| came(understood(&answer)))
}

/// Half a request, and nobody there for the rest.
pub(crate) fn half(draw: &mut Draw) -> io::Result<Came> {
    let mut door = Door::open()?;
    let message = door.message("settings.set", &forbidden(draw)).to_string();
    door.send_bytes(&message.as_bytes()[..message.len() / 2])?;
    Ok(refused("not answered"))
}

/// A request before the introduction.
pub(crate) fn without_introduction(draw: &mut Draw) -> io::Result<Came> {
    let mut door = Door::knock()?;
    let message = door.message("settings.set", &forbidden(draw));
    door.send(&message)?;
    heard(&mut door)
}

/// A method that there is not.
pub(crate) fn another_method(draw: &mut Draw) -> io::Result<Came> {
    let mut door = Door::open()?;
    let method =
        draw.one(&["approvals/approve", "policy/load", "tools/add", "logging/setLevel", "sampling/createMessage"]);
    door.send(&json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": {"id": "apr_1", "by": "operator:live"}}))?;
    heard(&mut door)
}

/// A request sent twice to the byte: one action, whatever is answered.
pub(crate) fn again(draw: &mut Draw) -> io::Result<Came> {
    let mut door = Door::open()?;
    let mut arguments = forbidden(draw);
    arguments["idempotency_key"] = json!(format!("again-{}", draw.number()));
    let message = door.message("settings.set", &arguments);
    let mut actions = Vec::new();
    let mut last = Came::Refused(String::new());
    for _ in 0..2 {
        door.send(&message)?;
        let answer = door.answer(1)?;
        actions.extend(answer["result"]["structuredContent"]["action"].as_str().map(str::to_owned));
        last = came(understood(&answer));
    }
    actions.dedup();
    Ok(if actions.len() > 1 { Came::Through("two actions".into()) } else { last })
}

/// Another request under the key of one that was asked before.
pub(crate) fn swapped(draw: &mut Draw) -> io::Result<Came> {
    let mut door = Door::open()?;
    let key = format!("swapped-{}", draw.number());
    let arguments = |value: &str| json!({"key": "hostname", "value": value, "idempotency_key": key});
    door.call("settings.set", &arguments("mine"))?;
    door.call("settings.set", &arguments("also-mine")).map(came)
}

/// Descriptors beside a request.
pub(crate) fn with_descriptors(draw: &mut Draw) -> io::Result<Came> {
    let mut door = Door::open()?;
    let message = format!("{}\n", door.message("settings.set", &forbidden(draw)));
    let stdin = io::stdin();
    let sent =
        aios_linux::scm::send(door.socket(), message.as_bytes(), &[stdin.as_fd(); 8]).map_err(io::Error::from)?;
    door.send_bytes(&message.as_bytes()[sent..])?;
    door.answer(1).map(|answer| came(understood(&answer)))
}

/// Questions with long answers, and nobody who reads them.
pub(crate) fn without_listening(draw: &mut Draw) -> io::Result<Came> {
    let mut door = Door::open()?;
    door.socket().set_write_timeout(Some(REPLY))?;
    for id in 1..=100 + draw.below(400) {
        if door.send(&json!({"jsonrpc": "2.0", "id": id, "method": "tools/list"})).is_err() {
            return Ok(refused("not read any more"));
        }
    }
    Ok(refused("not answered"))
}

/// Many requests before the first answer is read.
pub(crate) fn all_at_once(draw: &mut Draw) -> io::Result<Came> {
    let mut door = Door::open()?;
    let many = 8 + draw.below(8);
    for _ in 0..many {
        let message = door.message("settings.set", &forbidden(draw));
        door.send(&message)?;
    }
    let mut last = Came::Refused(String::new());
    for _ in 0..many {
        last = came(understood(&door.next()?));
    }
    Ok(last)
}

/// As many conversations as it can hold.
pub(crate) fn a_crowd_at_the_door(_: &mut Draw) -> io::Result<Came> {
    let mut doors = Vec::new();
    for _ in 0..200 {
        match Door::knock() {
            Ok(door) => doors.push(door),
            Err(_) => return Ok(refused("closed to more")),
        }
    }
    let mut last = refused("not answered");
    for door in &mut doors[190..] {
        door.send_bytes(b"?\n").ok();
        last = heard(door)?;
    }
    Ok(last)
}
