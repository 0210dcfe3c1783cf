//! Measures the log beside what its disk and its transport can do, for `cargo xtask bench evidence`: prints a line
//! `name value` for each figure. Arguments: a folder on the disk to measure, and how many entries the large log gets.

use std::error::Error;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use aios_evidence::{Filter, Kind};
use evidence_log::{Appends, Draft, Log, Stamp, keep, open, start_writer};

type Outcome<T> = Result<T, Box<dyn Error>>;

const ROUNDS: usize = 300;
const PRODUCERS: usize = 64;
const FOR: Duration = Duration::from_secs(3);

fn main() -> Outcome<()> {
    let mut args = std::env::args().skip(1);
    let folder = args.next().ok_or("say in which folder")?;
    let entries: u64 = args.next().ok_or("say how many entries")?.parse()?;
    let folder = Path::new(&folder);
    std::fs::create_dir_all(folder)?;
    one_caller(folder)?;
    many_producers(folder)?;
    over_the_socket(folder)?;
    large(folder, entries)
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
}

#[zbus::interface(name = "org.aios.Figures1")]
impl Calls {
    fn echo(&self, kind: &str, action: &str, payload: &str) -> u64 {
        (kind.len() + action.len() + payload.len()) as u64
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
    fn append(&self, kind: &str, action: &str, payload: &str) -> zbus::Result<u64>;
    fn append_all(&self, records: &[(&str, &str, &str)]) -> zbus::Result<Vec<u64>>;
}

fn over_the_socket(folder: &Path) -> Outcome<()> {
    let log = Arc::new(new_log(folder, "socket")?);
    keep(&log, evidence_log::Read::Whole, "b")?;
    let appends = start_writer(Arc::clone(&log), "b".into())?;
    let (near, far) = std::os::unix::net::UnixStream::pair()?;
    // As in the service: one thread on each side of the socket.
    std::thread::spawn(move || serve(far, Calls { log, appends }));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let connection = zbus::connection::Builder::unix_stream(near).p2p().build().await?;
        let calls = FiguresProxy::new(&connection).await?;
        let payload = draft(1).payload;
        figure("socket-echo-per-second", rate(1, || calls.echo("decision", "act_1", &payload)).await);
        figure("socket-single-per-second", rate(1, || calls.append("decision", "act_1", &payload)).await);
        let many: Vec<_> = (0..200).map(|_| ("decision", "act_1", payload.as_str())).collect();
        figure("socket-batched-per-second", rate(200, || calls.append_all(&many)).await);
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

/// How many records a second 64 callers on one connection get through.
async fn rate<T, F: Future<Output = zbus::Result<T>>>(records: u32, call: impl Fn() -> F) -> f64 {
    let begun = Instant::now();
    let caller = async || {
        let mut count = 0;
        while begun.elapsed() < FOR {
            match call().await {
                Ok(_) => count += 1,
                Err(error) => {
                    eprintln!("a call failed: {error}");
                    break;
                }
            }
        }
        count
    };
    let mut callers = Vec::new();
    for _ in 0..PRODUCERS {
        callers.push(Box::pin(caller()));
    }
    let counts = join(callers).await;
    f64::from(counts.into_iter().sum::<u32>() * records) / begun.elapsed().as_secs_f64()
}

/// All of these at once on this thread.
async fn join<F: Future<Output = u32> + Unpin>(mut futures: Vec<F>) -> Vec<u32> {
    let mut results = vec![None; futures.len()];
    std::future::poll_fn(move |context| {
        for (future, result) in futures.iter_mut().zip(&mut results) {
            if result.is_none()
                && let std::task::Poll::Ready(value) = std::pin::Pin::new(future).poll(context)
            {
                *result = Some(value);
            }
        }
        match results.iter().copied().collect::<Option<Vec<u32>>>() {
            Some(all) => std::task::Poll::Ready(all),
            None => std::task::Poll::Pending,
        }
    })
    .await
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
    figure("memory-mib", memory()?);
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
