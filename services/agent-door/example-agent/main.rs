//! An agent without a model: it asks for what it may do, for what needs a person, and for what it may never do, tries the
//! ways around, and reports what came of each. Its report is an object, `agents/example/report`. With the argument `attacks`
//! it is another agent, which test images have.

mod attacks;

use std::fmt::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use rmcp::model::{CallToolRequestParams, CallToolResult};
use rmcp::service::RunningService;
use rmcp::{RoleClient, ServiceExt};
use serde_json::{Value, json};

const DOOR: &str = "/run/aios/agent-door";

/// Where its program is.
const PART: &str = "agents/example/hello";

/// A program of 159 bytes that says "hello", and the digests of it and of what it says.
const GREETER: &str = concat!(
    "f0VMRgIBAQAAAAAAAAAAAAIAPgABAAAAeABAAAAAAABAAAAAAAAAAAAAAAAAAAAAAAAAAEAAOAABAAAAAAAAAAEAAAAFAAAAAAAA",
    "AAAAAAAAAEAAAAAAAAAAQAAAAAAAnwAAAAAAAACfAAAAAAAAAAAQAAAAAAAAuAEAAAC/AQAAAEiNNRAAAAC6BgAAAA8FuDwAAAAx",
    "/w8FaGVsbG8K",
);
const GREETER_SHA256: &str = "db4bd4fca191857d7bceff8d5fd1dbc3527f8f470d8952ecf305408e1b54e541";
const HELLO_SHA256: &str = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";

/// How long the agent asks again for an answer that a person has to give.
const PATIENCE: u32 = 120;

type Client = RunningService<RoleClient, ()>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("example-agent: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn std::error::Error>> {
    let stream = tokio::net::UnixStream::connect(DOOR).await?;
    let client = ().serve(stream.into_split()).await?;
    if std::env::args().nth(1).as_deref() == Some("attacks") {
        attacks::run(&client).await?;
        client.cancel().await?;
        return Ok(());
    }
    let mut report = String::new();

    let tools = client.list_all_tools().await?;
    note(&mut report, "tools", &tools.iter().map(|tool| tool.name.as_ref()).collect::<Vec<_>>().join(" "))?;

    let allowed = call(&client, "object.put", json!({"name": "agents/example/note", "content": "hello"})).await?;
    note(&mut report, "object.put", &text(&allowed))?;

    let forbidden = call(&client, "settings.set", json!({"key": "hostname", "value": "mine"})).await?;
    note(&mut report, "settings.set", &text(&forbidden))?;

    let kept = call(&client, "secret.remove", json!({"name": "push"})).await?;
    note(&mut report, "secret.remove", &text(&kept))?;

    let served = call(&client, "service.enable", json!({"name": "agents-hello"})).await?;
    note(&mut report, "service.enable", &text(&served))?;

    for (name, way) in [
        ("vault", way_out(|| std::os::unix::net::UnixStream::connect("/run/aios/vault").map(drop))),
        ("approve", way_out(|| std::os::unix::net::UnixStream::connect("/run/aios/policy-kernel").map(drop))),
        ("network", way_out(|| connect_out("10.0.2.2:80"))),
        ("read /root", way_out(|| std::fs::read_dir("/root").map(drop))),
        ("read /aios", way_out(|| std::fs::read_dir("/aios/system").map(drop))),
    ] {
        note(&mut report, name, &way)?;
    }

    let risky = json!({
        "name": "network", "reason": "the example restarts it", "idempotency_key": "example-restart",
    });
    let answer = call(&client, "service.restart", risky.clone()).await?;
    note(&mut report, "service.restart", &text(&answer))?;
    publish(&client, &report).await?;
    let answer = settled(&client, "service.restart", &risky, answer).await?;
    note(&mut report, "service.restart at last", &text(&answer))?;
    publish(&client, &report).await?;

    // What a person is asked about is one file; what they would say yes to by then is another one.
    let draft = |content: &str| json!({"path": "agents/example/draft", "content": content});
    call(&client, "file.write", draft("harmless")).await?;
    let delete = json!({"path": "agents/example/draft", "idempotency_key": "example-delete"});
    let answer = call(&client, "file.delete", delete.clone()).await?;
    call(&client, "file.write", draft("somebody else's")).await?;
    note(&mut report, "file.delete", &text(&answer))?;
    publish(&client, &report).await?;
    let answer = settled(&client, "file.delete", &delete, answer).await?;
    note(&mut report, "file.delete at last", &text(&answer))?;
    publish(&client, &report).await?;

    // A program of its own: it may hand it in, and it does not exist before a person has said yes.
    let app = app();
    let part = json!({"name": PART, "encoding": "base64", "content": GREETER});
    call(&client, "object.put", part).await?;
    let mut by_itself = app.clone();
    by_itself["idempotency_key"] = json!("example-install");
    let answer = call(&client, "app.install", by_itself).await?;
    note(&mut report, "app.install", &text(&answer))?;
    let answer = call(&client, "app.install.request", app.clone()).await?;
    note(&mut report, "app.install.request", &text(&answer))?;
    publish(&client, &report).await?;
    let answer = settled(&client, "app.install.request", &app, answer).await?;
    note(&mut report, "app.install.request at last", &text(&answer))?;
    publish(&client, &report).await?;
    client.cancel().await?;
    Ok(())
}

