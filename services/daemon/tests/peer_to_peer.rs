//! Two ends of a socket without a bus: calls, errors and descriptors arrive; a descriptor opened by one user can be used
//! by a program of another.

use std::cell::Cell;
use std::fs::File;
use std::io::{IoSlice, Read, Seek, Write};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use aios_daemon::proxy::{Objects1Proxy, Policy1Proxy};
use aios_daemon::{Line, LineError, MESSAGE_LIMIT};
use zbus::connection::Builder;
use zbus::{Connection, Fd, OwnedFd};

struct Objects;

#[zbus::interface(name = "org.aios.Objects1")]
impl Objects {
    async fn put(&self, name: &str, content: OwnedFd) -> zbus::fdo::Result<String> {
        let mut text = String::new();
        let copy = content.as_fd().try_clone_to_owned().map_err(|e| zbus::fdo::Error::Failed(e.to_string()))?;
        File::from(copy).read_to_string(&mut text).map_err(|e| zbus::fdo::Error::Failed(e.to_string()))?;
        if name == "slow" {
            std::future::pending::<()>().await;
        }
        if name == "closed" {
            return Err(zbus::fdo::Error::AccessDenied("closed: it is closed; open it".into()));
        }
        Ok(format!("{name}={text}"))
    }
}

async fn pair() -> (Connection, Connection) {
    let (server, client) = UnixStream::pair().expect("a pair");
    let server = aios_daemon::server(server).expect("a socket").serve_at("/org/aios/Objects1", Objects).build();
    let client = Builder::unix_stream(client).p2p().build();
    tokio::try_join!(server, client).expect("both ends agree")
}

#[tokio::test(flavor = "current_thread")]
async fn a_descriptor_travels_and_a_refusal_keeps_its_words() {
    let (_server, client) = pair().await;
    let objects = Objects1Proxy::new(&client).await.expect("a proxy");
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(b"content").expect("written");
    file.rewind().expect("rewound");
    assert_eq!(objects.put("a", Fd::from(file.as_fd())).await.expect("stored"), "a=content");
    let error = objects.put("closed", Fd::from(file.as_fd())).await.expect_err("refused");
    assert!(error.to_string().contains("closed: it is closed; open it"), "{error}");
}

#[tokio::test(flavor = "current_thread")]
async fn an_interface_that_is_not_served_is_an_error() {
    let (_server, client) = pair().await;
    let policy = Policy1Proxy::new(&client).await.expect("a proxy needs no server");
    assert!(policy.approvals().await.is_err());
}

const SOON: Duration = Duration::from_secs(20);

/// A line to a service of which this end is the only one there is: a new connection cannot be made.
async fn line(client: &Connection) -> Line<Objects1Proxy<'static>> {
    Line::over("no-such-service", Objects1Proxy::new(client).await.expect("a proxy"))
}

async fn put(line: &Line<Objects1Proxy<'static>>, name: &str, limit: Duration) -> Result<String, LineError> {
    let empty = tempfile::tempfile().expect("a file");
    let content = empty.as_fd();
    line.ask(limit, |objects| async move { objects.put(name, Fd::from(content)).await }).await
}

#[tokio::test(flavor = "current_thread")]
async fn a_line_is_kept_through_refusals_and_nobody_waits_for_the_answer_to_another() {
    let (_server, client) = pair().await;
    let line = line(&client).await;
    let error = put(&line, "closed", SOON).await.expect_err("refused");
    assert!(error.is_answer(), "{error}");
    let (slow, quick) =
        tokio::join!(tokio::time::timeout(Duration::from_millis(300), put(&line, "slow", SOON)), put(&line, "a", SOON));
    assert!(slow.is_err());
    assert_eq!(quick.expect("over the same connection"), "a=");
}

