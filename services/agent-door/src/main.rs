//! Where agents ask: the Model Context Protocol on a socket, with the catalogue of actions as the tools.
//!
//! The door knows its caller from the kernel, hands the request and the caller's process handle to the action runtime,
//! and returns the answer. It decides nothing, keeps nothing, and offers nothing that is not an action: there is no tool
//! that approves, and none that reads the machine.

mod lines;
mod room;
mod tally;
mod tools;

use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;

use aios_action::{ActionView, Request, State};
use aios_daemon::proxy::{Actions1Proxy, Evidence1Proxy};
use aios_daemon::{Caller, Fatal, Piece, Work};
use lines::Lines;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ErrorCode, ListToolsResult, PaginatedRequestParams,
    ServerCapabilities, ServerConfig,
};
use rmcp::service::{RequestContext, TxJsonRpcMessage};
use rmcp::{ErrorData, RoleServer, ServerHandler, ServiceExt};
use room::{Agent, Room, Taken, Visit};
use serde_json::json;
use tally::{Cause, Counted};
use zbus::fdo;

fn main() -> ExitCode {
    aios_daemon::run(async {
        aios_daemon::ready()?;
        open().await
    })
}

/// Until no agent has been there for a while; the next one has the door opened again.
async fn open() -> Result<(), Fatal> {
    let (work, room) = (Arc::new(Work::default()), Room::default());
    Ok(aios_daemon::accept_on_call(&work, |caller, stream, piece| match caller.require("agent-door", "connect") {
        Ok(()) => match room.let_in(&caller.peer.to_string()) {
            Ok(visit) => drop(tokio::spawn(meet(caller, stream, Arc::new(visit), Arc::clone(&work), piece))),
            Err(agent) => {
                Counts { caller: Arc::new(caller), agent, work: Arc::clone(&work) }.count(Cause::NoRoom);
                turn_away(&stream);
            }
        },
        Err(closed) => eprintln!("{closed}"),
    })
    .await?)
}

/// Answers one agent until it goes.
async fn meet(caller: Caller, stream: UnixStream, visit: Arc<Visit>, work: Arc<Work>, _present: Piece) {
    let name = caller.peer.to_string();
    let ended = async {
        stream.set_nonblocking(true)?;
        let (from, to) = tokio::net::UnixStream::from_std(stream)?.into_split();
        let caller = Arc::new(caller);
        let counts = Counts { caller: Arc::clone(&caller), agent: Arc::clone(visit.agent()), work };
        let refused = {
            let counts = counts.clone();
            move || counts.count(Cause::NoRequest)
        };
        let lines = Lines::new(from, to, visit, refused);
        let session = Door { caller, counts }.serve(lines).await.map_err(std::io::Error::other)?;
        session.waiting().await.map_err(std::io::Error::other)?;
        Ok::<_, std::io::Error>(())
    };
    if let Err(error) = ended.await {
        eprintln!("{name}: the conversation broke off: {error}");
    }
}

/// Says why there is no answer to whatever the agent says. It may have gone already.
fn turn_away(mut stream: &UnixStream) {
    const NO_ROOM: &str =
        "you have as many conversations as an agent may have, or all agents together have; end one first";
    let error = ErrorData::new(ErrorCode(-32_000), NO_ROOM, None);
    let mut line = serde_json::to_vec(&TxJsonRpcMessage::<RoleServer>::error(error, None)).expect("only text keys");
    line.push(b'\n');
    // The line fits into a socket that nothing was written to.
    let _ = stream.set_nonblocking(true).and_then(|()| stream.write_all(&line));
}

/// What an agent says that comes to no decision.
#[derive(Debug, Clone)]
struct Counts {
    caller: Arc<Caller>,
    agent: Arc<Agent>,
    work: Arc<Work>,
}

impl Counts {
    /// Counts one. The door stays open for as long as something is counted and not said.
    fn count(&self, cause: Cause) {
        if self.agent.tally.add(cause) == Counted::First {
            let (agent, caller, piece) = (Arc::clone(&self.agent), Arc::clone(&self.caller), self.work.begin());
            tokio::spawn(async move {
                agent.tally.say(cause, tally::HOUR, |count| record(Arc::clone(&caller), cause, count)).await;
                drop(piece);
            });
        }
    }
}

async fn record(caller: Arc<Caller>, cause: Cause, count: u64) {
    let payload = json!({"subject": caller.peer, "reason": cause.word(), "count": count}).to_string();
    let appended = async {
        let connection = aios_daemon::connect("evidence-log").await?;
        Evidence1Proxy::new(&connection).await?.append("door-refused", "", &payload).await
    };
    if let Err(error) = appended.await {
        eprintln!("this cannot be recorded: {payload}: {}", aios_daemon::error_chain(&error));
    }
}