/// The agent's program with its manifest.
fn app() -> Value {
    let manifest = json!({
        "schema": "aios.app.v1",
        "name": "agents-hello",
        "summary": "Says hello",
        "origin": "the example agent, which wanted to say hello",
        "tier": "T0",
        "program": {"sha256": GREETER_SHA256, "parts": [PART]},
        "composition": {"tried": ["object.put", "file.write"], "why_not": "both keep a greeting and neither says it"},
        "tests": [{"output_sha256": HELLO_SHA256}],
    });
    json!({
        "name": "agents-hello",
        "manifest": manifest.to_string(),
        "reason": "the example says hello",
        "idempotency_key": "example-app",
    })
}

/// The answer once a person has given theirs and the action has ended.
async fn settled(
    client: &Client,
    tool: &'static str,
    arguments: &Value,
    mut answer: CallToolResult,
) -> Result<CallToolResult, rmcp::ServiceError> {
    for _ in 0..PATIENCE {
        if !["waiting", "allowed", "running", "verifying"].contains(&state(&answer)) {
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        answer = call(client, tool, arguments.clone()).await?;
    }
    Ok(answer)
}

async fn call(client: &Client, tool: &'static str, arguments: Value) -> Result<CallToolResult, rmcp::ServiceError> {
    let arguments = arguments.as_object().cloned().unwrap_or_default();
    client.call_tool(CallToolRequestParams::new(tool).with_arguments(arguments)).await
}

async fn publish(client: &Client, report: &str) -> Result<(), rmcp::ServiceError> {
    call(client, "object.put", json!({"name": "agents/example/report", "content": report})).await.map(drop)
}

fn note(report: &mut String, what: &str, came_of_it: &str) -> std::fmt::Result {
    eprintln!("{what}: {came_of_it}");
    writeln!(report, "{what}: {came_of_it}")
}

/// What came of an attempt that must not work.
fn way_out(attempt: impl FnOnce() -> std::io::Result<()>) -> String {
    match attempt() {
        Ok(()) => "REACHED".into(),
        Err(error) => format!("closed ({error})"),
    }
}

fn connect_out(address: &str) -> std::io::Result<()> {
    let address: SocketAddr = address.parse().map_err(std::io::Error::other)?;
    TcpStream::connect_timeout(&address, Duration::from_secs(2)).map(drop)
}

fn text(result: &CallToolResult) -> String {
    result.content.iter().filter_map(|block| block.as_text()).map(|block| block.text.as_str()).collect()
}

fn state(result: &CallToolResult) -> &str {
    result.structured_content.as_ref().and_then(|content| content["state"].as_str()).unwrap_or("unknown")
}
