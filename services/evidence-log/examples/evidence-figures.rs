//! Measures the log beside what its disk and its transport can do, for `cargo xtask bench evidence`: prints a line
//! `name value` for each figure. Arguments: a folder on the disk to measure, and how many entries the large log gets. Each part
//! is a process of its own, so that the memory of one is not counted for another; a third argument names the part.

use std::error::Error;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use aios_evidence::{Filter, Kind};
use evidence_log::{Appends, Draft, Log, Stamp, keep, open, start_writer};
use tokio::sync::{mpsc, oneshot};

type Outcome<T> = Result<T, Box<dyn Error>>;

const ROUNDS: usize = 300;
/// What one append adds to the segment, as the first part measures it.
const BYTES_OF_ONE: usize = 472;
const PRODUCERS: usize = 64;
const FOR: Duration = Duration::from_secs(3);

fn main() -> Outcome<()> {
    let mut args = std::env::args().skip(1);
    let folder = args.next().ok_or("say in which folder")?;
    let entries: u64 = args.next().ok_or("say how many entries")?.parse()?;
    let folder = Path::new(&folder);
    std::fs::create_dir_all(folder)?;
    let Some(part) = args.next() else { return parts(folder, entries) };
    match part.as_str() {
        "one" => one_caller(folder)?,
        "many" => many_producers(folder)?,
        "socket" => over_the_socket(folder)?,
        "large" => large(folder, entries)?,
        _ => return Err(format!("{part} is no part").into()),
    }
    figure(&format!("memory-{part}-mib"), memory()?);
    Ok(())
}

fn parts(folder: &Path, entries: u64) -> Outcome<()> {
    for part in ["one", "many", "socket", "large"] {
        let mut command = std::process::Command::new(std::env::current_exe()?);
        let ended = command.arg(folder).arg(entries.to_string()).arg(part).status()?;
        if !ended.success() {
            return Err(format!("the part {part} ended with {ended}").into());
        }
    }
    Ok(())
}

fn figure(name: &str, value: f64) {
    println!("{name} {value}");
}

fn draft(number: u64) -> Draft {
    let payload = format!(
        r#"{{"type":"settings.set","subject":{{"kind":"agent","name":"agent-{}"}},"epoch":"3-1f2e3d4c5b6a","rules":["operators.settings"]}}"#,
        number % 50
    );
    let kind = if number.is_multiple_of(10) { Kind::Decision } else { Kind::Intent };
    Draft { kind, action: format!("act_{:020}", number / 4), writer: "service:policy-kernel".into(), payload }
}

fn stamp(number: u64) -> Stamp {
    Stamp { boot: "01234567-89ab-cdef-0123-456789abcdef".into(), at_ms: number, wall: 1_790_000_000_000 + number }
}