/// The server that one agent talks to.
struct Door {
    caller: Arc<Caller>,
    counts: Counts,
}

impl ServerHandler for Door {
    fn get_info(&self) -> ServerConfig {
        let mut info = ServerConfig::default();
        info.capabilities = ServerCapabilities::builder().enable_tools().build();
        info.instructions = Some(
            "Each tool is a typed action of this machine. What you may do is decided outside of you, each time. An \
             answer may say that a person has to approve first: call again with the same idempotency_key to learn how \
             it went. A refusal is final and recorded."
                .into(),
        );
        info
    }

    async fn list_tools(
        &self,
        _page: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(tools::all()))
    }

    async fn call_tool(
        &self,
        call: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let request = tools::request(&call.name, call.arguments.unwrap_or_default()).map_err(|wrong| {
            self.counts.count(Cause::NoRequest);
            ErrorData::invalid_params(wrong, None)
        })?;
        let result = match self.submit(request, context.extensions.get::<Arc<Taken>>()).await {
            Ok(view) => tools::answer(&view),
            Err(error) => {
                if is_beyond_account(&error) {
                    self.counts.count(Cause::BeyondAccount);
                }
                CallToolResult::error(vec![rmcp::model::ContentBlock::text(format!(
                    "the action could not be asked for: {}",
                    aios_daemon::error_chain(&error)
                ))])
            }
        };
        Ok(result.into())
    }
}

impl Door {
    /// Asks for the action and waits until it ends or a person has to say.
    async fn submit(&self, request: Request, taken: Option<&Arc<Taken>>) -> zbus::Result<ActionView> {
        let connection = aios_daemon::connect("action-runtime").await?;
        let actions = Actions1Proxy::new(&connection).await?;
        let text = serde_json::to_string(&request).expect("a request has only text keys");
        drop(request);
        let asked = actions.submit_for(&text, zbus::Fd::from(self.caller.pidfd())).await;
        drop(text);
        if let Some(taken) = taken {
            taken.handed_on();
        }
        let mut view = read(&asked?)?;
        while !view.state.is_final() && !matches!(view.state, State::Waiting { .. }) {
            view = read(&actions.watch(view.id.as_str()).await?)?;
        }
        Ok(view)
    }
}

/// Whether the runtime took no action in because the agent has used up what it may.
fn is_beyond_account(error: &zbus::Error) -> bool {
    matches!(error, zbus::Error::FDO(refusal) if matches!(**refusal, fdo::Error::LimitsExceeded(_)))
}

fn read(answer: &str) -> zbus::Result<ActionView> {
    serde_json::from_str(answer).map_err(|error| zbus::Error::Failure(error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};

    use serde_json::Value;

    use super::*;

    /// An action runtime that refuses everybody.
    struct Refusing;

    #[zbus::interface(name = "org.aios.Actions1")]
    impl Refusing {
        async fn submit_for(&self, request: &str, _subject: zbus::OwnedFd) -> fdo::Result<String> {
            Err(match request {
                "beyond" => fdo::Error::LimitsExceeded("it has used up its hour".into()),
                _ => fdo::Error::InvalidArgs("no type".into()),
            })
        }
    }

    #[tokio::test]
    async fn who_is_beyond_its_account_is_told_from_who_asks_for_nothing() {
        let (server, client) = UnixStream::pair().expect("a pair");
        let server = aios_daemon::server(server).expect("a socket").serve_at("/org/aios/Actions1", Refusing).build();
        let client = zbus::connection::Builder::unix_stream(client).p2p().build();
        let (_server, client) = tokio::try_join!(server, client).expect("both ends agree");
        let actions = Actions1Proxy::new(&client).await.expect("a proxy");
        for (request, is_beyond) in [("beyond", true), ("nothing", false)] {
            let subject = std::fs::File::open("/dev/null").expect("always there");
            let error = actions.submit_for(request, zbus::Fd::from(&subject)).await.expect_err("refused");
            assert_eq!(is_beyond_account(&error), is_beyond, "{error:?}");
        }
    }

    #[test]
    fn who_is_turned_away_hears_why_though_it_has_asked_already() {
        let (mut there, here) = UnixStream::pair().expect("a pair");
        there.write_all(b"{\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"initialize\"}\n").expect("it fits");
        turn_away(&here);
        drop(here);
        let mut said = String::new();
        BufReader::new(&there).read_line(&mut said).expect("a line, and only then the end");
        let said: Value = serde_json::from_str(&said).expect("JSON");
        assert_eq!(said["error"]["code"], -32_000);
        assert!(said["error"]["message"].as_str().is_some_and(|text| text.contains("end one first")), "{said}");
    }

    #[test]
    fn who_has_gone_is_turned_away_all_the_same() {
        let (there, here) = UnixStream::pair().expect("a pair");
        drop(there);
        turn_away(&here);
    }
}
