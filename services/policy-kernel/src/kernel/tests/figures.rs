//! What a decision costs over the socket with its record handed to the log, beside echoes on the same transport. Nothing is
//! promised here: `cargo xtask bench policy` runs it in a release build and reads the lines `name value`.

use std::os::unix::net::UnixStream;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use aios_daemon::proxy::{Evidence1Proxy, Policy1Proxy};
use zbus::{Fd, fdo};

use super::*;

const CALLS: usize = 4000;
const CALLERS: usize = 16;

/// The service's end, without the table of peers: who asks is given. Beside the decision stand two echoes, which are sent
/// the same things.
struct Socket {
    kernel: Arc<Kernel>,
    log: Evidence1Proxy<'static>,
    records: Arc<AtomicBool>,
}

#[zbus::interface(name = "org.aios.Policy1")]
impl Socket {
    async fn decide(&self, envelope: &str, _subject: Fd<'_>) -> fdo::Result<String> {
        let decision = self.kernel.decide(envelope, live()).await.map_err(|e| fdo::Error::Failed(e.to_string()))?;
        serde_json::to_string(&decision).map_err(|e| fdo::Error::Failed(e.to_string()))
    }

    /// The echo; the recorded one hands a record to the log before it answers.
    async fn explain(&self, envelope: &str, _subject: Fd<'_>) -> fdo::Result<String> {
        if self.records.load(Ordering::Relaxed) {
            let recorded = self.log.append("decision", "act", envelope).await;
            recorded.map_err(|e| fdo::Error::Failed(e.to_string()))?;
        }
        Ok(envelope.to_owned())
    }
}

#[derive(Debug, Clone, Copy)]
enum Call {
    Decide,
    Echo,
    RecordedEcho,
}

async fn call(policy: &Policy1Proxy<'static>, what: Call, number: u64, own: &std::fs::File) {
    let envelope = envelope(&live(), number, "object.put", json!({"name": "notes/a", "content": "x"})).canonical();
    let own = Fd::from(std::os::fd::AsFd::as_fd(own));
    let answer = match what {
        Call::Decide => policy.decide(&envelope, own).await,
        Call::Echo | Call::RecordedEcho => policy.explain(&envelope, own).await,
    };
    let answer = answer.expect("an answer");
    assert!(!matches!(what, Call::Decide) || answer.contains("\"verdict\":\"allowed\""), "{answer}");
}

/// The service on a thread of its own, as it has a process of its own.
fn serve(stream: UnixStream, records: Arc<AtomicBool>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let machine = Machine::start().await;
        machine.log.kept().only_counts = true;
        let (near, far) = UnixStream::pair().expect("a pair");
        let guid = zbus::Guid::generate();
        let log = machine.log.clone();
        let far = Builder::unix_stream(far).server(guid).p2p().serve_at("/org/aios/Evidence1", log).build();
        let near = Builder::unix_stream(near).p2p().build();
        let (_far, near) = tokio::try_join!(far, near).expect("they greet each other");
        let log = Evidence1Proxy::new(&near).await.expect("a proxy needs no answer");
        let socket = Socket { kernel: Arc::clone(&machine.kernel), log, records };
        let server = aios_daemon::server(stream).expect("a socket").serve_at("/org/aios/Policy1", socket).build();
        server.await.expect("the greeting was good").closed().await;
    });
}

#[tokio::test(flavor = "current_thread")]
#[ignore = "measures: cargo xtask bench policy"]
async fn a_decision_over_the_socket() {
    let (near, far) = UnixStream::pair().expect("a pair");
    let records = Arc::new(AtomicBool::new(false));
    let of_service = Arc::clone(&records);
    std::thread::spawn(move || serve(far, of_service));
    let connection = Builder::unix_stream(near).p2p().build().await.expect("the greeting was good");
    let policy = Policy1Proxy::new(&connection).await.expect("a proxy needs no answer");
    let own = Arc::new(tempfile::tempfile().expect("a file"));
    for (name, what) in [("echo", Call::Echo), ("recorded-echo", Call::RecordedEcho), ("decide", Call::Decide)] {
        records.store(matches!(what, Call::RecordedEcho), Ordering::Relaxed);
        let mut times = Vec::with_capacity(CALLS);
        for number in 0..CALLS {
            let begun = Instant::now();
            call(&policy, what, number as u64, &own).await;
            times.push(begun.elapsed().as_secs_f64() * 1e6);
        }
        times.sort_by(f64::total_cmp);
        println!("socket-{name}-p50-us {}", times[CALLS / 2]);
        println!("socket-{name}-p99-us {}", times[CALLS * 99 / 100]);
        let begun = Instant::now();
        let mut tasks = tokio::task::JoinSet::new();
        for caller in 0..CALLERS {
            let (policy, own) = (policy.clone(), Arc::clone(&own));
            tasks.spawn(async move {
                for number in 0..CALLS / CALLERS {
                    call(&policy, what, (CALLS * (caller + 1) + number) as u64, &own).await;
                }
            });
        }
        while let Some(ended) = tasks.join_next().await {
            ended.expect("no call failed");
        }
        println!("socket-{name}-per-s {}", CALLS as f64 / begun.elapsed().as_secs_f64());
    }
}