fn new_log(folder: &Path, name: &str) -> Outcome<Log> {
    let folder = folder.join(name);
    std::fs::create_dir(&folder)?;
    let (log, ..) = open(&folder, || Ok([7; 96]))?;
    let payload = format!(r#"{{"key":"{}","key_ml_dsa":"{}"}}"#, log.key().ed25519_line(), log.key().ml_dsa_line());
    let first = Draft { kind: Kind::Boot, action: String::new(), writer: "service:evidence-log".into(), payload };
    log.append(&[first], &stamp(0)).pop().ok_or("no answer")??;
    Ok(log)
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// One append at a time, beside the same bytes added to a file of their own; in turns, so that both meet the same disk.
fn one_caller(folder: &Path) -> Outcome<()> {
    let log = new_log(folder, "one")?;
    let segment = folder.join("one/segment");
    let before = std::fs::metadata(&segment)?.len();
    log.append(&[draft(0)], &stamp(1)).pop().ok_or("no answer")??;
    let bytes = vec![b'x'; (std::fs::metadata(&segment)?.len() - before) as usize];
    let mut peer = OpenOptions::new().create(true).append(true).open(folder.join("fdatasync"))?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for number in 0..ROUNDS as u64 {
        let begun = Instant::now();
        peer.write_all(&bytes)?;
        peer.sync_data()?;
        theirs.push(begun.elapsed().as_secs_f64() * 1e6);
        let begun = Instant::now();
        log.append(&[draft(number)], &stamp(number)).pop().ok_or("no answer")??;
        ours.push(begun.elapsed().as_secs_f64() * 1e6);
    }
    figure("bytes-of-one-append", bytes.len() as f64);
    figure("fdatasync-us", median(theirs));
    figure("one-caller-us", median(ours));
    Ok(())
}

/// 64 threads that each wait for their record before they send the next.
fn many_producers(folder: &Path) -> Outcome<()> {
    let log = Arc::new(new_log(folder, "many")?);
    keep(&log, evidence_log::Read::Whole, "b")?;
    let appends = start_writer(Arc::clone(&log), "b".into())?;
    // What a producer sends at once is what one batched call carries.
    for (name, batch) in [("producers-single", 1), ("producers-batched", 64)] {
        let Load { per_second, p99_ms } = load(&log, &appends, batch, Duration::ZERO);
        figure(&format!("{name}-per-second"), per_second);
        figure(&format!("{name}-p99-ms"), p99_ms);
        if batch == 1 {
            let pause = Duration::from_secs_f64(PRODUCERS as f64 / (per_second / 2.0).max(1.0));
            let half = load(&log, &appends, batch, pause);
            figure("half-load-per-second", half.per_second);
            figure("half-load-p99-ms", half.p99_ms);
        }
    }
    Ok(())
}

/// What came of a load.
struct Load {
    per_second: f64,
    p99_ms: f64,
}

/// So many producers, each of which begins an append of `batch` records no sooner than `pause` after its last began.
fn load(log: &Log, appends: &Appends, batch: u64, pause: Duration) -> Load {
    let begun = Instant::now();
    let over = AtomicBool::new(false);
    let (mut written, mut waits) = (0, Vec::new());
    std::thread::scope(|scope| {
        let produce = |producer| {
            scope.spawn({
                let over = &over;
                move || produce(log, appends, over, producer, batch, pause)
            })
        };
        let producers: Vec<_> = (0..PRODUCERS as u64).map(produce).collect();
        std::thread::sleep(FOR);
        over.store(true, Ordering::Relaxed);
        for producer in producers {
            let (count, times) = producer.join().unwrap_or_default();
            written += count;
            waits.extend(times);
        }
    });
    let per_second = written as f64 / begun.elapsed().as_secs_f64();
    waits.sort_by(f64::total_cmp);
    Load { per_second, p99_ms: waits.get(waits.len() * 99 / 100).copied().unwrap_or_default() }
}

fn produce(
    log: &Log,
    appends: &Appends,
    over: &AtomicBool,
    producer: u64,
    batch: u64,
    pause: Duration,
) -> (u64, Vec<f64>) {
    let (mut count, mut times) = (0, Vec::new());
    // They do not all begin at the same moment, and then go on as if they had.
    std::thread::sleep(pause.mul_f64(producer as f64 / PRODUCERS as f64));
    while !over.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let entries = (0..batch).filter_map(|place| log.clear(&draft(producer << 32 | (count + place))).ok()).collect();
        match appends.append_blocking(entries) {
            Ok(answers) if answers.iter().all(Result::is_ok) => count += batch,
            _ => break,
        }
        times.push(begun.elapsed().as_secs_f64() * 1e3);
        std::thread::sleep(pause.saturating_sub(begun.elapsed()));
    }
    (count, times)
}

/// The calls of the service without the question who calls, for which there is no PID 1 here.
struct Calls {
    log: Arc<Log>,
    appends: Appends,
    synced: mpsc::UnboundedSender<oneshot::Sender<()>>,
}

/// What stands in place of the log for an echo that is as durable: writes the bytes of a record for each caller that waits,
/// syncs once, and answers all. It waits for callers to come back as the log does, so what is left is the log's own work.
fn sync_for_callers(mut file: std::fs::File, bytes: &[u8], mut waiting: mpsc::UnboundedReceiver<oneshot::Sender<()>>) {
    let (mut last, mut took) = (0, Duration::ZERO);
    while let Some(first) = waiting.blocking_recv() {
        let (begun, mut callers) = (Instant::now(), vec![first]);
        loop {
            match waiting.try_recv() {
                Ok(caller) => callers.push(caller),
                Err(_) if callers.len() < last && begun.elapsed() < took / 4 => {
                    std::thread::sleep(Duration::from_micros(20))
                }
                Err(_) => break,
            }
        }
        let begun = Instant::now();
        if file.write_all(&bytes.repeat(callers.len())).and_then(|()| file.sync_data()).is_err() {
            return;
        }
        (last, took) = (callers.len(), begun.elapsed().min(Duration::from_millis(4)));
        for caller in callers {
            let _ = caller.send(());
        }
    }
}

#[zbus::interface(name = "org.aios.Figures1")]
impl Calls {
    fn echo(&self, kind: &str, action: &str, payload: &str) -> u64 {
        (kind.len() + action.len() + payload.len()) as u64
    }

    async fn synced_echo(&self, kind: &str, action: &str, payload: &str) -> zbus::fdo::Result<u64> {
        let (answer, answered) = oneshot::channel();
        let gone = || zbus::fdo::Error::Failed("the file cannot be written".into());
        self.synced.send(answer).map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?;
        Ok(self.echo(kind, action, payload))
    }

    async fn append(&self, kind: &str, action: &str, payload: &str) -> zbus::fdo::Result<u64> {
        let all = vec![(kind.to_owned(), action.to_owned(), payload.to_owned())];
        Ok(self.append_all(all).await?.pop().unwrap_or_default())
    }

    async fn append_all(&self, records: Vec<(String, String, String)>) -> zbus::fdo::Result<Vec<u64>> {
        let failed = |error: &dyn Error| zbus::fdo::Error::Failed(error.to_string());
        let entries = records.into_iter().map(|(kind, action, payload)| {
            let kind: Kind = kind.parse()?;
            self.log.clear(&Draft { kind, action, writer: "service:policy-kernel".into(), payload })
        });
        let entries = entries.collect::<Result<Vec<_>, _>>().map_err(|error| failed(&error))?;
        let answers = self.appends.append(entries).await.and_then(|answers| answers.into_iter().collect());
        answers.map_err(|error| failed(&error))
    }
}

#[zbus::proxy(interface = "org.aios.Figures1", default_path = "/figures", default_service = "org.aios.Figures1")]
trait Figures {
    fn echo(&self, kind: &str, action: &str, payload: &str) -> zbus::Result<u64>;
    fn synced_echo(&self, kind: &str, action: &str, payload: &str) -> zbus::Result<u64>;
    fn append(&self, kind: &str, action: &str, payload: &str) -> zbus::Result<u64>;
    fn append_all(&self, records: &[(&str, &str, &str)]) -> zbus::Result<Vec<u64>>;
}

fn over_the_socket(folder: &Path) -> Outcome<()> {
    let log = Arc::new(new_log(folder, "socket")?);
    keep(&log, evidence_log::Read::Whole, "b")?;
    let appends = start_writer(Arc::clone(&log), "b".into())?;
    let (near, far) = std::os::unix::net::UnixStream::pair()?;
    let (synced, waiting) = mpsc::unbounded_channel();
    let file = OpenOptions::new().create(true).append(true).open(folder.join("synced"))?;
    std::thread::spawn(move || sync_for_callers(file, &[b'x'; BYTES_OF_ONE], waiting));
    // As in the service: one thread on each side of the socket.
    std::thread::spawn(move || serve(far, Calls { log, appends, synced }));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let connection = zbus::connection::Builder::unix_stream(near).p2p().build().await?;
        let calls = FiguresProxy::new(&connection).await?;
        for (name, call, callers) in [
            ("echo", Call::Echo, PRODUCERS),
            ("synced-echo", Call::SyncedEcho, PRODUCERS),
            ("single", Call::Append, PRODUCERS),
            ("single-of-many-callers", Call::Append, 16 * PRODUCERS),
            ("batched", Call::AppendAll, PRODUCERS),
        ] {
            figure(&format!("socket-{name}-per-second"), rate(&calls, call, callers).await?);
        }
        Ok(())
    })
}

