//! What the network sees of a machine, and what the machine takes of the network.

use std::collections::BTreeSet;
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::host::capture::{self, Segment, Traffic};
use crate::host::time::TimeServer;
use crate::scenario::{Failure, Scenario, Set, Stage, ensure};
use crate::steps::{Aios, Status, evidence, list, services, text};
use crate::vm::{Login, Options};

pub(super) const ALL: &[Scenario] = &[
    Scenario {
        name: "network",
        promise: "a default boot says nothing but what a lease and an address need, no port answers, and bad settings change nothing",
        set: Set::Ci,
        boots: 1,
        show: network,
    },
    Scenario {
        name: "time-server",
        promise: "a time server that is named sets the clock, one from before the release does not, and records say when the clock went back",
        set: Set::Long,
        boots: 1,
        show: time_server,
    },
];

/// How long a lease takes on a slow host.
const PATIENCE: Duration = Duration::from_secs(60);

/// Ports where somebody would look first.
const PORTS: &[u16] = &[
    1, 7, 21, 22, 23, 25, 53, 67, 68, 79, 80, 110, 111, 123, 135, 137, 139, 143, 161, 179, 389, 443, 445, 514, 515,
    548, 587, 631, 636, 873, 902, 993, 995, 1080, 1433, 1521, 1883, 2049, 2375, 2376, 3000, 3128, 3260, 3306, 3389,
    4444, 5000, 5353, 5355, 5432, 5672, 5900, 5985, 6000, 6379, 6443, 7777, 8000, 8080, 8443, 8888, 9000, 9090, 9100,
    9200, 10250, 11211, 27017, 50000,
];

fn network(stage: &Stage<'_>) -> Result<(), Failure> {
    let capture = stage.folder.join("cable.pcap");
    let iso = Some(stage.context.iso.clone());
    let options = Options { iso, capture: Some(capture.clone()), ..Options::default() };
    let mut aios = Aios::boot(stage, "live", options, Login::Already)?;
    services::all_ready(&mut aios)?;
    let leased = |status: &Value| status["links"][0]["state"] == "leased";
    let status = aios.until("network status", "a lease", PATIENCE, leased)?;
    ensure!(status["filter"]["state"] == "loaded", "the packet filter is not in force: {status:#}");
    ensure!(status["clock"]["state"] == "own", "nobody named a time server: {status:#}");

    // An address for the link is tried for a second before a router is asked for.
    let end = Instant::now() + PATIENCE;
    let asks_for_router = |frame: &capture::Frame| frame.traffic == Traffic::RouterSolicitation;
    while !capture::read(&capture)?.iter().any(asks_for_router) {
        ensure!(Instant::now() < end, "the machine asked for no router");
        std::thread::sleep(Duration::from_millis(200));
    }
    let own = only_what_a_lease_needs(&capture::read(&capture)?)?;
    no_port_answers(&mut aios, &capture, own)?;
    settings(&mut aios)?;
    aios.power_off()
}

/// Every frame of the machine is one that a lease or an address needs. Gives its hardware address.
fn only_what_a_lease_needs(frames: &[capture::Frame]) -> Result<[u8; 6], Failure> {
    let asked = frames.iter().find(|frame| frame.traffic == Traffic::LeaseAsked);
    let own = asked.ok_or_else(|| Failure::broken("the machine asked for no lease"))?.from;
    let said: Vec<_> = frames.iter().filter(|frame| frame.from == own).collect();
    let needed = |traffic| {
        matches!(
            traffic,
            Traffic::LeaseAsked | Traffic::RouterSolicitation | Traffic::Neighbour | Traffic::Listeners | Traffic::Arp
        )
    };
    let more: Vec<String> = said.iter().filter(|frame| !needed(frame.traffic)).map(ToString::to_string).collect();
    ensure!(more.is_empty(), "the machine says more than it must: {}", more.join(", "));
    Ok(own)
}

