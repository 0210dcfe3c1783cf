//! Following time servers: whom to ask, when, and what to do with the answers. The clock itself is set by somebody else.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use aios_settings::TimeServer;
use aios_wire::network::ClockState;
use rustix::rand::{GetRandomFlags, getrandom};
use tokio::net::UdpSocket;
use tokio::time::{Instant, sleep_until, timeout};

use crate::board::Board;
use crate::dns::{self, Family};
use crate::sntp::{self, Sample};

/// A clock that is off by less is left alone.
const GOOD_ENOUGH_MS: u64 = 100;

/// Between two looks when the last one was good: a cheap clock drifts less than a tenth of a second in it.
const LOOK: Duration = Duration::from_secs(1024);

/// Between two looks when there was no time; each failure makes it longer, up to [`LOOK`].
const FIRST_RETRY: Duration = Duration::from_secs(8);

const TIME_PORT: u16 = 123;
const NAME_PORT: u16 = 53;

/// How long to wait for an answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Sets the clock; the error says why not.
pub type SetClock = Box<dyn Fn(SystemTime) -> Result<(), String>>;

/// Follows the servers that the board names, for ever.
pub(crate) async fn follow(board: Rc<Board>, set: SetClock) {
    let mut failures = 0;
    loop {
        let servers = board.time_servers();
        if servers.is_empty() {
            board.clock(ClockState::Own);
        } else {
            let looked = look(&board, &servers, &set).await;
            failures = if looked.is_ok() { 0 } else { failures + 1 };
            board.clock(match looked {
                Ok((server, offset_ms)) => ClockState::Followed { server: server.to_string(), offset_ms },
                Err(why) => ClockState::Lost { why },
            });
        }
        let wait = if failures == 0 { LOOK } else { LOOK.min(FIRST_RETRY * (1 << failures.min(8))) };
        let end = Instant::now() + wait;
        let names = board.name_servers();
        // Most changes are about other things; but a name is asked for again when there is somebody else to ask.
        while board.time_servers() == servers
            && Instant::now() < end
            && (failures == 0 || board.name_servers() == names)
        {
            tokio::select! {
                () = board.servers_changed.notified() => {}
                () = sleep_until(end) => {}
            }
        }
    }
}

/// Asks all servers once, and sets the clock by what they agree on.
async fn look(board: &Board, servers: &[TimeServer], set: &SetClock) -> Result<(TimeServer, i64), String> {
    let mut samples = Vec::new();
    let mut why = Vec::new();
    for server in servers {
        match ask(board, server).await {
            Ok(sample) => samples.push((server.clone(), sample)),
            Err(error) => why.push(format!("{server}: {error}")),
        }
    }
    let (server, Sample { offset_ms, .. }) = sntp::agree(&samples).map_err(|error| {
        why.push(error.to_string());
        why.join("; ")
    })?;
    if offset_ms.unsigned_abs() >= GOOD_ENOUGH_MS {
        let by = Duration::from_millis(offset_ms.unsigned_abs());
        let now = SystemTime::now();
        let right = if offset_ms > 0 { now.checked_add(by) } else { now.checked_sub(by) };
        set(right.ok_or("no clock can show the time that it says")?)?;
        eprintln!("the clock was {offset_ms} ms off by {server} and is set");
    }
    Ok((server, offset_ms))
}

async fn ask(board: &Board, server: &TimeServer) -> Result<Sample, String> {
    let address = match server {
        TimeServer::Address(address) => *address,
        TimeServer::Name(name) => find(&board.name_servers(), name).await?,
    };
    let socket = talk_to(SocketAddr::from((address, TIME_PORT))).await?;
    let random = u64::from_ne_bytes(random()?);
    let (sent, started) = (SystemTime::now(), Instant::now());
    socket.send(&sntp::question(random)).await.map_err(|error| error.to_string())?;
    let mut buffer = [0; 512];
    let mut last = "it does not answer".to_owned();
    while let Some(left) = PATIENCE.checked_sub(started.elapsed()) {
        let Ok(heard) = timeout(left, socket.recv(&mut buffer)).await else { break };
        let length = heard.map_err(|error| error.to_string())?;
        match sntp::read(&buffer[..length], random, sent, started.elapsed()) {
            Ok(sample) => return Ok(sample),
            Err(error) => last = error.to_string(),
        }
    }
    Err(last)
}

/// An address of a name, from the first server that knows one.
pub(crate) async fn find(servers: &[IpAddr], name: &str) -> Result<IpAddr, String> {
    let mut last = "no name server is known".to_owned();
    for server in servers {
        for family in [Family::V4, Family::V6] {
            match resolve(*server, name, family).await {
                Ok(Some(address)) => return Ok(address),
                Ok(None) => last = "it has no address".into(),
                Err(error) => last = format!("name server {server}: {error}"),
            }
        }
    }
    Err(last)
}

async fn resolve(server: IpAddr, name: &str, family: Family) -> Result<Option<IpAddr>, String> {
    let socket = talk_to(SocketAddr::from((server, NAME_PORT))).await?;
    let number = u16::from_ne_bytes(random()?);
    socket.send(&dns::question(number, name, family)).await.map_err(|error| error.to_string())?;
    let mut buffer = [0; dns::MESSAGE_LIMIT];
    let end = Instant::now() + PATIENCE;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let heard = timeout(left, socket.recv(&mut buffer)).await.map_err(|_| "it does not answer".to_owned())?;
        let length = heard.map_err(|error| error.to_string())?;
        match dns::read(&buffer[..length], number, name, family) {
            Ok(addresses) => return Ok(addresses.first().copied()),
            // Somebody else's guess; the answer may still come.
            Err(dns::DnsError::Other) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// A socket that hears this one party only, on a port that the kernel chooses.
async fn talk_to(server: SocketAddr) -> Result<UdpSocket, String> {
    let own: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((own, 0)).await.map_err(|error| error.to_string())?;
    socket.connect(server).await.map_err(|error| error.to_string())?;
    Ok(socket)
}

fn random<const N: usize>() -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    getrandom(&mut bytes, GetRandomFlags::empty()).map_err(|error| error.to_string())?;
    Ok(bytes)
}