fn serve(stream: std::os::unix::net::UnixStream, calls: Calls) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    runtime.block_on(async {
        let guid = zbus::Guid::generate();
        let server =
            zbus::connection::Builder::unix_stream(stream).server(guid).p2p().serve_at("/figures", calls).build();
        match server.await {
            Ok(connection) => connection.closed().await,
            Err(error) => eprintln!("the other side did not begin: {error}"),
        }
    });
}

/// What is called.
#[derive(Debug, Clone, Copy)]
enum Call {
    Echo,
    SyncedEcho,
    Append,
    AppendAll,
}

/// So many records one batched call carries.
const BATCH: usize = 200;

/// How many records a second so many callers on one connection get through.
async fn rate(calls: &FiguresProxy<'static>, call: Call, callers: usize) -> Outcome<f64> {
    let begun = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..callers {
        let calls = calls.clone();
        tasks.spawn(async move {
            let payload = draft(1).payload;
            let (kind, action) = ("decision", "act_1");
            let many = vec![(kind, action, payload.as_str()); BATCH];
            let mut count = 0;
            while begun.elapsed() < FOR {
                count += match call {
                    Call::Echo => calls.echo(kind, action, &payload).await.map(|_| 1)?,
                    Call::SyncedEcho => calls.synced_echo(kind, action, &payload).await.map(|_| 1)?,
                    Call::Append => calls.append(kind, action, &payload).await.map(|_| 1)?,
                    Call::AppendAll => calls.append_all(&many).await.map(|indices| indices.len())?,
                };
            }
            Ok::<_, zbus::Error>(count)
        });
    }
    let mut all = 0;
    while let Some(counted) = tasks.join_next().await {
        all += counted??;
    }
    Ok(all as f64 / begun.elapsed().as_secs_f64())
}

