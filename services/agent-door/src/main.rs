//! Where agents ask: the Model Context Protocol on a socket, with the catalogue of actions as the tools.
//!
//! The door knows its caller from the kernel, hands the request and the caller's process handle to the action runtime,
//! and returns the answer. It decides nothing, keeps nothing, and offers nothing that is not an action: there is no tool
//! that approves, and none that reads the machine.

mod pace;
mod tools;

use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;

use aios_action::{ActionView, Request, State};
use aios_daemon::proxy::Actions1Proxy;
use aios_daemon::{Caller, Fatal, Piece, Work};
use pace::{Pace, Visit, Visitors};
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ListToolsResult, PaginatedRequestParams,
    ServerCapabilities, ServerConfig,
};
use rmcp::service::RequestContext;
use rmcp::transport::async_rw::AsyncRwTransport;
use rmcp::{ErrorData, RoleServer, ServerHandler, ServiceExt};

fn main() -> ExitCode {
    aios_daemon::run(async {
        aios_daemon::ready()?;
        open().await
    })
}

/// Until no agent has been there for a while; the next one has the door opened again.
async fn open() -> Result<(), Fatal> {
    let (work, visitors) = (Work::default(), Visitors::default());
    Ok(aios_daemon::accept_on_call(&work, |caller, stream, piece| match caller.require("agent-door", "connect") {
        Ok(()) => match visitors.let_in(&caller.peer.to_string()) {
            Some(visit) => drop(tokio::spawn(meet(caller, stream, (piece, visit)))),
            None => eprintln!("{} has conversations enough; one more was closed", caller.peer),
        },
        Err(closed) => eprintln!("{closed}"),
    })
    .await?)
}

/// Answers one agent until it goes.
async fn meet(caller: Caller, stream: UnixStream, _present: (Piece, Visit)) {
    let name = caller.peer.to_string();
    let ended = async {
        stream.set_nonblocking(true)?;
        let (from, to) = tokio::net::UnixStream::from_std(stream)?.into_split();
        let pace = Pace::default();
        let transport = AsyncRwTransport::new(pace.reading(from), pace.writing(to)).with_max_line_length(pace::LINE);
        let session = Door { caller: Arc::new(caller), pace }.serve(transport).await.map_err(std::io::Error::other)?;
        session.waiting().await.map_err(std::io::Error::other)?;
        Ok::<_, std::io::Error>(())
    };
    if let Err(error) = ended.await {
        eprintln!("{name}: the conversation broke off: {error}");
    }
}

/// The server that one agent talks to.
struct Door {
    caller: Arc<Caller>,
    pace: Pace,
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
        _context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let _call = self.pace.call();
        let request = tools::request(&call.name, call.arguments.unwrap_or_default())
            .map_err(|wrong| ErrorData::invalid_params(wrong, None))?;
        let result = match self.submit(&request).await {
            Ok(view) => tools::answer(&view),
            Err(error) => CallToolResult::error(vec![rmcp::model::ContentBlock::text(format!(
                "the action could not be asked for: {}",
                aios_daemon::error_chain(&error)
            ))]),
        };
        Ok(result.into())
    }
}

impl Door {
    /// Asks for the action and waits until it ends or a person has to say.
    async fn submit(&self, request: &Request) -> zbus::Result<ActionView> {
        let connection = aios_daemon::connect("action-runtime").await?;
        let actions = Actions1Proxy::new(&connection).await?;
        let text = serde_json::to_string(request).expect("a request has only text keys");
        let mut view = read(&actions.submit_for(&text, zbus::Fd::from(self.caller.pidfd())).await?)?;
        while !view.state.is_final() && !matches!(view.state, State::Waiting { .. }) {
            view = read(&actions.watch(view.id.as_str()).await?)?;
        }
        Ok(view)
    }
}

fn read(answer: &str) -> zbus::Result<ActionView> {
    serde_json::from_str(answer).map_err(|error| zbus::Error::Failure(error.to_string()))
}
