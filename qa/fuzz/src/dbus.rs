//! The bytes of a caller of a service, from the greeting on. The server is the one that every service has, with an object
//! that takes what their methods take: texts, numbers, bytes, lists, descriptors.

use std::fs::File;
use std::io::{IoSlice, Read};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use zbus::{Fd, fdo};

use crate::{Taken, choice};

const PATH: &str = "/org/aios/Fuzz1";
/// What a caller says before its first message.
const GREETING: &[u8] = b"\0AUTH EXTERNAL\r\nDATA\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n";
/// A caller hangs up after its last byte, so nothing is waited for; a server that does not notice has hung.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many calls reached a method.
static ANSWERED: AtomicU64 = AtomicU64::new(0);

struct Fuzz;

#[zbus::interface(name = "org.aios.Fuzz1")]
impl Fuzz {
    async fn texts(&self, first: &str, second: &str, third: u64) -> fdo::Result<String> {
        ANSWERED.fetch_add(1, Ordering::Relaxed);
        if third == 0 {
            return Err(fdo::Error::AccessDenied(format!("{first}: {second}")));
        }
        Ok(format!("{first}{second}"))
    }

    async fn bytes(&self, content: Vec<u8>) -> u64 {
        ANSWERED.fetch_add(1, Ordering::Relaxed);
        content.len() as u64
    }

    async fn records(&self, records: Vec<(String, String, String)>) -> Vec<u64> {
        ANSWERED.fetch_add(1, Ordering::Relaxed);
        records.iter().map(|(kind, _, payload)| (kind.len() + payload.len()) as u64).collect()
    }

    async fn file(&self, name: &str, _file: Fd<'_>) -> String {
        ANSWERED.fetch_add(1, Ordering::Relaxed);
        name.to_owned()
    }
}

fn call(method: &str, body: &(impl serde::Serialize + zbus::zvariant::DynamicType)) -> Vec<u8> {
    let message =
        zbus::Message::method_call(PATH, method).interface("org.aios.Fuzz1").build(body).expect("a good call");
    message.data().bytes().to_vec()
}

pub(crate) fn messages() -> Vec<Vec<u8>> {
    let record = || ("decision".to_owned(), "act_1".to_owned(), "{}".to_owned());
    let calls = [
        call("Texts", &("first", "second", 3u64)),
        call("Texts", &("first", "refused", 0u64)),
        call("Bytes", &b"content".to_vec()),
        call("Records", &vec![record(), record()]),
    ];
    let file = File::open("/dev/null").expect("it is everywhere");
    let file = call("File", &("name", Fd::from(file.as_fd())));
    let one = calls.iter().map(|call| [b"\0", GREETING, call.as_slice()].concat());
    one.chain([[b"\0", GREETING, &calls.concat()].concat(), [b"\x01", GREETING, &file].concat()]).collect()
}

/// The first byte says how many descriptors come along.
pub(crate) fn message(bytes: &[u8]) -> Taken {
    let Some((descriptors, bytes)) = choice(bytes) else { return Taken::No };
    let before = ANSWERED.load(Ordering::Relaxed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let served = tokio::time::timeout(PATIENCE, serve(bytes, usize::from(descriptors % 4)));
        served.await.expect("the server hangs after its caller is gone");
    });
    Taken::when(ANSWERED.load(Ordering::Relaxed) > before)
}

async fn serve(bytes: &[u8], descriptors: usize) {
    let (server, mut caller) = UnixStream::pair().expect("a pair of sockets");
    // What does not fit the socket's buffer is not said: the caller never reads, as bad callers do.
    caller.set_nonblocking(true).expect("a setting");
    let file = File::open("/dev/null").expect("it is everywhere");
    let descriptors = [file.as_fd(); 3].get(..descriptors).unwrap_or_default().to_vec();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let _ = descriptors.is_empty() || control.push(SendAncillaryMessage::ScmRights(&descriptors));
    let _ = rustix::net::sendmsg(&caller, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL);
    let _ = caller.shutdown(Shutdown::Write);
    let offered = aios_daemon::server(server).expect("a socket").serve_at(PATH, Fuzz);
    if let Ok(connection) = offered.build().await {
        connection.closed().await;
        // Calls that were read before the end are still on their way to the object.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }
    let _ = caller.read(&mut [0; 4096]);
}
