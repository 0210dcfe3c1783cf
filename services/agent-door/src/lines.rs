//! An agent's lines as messages: each is measured before it is kept and weighed before it is read.
//!
//! rmcp has a transport of its own for lines. It keeps what it made room for, reads ahead, and makes a tree of any line: one
//! of 512 KiB becomes some 40 MiB of small values. What is no request is told to [`Lines::refused`] and answered.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rmcp::model::{GetExtensions as _, JsonRpcMessage};
use rmcp::service::{RxJsonRpcMessage, TxJsonRpcMessage};
use rmcp::transport::Transport;
use rmcp::{ErrorData, RoleServer};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

use crate::room::{LongLine, Taken, Visit};

/// The longest line that can be a request: the longest request with every character escaped.
const LINE: usize = 512 << 10;
/// A line that gets longer waits for a place. Few requests do.
const SHORT: usize = 8 << 10;
/// So much is read at once.
const PIECE: usize = 4 << 10;
/// A long line has to be whole so soon after it was given a place, which others want.
const PATIENCE: Duration = Duration::from_secs(10);
/// So many values a request may have, and so deep in each other. None of the catalogue has a tenth of it.
const VALUES: usize = 1024;
const DEPTH: usize = 24;

/// Both directions of one conversation.
pub(crate) struct Lines<R, W, F> {
    from: BufReader<R>,
    to: Arc<Mutex<W>>,
    visit: Arc<Visit>,
    refused: F,
    line: Vec<u8>,
    long_line: Option<(LongLine, Instant)>,
    patience: Duration,
    /// The line is too long and not kept.
    skipping: Skipping,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Skipping {
    No,
    ToItsEnd,
}

impl<R: AsyncRead + Unpin, W, F> Lines<R, W, F> {
    /// `refused` is told of each line that is no request.
    pub(crate) fn new(from: R, to: W, visit: Arc<Visit>, refused: F) -> Self {
        Self {
            from: BufReader::with_capacity(PIECE, from),
            to: Arc::new(Mutex::new(to)),
            visit,
            refused,
            line: Vec::new(),
            long_line: None,
            patience: PATIENCE,
            skipping: Skipping::No,
        }
    }

    /// The next line with the place that it takes; none at the end; an error says why there will be no more. May be dropped
    /// and begun again: what was read stays.
    async fn next(&mut self) -> io::Result<Option<Result<(Vec<u8>, Option<LongLine>), &'static str>>> {
        loop {
            if self.line.is_empty() && self.skipping == Skipping::No {
                self.visit.has_room().await;
            }
            if self.line.len() >= SHORT && self.long_line.is_none() {
                self.long_line = Some((self.visit.long_line().await, Instant::now() + self.patience));
            }
            let read = self.from.fill_buf();
            let piece = match &self.long_line {
                None => read.await?,
                Some((_, until)) => timeout_at(*until, read).await.map_err(|_| {
                    io::Error::new(io::ErrorKind::TimedOut, "a long line did not end while others waited for its place")
                })??,
            };
            if piece.is_empty() {
                return Ok(None);
            }
            let end = piece.iter().position(|byte| *byte == b'\n');
            let length = end.map_or(piece.len(), |end| end + 1);
            let fits = self.skipping == Skipping::No && self.line.len() + length <= LINE;
            if fits {
                self.line.extend_from_slice(&piece[..length]);
            }
            self.from.consume(length);
            if !fits {
                self.line = Vec::new();
                self.long_line = None;
            }
            match (end, fits) {
                (None, true) => {}
                (None, false) => self.skipping = Skipping::ToItsEnd,
                (Some(_), true) => {
                    let long_line = self.long_line.take().map(|(place, _)| place);
                    return Ok(Some(Ok((std::mem::take(&mut self.line), long_line))));
                }
                (Some(_), false) => {
                    self.skipping = Skipping::No;
                    return Ok(Some(Err("a line is longer than any request")));
                }
            }
        }
    }
}

/// The message that a line is; the error is for the agent.
fn message(line: &[u8]) -> Result<RxJsonRpcMessage<RoleServer>, &'static str> {
    if !is_light(line) {
        return Err("a line has more values than any request, or deeper ones");
    }
    serde_json::from_slice(line).map_err(|_| "a line is no message of the protocol")
}

/// Whether what the line is made into stays in proportion to its length.
fn is_light(line: &[u8]) -> bool {
    let (mut values, mut depth) = (1, 0_usize);
    let mut bytes = line.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => loop {
                match bytes.next() {
                    Some(b'\\') => drop(bytes.next()),
                    Some(b'"') | None => break,
                    Some(_) => {}
                }
            },
            b'[' | b'{' => {
                depth += 1;
                values += 1;
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b',' => values += 1,
            _ => {}
        }
        if values > VALUES || depth > DEPTH {
            return false;
        }
    }
    true
}