/// Each port is asked for a connection from outside, and the cable carries no answer, not even a refusal.
fn no_port_answers(aios: &mut Aios, capture: &std::path::Path, own: [u8; 6]) -> Result<(), Failure> {
    let mut connections = Vec::new();
    for port in PORTS {
        let door = free_port()?;
        aios.machine.forward(door, *port)?;
        connections.push(TcpStream::connect(("127.0.0.1", door)).map_err(|error| Failure::broken(error.to_string()))?);
    }
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let frames = capture::read(capture)?;
        let tcp = |from_machine: bool, wanted| {
            let one = frames.iter().filter(move |frame| (frame.from == own) == from_machine);
            one.filter_map(move |frame| match frame.traffic {
                Traffic::Tcp { from, to, kind } if kind == wanted => Some(if from_machine { from } else { to }),
                _ => None,
            })
            .collect::<BTreeSet<u16>>()
        };
        let answers = tcp(true, Segment::Answers);
        ensure!(answers.is_empty() && tcp(true, Segment::Opens).is_empty(), "ports answer: {answers:?}");
        let asked = tcp(false, Segment::Opens);
        // A second longer than the last question, for an answer that comes late.
        if PORTS.iter().all(|port| asked.contains(port)) {
            std::thread::sleep(Duration::from_secs(1));
            let late = capture::read(capture)?;
            let late = late.iter().find(|frame| frame.from == own && matches!(frame.traffic, Traffic::Tcp { .. }));
            ensure!(late.is_none(), "a port answers late: {late:?}");
            return Ok(());
        }
        ensure!(Instant::now() < end, "only these ports were asked: {asked:?}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn free_port() -> Result<u16, Failure> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
    listener
        .map(|address| address.port())
        .map_err(|error| Failure::broken(format!("this host has no free port: {error}")))
}

/// Links follow their line; what cannot be is refused with the reason, and nothing changes.
fn settings(aios: &mut Aios) -> Result<(), Failure> {
    for (line, reason) in [
        ("settings set network.links 'eth0 static'", "has no address"),
        ("settings set network.links 'eth0 static 10.0.2.9/24 via 192.0.2.1'", "outside the networks"),
        ("settings set timezone Europe/Atlantis", "time zone database"),
    ] {
        let said = aios.ends(line, Status::Failed)?;
        ensure!(said.contains(reason), "'{line}' is not refused with '{reason}': {said}");
    }
    let changed = aios.json("settings diff")?;
    ensure!(changed == Value::Array(Vec::new()), "a refused value changed something: {changed:#}");

    aios.ok("settings set network.links 'eth0 static 10.0.2.9/24 via 10.0.2.2; eth0.20 static 10.20.0.5/24; * off'")?;
    let fixed = |status: &Value| {
        let link = |number: usize| &status["links"][number];
        link(0)["addresses"].to_string().contains("10.0.2.9/24")
            && link(1)["name"] == "eth0.20"
            && link(1)["addresses"].to_string().contains("10.20.0.5/24")
    };
    aios.until("network status", "the fixed addresses and the VLAN", PATIENCE, fixed)?;
    aios.ok("settings set timezone Europe/Berlin")?;
    aios.ok("settings set network.links ''")?;
    let as_before = |status: &Value| {
        status["links"].as_array().is_some_and(|links| links.len() == 1) && status["links"][0]["state"] == "leased"
    };
    aios.until("network status", "the lease again and no VLAN", PATIENCE, as_before)?;
    Ok(())
}

/// How far ahead the server is, in seconds.
const AHEAD: i64 = 3600;

/// Before every release.
const FORTY_YEARS_AGO: i64 = -40 * 365 * 86_400;

fn time_server(stage: &Stage<'_>) -> Result<(), Failure> {
    let server = TimeServer::start()?;
    let mut aios = Aios::live(stage, "live")?;
    services::all_ready(&mut aios)?;
    aios.until("network status", "a lease", PATIENCE, |status| status["links"][0]["state"] == "leased")?;
    let (begin, _) = newest_record(&mut aios)?;

    server.set_ahead(AHEAD);
    follow(&mut aios, |clock| off_by(clock).is_some_and(|ms| (AHEAD * 1000 - ms).abs() < 60_000))?;
    let (ahead, grade) = newest_record(&mut aios)?;
    ensure!(ahead >= begin + (AHEAD - 60) * 1000, "the clock was not set: records of {begin} and {ahead}");
    ensure!(grade == "local", "a clock that went forward is called '{grade}'");

    server.set_ahead(FORTY_YEARS_AGO);
    follow(&mut aios, |clock| clock["state"] == "lost" && clock["why"].to_string().contains("release was made later"))?;
    let (still, _) = newest_record(&mut aios)?;
    ensure!(still >= ahead, "a time from before the release was believed: records of {ahead} and {still}");
    let said = aios.ok("network status")?;
    ensure!(said.contains("the clock is not set from the network"), "nobody is told:\n{said}");

    server.set_ahead(0);
    follow(&mut aios, |clock| off_by(clock).is_some_and(|ms| (AHEAD * 1000 + ms).abs() < 60_000))?;
    let (back, _) = newest_record(&mut aios)?;
    ensure!(back < still, "the clock did not go back: records of {still} and {back}");
    evidence::says_that_the_clock_went_back(&mut aios)?;
    aios.power_off()
}

/// Has the server asked now, and waits for what comes of it.
fn follow(aios: &mut Aios, wanted: impl Fn(&Value) -> bool) -> Result<(), Failure> {
    aios.ok("settings set network.time ''")?;
    aios.until("network status", "no time server", PATIENCE, |status| status["clock"]["state"] == "own")?;
    aios.ok("settings set network.time 10.0.2.2")?;
    aios.until("network status", "what the time server is good for", PATIENCE, |status| wanted(&status["clock"]))?;
    Ok(())
}

/// By how many milliseconds the clock was off when it was followed last.
fn off_by(clock: &Value) -> Option<i64> {
    (clock["state"] == "followed").then(|| clock["offset_ms"].as_i64()).flatten()
}

/// When a record that is made now says that it was made, in milliseconds since 1970, and what it holds of its clock.
fn newest_record(aios: &mut Aios) -> Result<(i64, String), Failure> {
    let view = aios.json("settings set motd time")?;
    let records = aios.json(&format!("evidence query --action {}", text(&view, "id")?))?;
    let record = list(&records)?.last().ok_or_else(|| Failure::broken("the action left no record"))?;
    let wall = record["wall"].as_i64().ok_or_else(|| Failure::broken(format!("it has no time: {record:#}")))?;
    Ok((wall, text(record, "clock")?.to_owned()))
}