/// A log with many entries: what it costs to start, to prove, to ask, to check.
fn large(folder: &Path, entries: u64) -> Outcome<()> {
    let log = new_log(folder, "large")?;
    let begun = Instant::now();
    while log.size() < entries {
        let first = log.size();
        let drafts: Vec<_> = (first..entries.min(first + 2000)).map(draft).collect();
        log.append(&drafts, &stamp(first)).pop().ok_or("no answer")??;
    }
    log.store_checkpoint()?;
    figure("filled-per-second", entries as f64 / begun.elapsed().as_secs_f64());
    // Behind the stored head, as a crash leaves it.
    for number in 0..200 {
        log.append(&[draft(number)], &stamp(entries + number)).pop().ok_or("no answer")??;
    }
    drop(log);
    let folder = folder.join("large");
    OpenOptions::new().append(true).open(folder.join("segment"))?.write_all(b"E\x01")?;

    let begun = Instant::now();
    let (log, opened, _) = open(&folder, || Ok([9; 96]))?;
    figure("start-after-a-crash-ms", begun.elapsed().as_secs_f64() * 1e3);
    if log.closed().is_some() {
        return Err(format!("the log came up as {opened:?}").into());
    }
    log.checkpoint();
    let size = log.size();
    let mut times = Vec::new();
    for round in 0..1000 {
        let begun = Instant::now();
        log.prove(round * 7919 % size)?;
        times.push(begun.elapsed().as_secs_f64() * 1e6);
    }
    figure("proof-us", median(times));

    let log = Arc::new(log);
    let begun = Instant::now();
    keep(&log, evidence_log::Read::Whole, "b")?;
    wait_for_index(&log, size)?;
    figure("index-made-per-second", size as f64 / begun.elapsed().as_secs_f64());
    let mut times = Vec::new();
    for round in 0..100u64 {
        let begun = Instant::now();
        let filter = match round % 3 {
            0 => Filter { action: Some(format!("act_{:020}", round * 7919 % (size / 4))), ..Filter::default() },
            1 => Filter { subject: Some(format!("agent:agent-{}", round % 50)), limit: Some(20), ..Filter::default() },
            _ => Filter {
                kind: Some(Kind::Decision),
                from: Some(1_790_000_000_000 + size / 2),
                until: Some(1_790_000_000_000 + size / 2 + 2000),
                limit: Some(20),
                ..Filter::default()
            },
        };
        if log.query(&filter)?.is_empty() {
            return Err(format!("nothing matched {filter:?}").into());
        }
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    figure("indexed-query-ms", median(times.clone()));
    figure("indexed-query-slowest-ms", times.into_iter().fold(0.0, f64::max));

    let begun = Instant::now();
    log.verify()?;
    figure("verify-per-second", size as f64 / begun.elapsed().as_secs_f64());
    Ok(())
}

/// A question about the first action is quick once the index has come past it; the log says itself how far that is.
fn wait_for_index(log: &Log, size: u64) -> Outcome<()> {
    while log.indexed() < size {
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// The most memory that this process ever had.
fn memory() -> Outcome<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").trim().parse()?;
    Ok(kib / 1024.0)
}