impl<R, W, F> Transport<RoleServer> for Lines<R, W, F>
where
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin + Send + 'static,
    F: Fn() + Send,
{
    type Error = io::Error;

    fn send(&mut self, item: TxJsonRpcMessage<RoleServer>) -> impl Future<Output = io::Result<()>> + Send + 'static {
        let to = Arc::clone(&self.to);
        // An answer that the agent does not take counts like a call.
        let unheard = self.visit.call();
        async move {
            let mut to = to.lock().await;
            let mut line = serde_json::to_vec(&item)?;
            drop(item);
            line.push(b'\n');
            to.write_all(&line).await?;
            to.flush().await?;
            drop(unheard);
            Ok(())
        }
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleServer>> {
        loop {
            let line = match self.next().await {
                Ok(line) => line?,
                Err(error) => {
                    eprintln!("{}: nothing more is read: {error}", self.visit.agent().name());
                    return None;
                }
            };
            let (read, long_line) = match line {
                Ok((line, _)) if line.trim_ascii().is_empty() => continue,
                Ok((line, long_line)) => (message(&line), long_line),
                Err(why) => (Err(why), None),
            };
            let taken = || Taken::new(self.visit.call(), long_line);
            match read {
                Ok(JsonRpcMessage::Request(mut request)) => {
                    request.request.extensions_mut().insert(taken());
                    return Some(JsonRpcMessage::Request(request));
                }
                Ok(JsonRpcMessage::Notification(mut notification)) => {
                    notification.notification.extensions_mut().insert(taken());
                    return Some(JsonRpcMessage::Notification(notification));
                }
                // The door asks nothing, so nothing is an answer.
                Ok(JsonRpcMessage::Response(_) | JsonRpcMessage::Error(_)) => {}
                Err(why) => {
                    (self.refused)();
                    let error = ErrorData::invalid_request(why, None);
                    tokio::spawn(self.send(JsonRpcMessage::error(error, None)));
                }
            }
        }
    }

    async fn close(&mut self) -> io::Result<()> {
        self.to.lock().await.shutdown().await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use proptest::prelude::*;
    use rmcp::model::{ListToolsResult, PaginatedRequestParams};
    use rmcp::service::RequestContext;
    use rmcp::{ServerHandler, ServiceExt as _};
    use serde_json::{Value, json};
    use tokio::io::{AsyncReadExt as _, DuplexStream, ReadHalf, WriteHalf};

    use super::*;
    use crate::room::Room;

    /// What the pipe itself holds of what a client wrote.
    const PIPE: usize = 1 << 10;

    type Conversation = Lines<ReadHalf<DuplexStream>, WriteHalf<DuplexStream>, fn()>;

    fn conversation(room: &Room, agent: &str) -> (DuplexStream, Conversation) {
        let (there, here) = tokio::io::duplex(PIPE);
        let (from, to) = tokio::io::split(here);
        (there, Lines::new(from, to, Arc::new(room.let_in(agent).expect("room")), || ()))
    }

    fn call(id: usize, content: &str) -> String {
        let arguments = json!({"name": "a", "content": content});
        let params = json!({"name": "object.put", "arguments": arguments});
        format!("{}\n", json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}))
    }

    fn id(message: Option<RxJsonRpcMessage<RoleServer>>) -> Option<String> {
        match message? {
            JsonRpcMessage::Request(request) => Some(request.id.to_string()),
            other => panic!("no request: {other:?}"),
        }
    }

    #[tokio::test]
    async fn lines_short_and_long_are_messages_in_their_order() {
        let (mut there, mut lines) = conversation(&Room::default(), "one");
        let long = "\\u0041".repeat(32 << 10);
        let write = async {
            for (number, content) in ["x", &long, "y"].into_iter().enumerate() {
                there.write_all(call(number, "CONTENT").replace("CONTENT", content).as_bytes()).await.expect("written");
            }
            drop(there);
        };
        let read = async {
            let mut ids = Vec::new();
            while let Some(id) = id(lines.receive().await) {
                ids.push(id);
            }
            ids
        };
        assert_eq!(tokio::join!(write, read).1, ["0", "1", "2"]);
    }

    struct Tools;

    impl ServerHandler for Tools {
        async fn list_tools(
            &self,
            _page: Option<PaginatedRequestParams>,
            _context: RequestContext<RoleServer>,
        ) -> Result<ListToolsResult, ErrorData> {
            Ok(ListToolsResult::with_all_items(crate::tools::all()))
        }
    }

    #[tokio::test]
    async fn who_speaks_the_protocol_is_answered_as_often_as_it_asks() {
        let (there, lines) = conversation(&Room::default(), "one");
        let server = tokio::spawn(async move { Tools.serve(lines).await.expect("they meet").waiting().await });
        let client = ().serve(tokio::io::split(there)).await.expect("they meet");
        // More often than calls may be worked on at a time: what a call takes is given back.
        for _ in 0..20 {
            assert_eq!(client.list_all_tools().await.expect("an answer").len(), crate::tools::all().len());
        }
        client.cancel().await.expect("it ends");
        server.await.expect("it ends").expect("it ends");
    }

    #[tokio::test]
    async fn what_is_no_request_is_counted_and_answered_and_what_follows_is_read() {
        let (mut there, here) = tokio::io::duplex(4 << 20);
        let (from, to) = tokio::io::split(here);
        let refused = Arc::new(AtomicU64::new(0));
        let counts = {
            let refused = Arc::clone(&refused);
            move || {
                refused.fetch_add(1, Ordering::Relaxed);
            }
        };
        let mut lines = Lines::new(from, to, Arc::new(Room::default().let_in("one").expect("room")), counts);
        let heavy = call(2, "HEAVY").replace("\"HEAVY\"", &format!("[{}0]", "[],".repeat(VALUES)));
        for line in ["\u{0}noise\n", "[1]\n", "\n", &heavy, &format!("{}\n", "[".repeat(LINE + 1)), &call(7, "x")] {
            there.write_all(line.as_bytes()).await.expect("written");
        }
        assert_eq!(id(lines.receive().await).as_deref(), Some("7"));
        assert_eq!(refused.load(Ordering::Relaxed), 4);
        let mut answers = Vec::new();
        while answers.iter().filter(|byte| **byte == b'\n').count() < 4 {
            there.read_buf(&mut answers).await.expect("an answer");
        }
        for answer in answers.trim_ascii().split(|byte| *byte == b'\n') {
            let answer: Value = serde_json::from_slice(answer).expect("JSON");
            assert_eq!(answer["error"]["code"], -32600, "{answer}");
        }
    }

    #[tokio::test]
    async fn what_all_can_fill_together_with_lines_without_an_end_is_bounded() {
        let room = Room::default();
        let filled = Arc::new(AtomicU64::new(0));
        let mut conversations = Vec::new();
        for agent in 0..8 {
            for _ in 0..8 {
                let (mut there, mut lines) = conversation(&room, &agent.to_string());
                let filled = Arc::clone(&filled);
                conversations.push(tokio::spawn(async move {
                    let write = async {
                        for _ in 0..(LINE >> 10) - 1 {
                            if there.write_all(&[b'['; 1 << 10]).await.is_err() {
                                break;
                            }
                            filled.fetch_add(1 << 10, Ordering::Relaxed);
                        }
                        std::future::pending::<()>().await;
                    };
                    tokio::join!(write, lines.receive());
                }));
            }
        }
        let mut before = u64::MAX;
        while before != filled.load(Ordering::Relaxed) {
            before = filled.load(Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let each = (SHORT + 2 * PIECE + PIPE) as u64;
        assert!(before <= 64 * each + 8 * LINE as u64, "{before}");
        assert!(before >= 8 * (LINE as u64 - 1024), "eight long lines are taken: {before}");
        for conversation in conversations {
            conversation.abort();
        }
    }

    #[tokio::test]
    async fn a_long_line_that_does_not_end_gives_its_place_to_others() {
        let room = Room::default();
        let (mut slow, mut endless) = conversation(&room, "one");
        endless.patience = Duration::from_millis(50);
        let filling = tokio::spawn(async move {
            let _ = slow.write_all(&[b'['; 20 << 10]).await;
            slow
        });
        let (mut there, mut lines) = conversation(&room, "one");
        let line = call(1, &"x".repeat(20 << 10));
        let (ended, read, _) = tokio::join!(
            async {
                let ended = endless.receive().await.is_none();
                drop(endless);
                ended
            },
            lines.receive(),
            there.write_all(line.as_bytes())
        );
        assert!(ended);
        assert_eq!(id(read).as_deref(), Some("1"));
        drop(filling.await);
    }

    #[tokio::test]
    async fn who_does_not_listen_is_not_read() {
        let (mut there, mut lines) = conversation(&Room::default(), "one");
        let noise = tokio::spawn(async move {
            let mut lines = 0;
            while tokio::time::timeout(Duration::from_millis(200), there.write_all(&[b'x'; 127])).await.is_ok()
                && tokio::time::timeout(Duration::from_millis(200), there.write_all(b"\n")).await.is_ok()
            {
                lines += 1;
            }
            (there, lines)
        });
        let read = tokio::time::timeout(Duration::from_secs(2), lines.receive()).await;
        assert!(read.is_err());
        let (_there, lines) = noise.await.expect("it ends");
        assert!(lines < 100, "{lines}");
    }

    proptest! {
        #[test]
        fn no_line_panics_and_none_becomes_more_than_its_weight(line in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = message(&line);
        }

        #[test]
        fn what_is_light_has_few_values(text in "[\\[\\]{}:,\"\\\\ 0a]{0,60}") {
            fn count(value: &Value) -> usize {
                1 + match value {
                    Value::Array(items) => items.iter().map(count).sum(),
                    Value::Object(fields) => fields.values().map(count).sum(),
                    _ => 0,
                }
            }
            let many = format!("[{text},{}0]", "0,".repeat(VALUES - 40));
            if let Ok(value) = serde_json::from_str::<Value>(&many) {
                prop_assert!(!is_light(many.as_bytes()) || count(&value) <= VALUES, "{many}");
            }
        }
    }
}