#[tokio::test(flavor = "current_thread")]
async fn a_line_that_was_lost_or_was_late_is_made_anew() {
    let (_server, client) = pair().await;
    let late = line(&client).await;
    assert!(matches!(put(&late, "slow", Duration::from_millis(50)).await, Err(LineError::Late)));
    let lost = line(&client).await;
    client.close().await.expect("closed");
    for line in [late, lost] {
        let error = put(&line, "a", SOON).await.expect_err("the new connection cannot be made");
        assert!(matches!(&error, LineError::Call(zbus::Error::InputOutput(_))) && !error.is_answer(), "{error:?}");
    }
}

/// What a caller says before its first message.
const GREETING: &[u8] = b"\0AUTH EXTERNAL\r\nDATA\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n";

/// Says these bytes, with descriptors, to a server that must hang up, and must not panic.
async fn hung_up_on(bytes: &[u8], descriptors: &[File]) {
    thread_local!(static PANICKED: Cell<bool> = const { Cell::new(false) });
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICKED.set(true);
        usual(panic);
    }));
    let (server, caller) = UnixStream::pair().expect("a pair");
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut control = rustix::net::SendAncillaryBuffer::new(&mut space);
    let descriptors: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
    assert!(descriptors.is_empty() || control.push(rustix::net::SendAncillaryMessage::ScmRights(&descriptors)));
    let flags = rustix::net::SendFlags::empty();
    rustix::net::sendmsg(&caller, &[IoSlice::new(bytes)], &mut control, flags).expect("said");
    let built = aios_daemon::server(server).expect("a socket").serve_at("/org/aios/Objects1", Objects).build();
    let served = async {
        if let Ok(connection) = built.await {
            connection.closed().await;
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(20), served).await;
    assert!(ended.is_ok(), "the server waits for the rest");
    assert!(!PANICKED.get(), "the server panicked");
}

#[tokio::test(flavor = "current_thread")]
async fn a_caller_that_announces_too_much_is_hung_up_on() {
    for length in [MESSAGE_LIMIT + 1, 100 << 20] {
        let body = u32::try_from(length).expect("in range").to_le_bytes();
        let header = [b"l\x01\0\x01".as_slice(), &body, &1u32.to_le_bytes(), &8u32.to_le_bytes()].concat();
        hung_up_on(&[GREETING, header.as_slice()].concat(), &[]).await;
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_greeting_without_an_end_or_with_an_empty_line_is_hung_up_on() {
    let endless = [b"\0".as_slice(), &[b'A'; 4096]].concat();
    for greeting in [b"\n".as_slice(), b"\0AUTH\r\n\n", b"\0BEGIN\r\n\nAUTH\r\n", b"\0AUTH\n", &endless] {
        hung_up_on(greeting, &[]).await;
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_message_that_claims_descriptors_which_did_not_come_is_hung_up_on() {
    let files: Vec<File> = (0..5).map(|_| tempfile::tempfile().expect("a file")).collect();
    let five: Vec<Fd<'_>> = files.iter().map(|file| Fd::from(file.as_fd())).collect();
    let call = zbus::Message::method_call("/org/aios/Objects1", "Put").build(&five).expect("a message");
    hung_up_on(&[GREETING, call.data().bytes()].concat(), &files[..1]).await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_call_that_comes_with_the_greeting_is_answered() {
    let (server, mut caller) = UnixStream::pair().expect("a pair");
    let call = zbus::Message::method_call("/org/aios/Objects1", "Missing").build(&"x").expect("a message");
    caller.write_all(&[GREETING, call.data().bytes()].concat()).expect("said");
    let built = aios_daemon::server(server).expect("a socket").serve_at("/org/aios/Objects1", Objects).build().await;
    let connection = built.expect("the greeting was good");
    let said = tokio::task::spawn_blocking(move || {
        let (mut said, mut part) = (Vec::new(), [0; 4096]);
        caller.set_read_timeout(Some(Duration::from_secs(5))).expect("a setting");
        while !String::from_utf8_lossy(&said).contains("Missing interface") {
            let length = caller.read(&mut part).unwrap_or_default();
            assert_ne!(length, 0, "no answer, only: {}", String::from_utf8_lossy(&said));
            said.extend_from_slice(&part[..length]);
        }
    });
    said.await.expect("the caller was answered");
    drop(connection);
}
