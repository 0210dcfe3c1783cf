//! Network namespaces with cables between them, and the programs at their ends.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

use aios_settings::Network as Settings;
use aios_wire::network::NetworkStatus;
use network::service::{self, Surroundings};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::LocalSet;

use crate::rogue;

const ROLE: &str = "AIOS_TEST_ROLE";
const FOLDER: &str = "AIOS_TEST_FOLDER";
const ENTRY: &str = "a_lease_of_dnsmasq_is_taken_renewed_and_replaced";

/// How long anything may take; the slowest is a lease that has to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// A client's namespace, `eth0` and so on, and one namespace for the other end of each cable, where it is `eth0` too.
pub(crate) struct Network {
    client: String,
    others: Vec<String>,
    folder: tempfile::TempDir,
}

impl Network {
    /// None: this machine cannot run the test, and that is said.
    pub(crate) fn lay(cables: usize, programs: &[&str]) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let missing = programs.iter().find(|name| {
            !Command::new("which").arg(name).stdout(Stdio::null()).status().is_ok_and(|status| status.success())
        });
        if let Some(program) = missing {
            eprintln!("SKIPPED: {program} is not installed");
            return None;
        }
        let name = |end: &str| format!("aios-{end}{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let network = Self {
            client: name("c"),
            others: (0..cables).map(|_| name("s")).collect(),
            folder: tempfile::tempdir().ok()?,
        };
        let mut laid = ip(&format!("netns add {}", network.client));
        for (number, other) in network.others.iter().enumerate() {
            let client = &network.client;
            laid = laid
                && ip(&format!("netns add {other}"))
                && ip(&format!("link add eth{number} netns {client} type veth peer name eth0 netns {other}"))
                && ip(&format!("-n {other} addr add 192.0.2.1/24 dev eth0"))
                && ip(&format!("-n {other} link set lo up"))
                && ip(&format!("-n {other} link set eth0 up"))
                && ip(&format!("-n {other} route add 255.255.255.255 dev eth0"));
        }
        if !laid {
            eprintln!("SKIPPED: no network namespaces can be made: run as root with iproute2 installed");
        }
        laid.then_some(network)
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// `ip` at the other end of a cable.
    pub(crate) fn ip(&self, cable: usize, words: &str) -> bool {
        ip(&format!("-n {} {words}", self.others[cable]))
    }

    /// Whether a program ends well at the other end of a cable.
    pub(crate) fn run(&self, cable: usize, program: &str, words: &str) -> bool {
        let mut command = inside(&self.others[cable], program);
        command.args(words.split(' ')).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }

    /// A server at the other end of a cable.
    pub(crate) fn serve(&self, cable: usize, program: &str, words: &[String]) -> Running {
        let mut command = inside(&self.others[cable], program);
        command.args(words);
        Running::start(command, self.folder().join(format!("{program}-{cable}.log")))
    }

    /// Our own server, which behaves as its role says.
    pub(crate) fn rogue(&self, cable: usize, role: &str) -> Running {
        Running::start(itself(&self.others[cable], role, self.folder()), self.folder().join("rogue.log"))
    }

    /// The service, with these links in its settings.
    pub(crate) fn client(&self, links: &str) -> Client<'_> {
        write_settings(self.folder(), links, "");
        let command = itself(&self.client, "client", self.folder());
        let log = self.folder().join("client.log");
        Client { network: self, running: Running::start(command, log) }
    }

    /// Whether a connection can be made from the other end of a cable.
    pub(crate) fn connects(&self, cable: usize, address: &str) -> bool {
        connects(&self.others[cable], address, self.folder())
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for name in self.others.iter().chain([&self.client]) {
            ip(&format!("netns del {name}"));
        }
    }
}

/// The service in its namespace.
pub(crate) struct Client<'a> {
    network: &'a Network,
    running: Running,
}

impl Client<'_> {
    /// Waits until the service says so, and gives what it says.
    pub(crate) fn wait(&self, what: &str, good: impl Fn(&NetworkStatus) -> bool) -> NetworkStatus {
        let end = Instant::now() + PATIENCE;
        loop {
            let status = fs::read(self.network.folder().join("run/status.json")).unwrap_or_default();
            if let Ok(status) = serde_json::from_slice::<NetworkStatus>(&status)
                && !status.links.is_empty()
                && good(&status)
            {
                return status;
            }
            let seen = String::from_utf8_lossy(&status);
            assert!(Instant::now() < end, "{what} did not happen; there is {seen}\n{}", self.running.text());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until `ip` with these words shows it.
    pub(crate) fn wait_for(&self, what: &str, words: &[&str], good: impl Fn(&str) -> bool) {
        let end = Instant::now() + PATIENCE;
        loop {
            let seen = Command::new("ip").args(["-n", &self.network.client]).args(words).output().expect("ip starts");
            let seen = String::from_utf8_lossy(&seen.stdout).into_owned();
            if good(&seen) {
                return;
            }
            assert!(Instant::now() < end, "{what} did not happen; there is: {seen}\n{}", self.running.text());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// By how many seconds the clock would have been set forward.
    pub(crate) fn set_ahead(&self) -> Option<u64> {
        fs::read_to_string(self.network.folder().join("clock")).ok()?.parse().ok()
    }

    pub(crate) fn settings(&self, links: &str) {
        write_settings(self.network.folder(), links, "");
    }

    pub(crate) fn settings_with_time(&self, links: &str, servers: &str) {
        write_settings(self.network.folder(), links, servers);
    }

    pub(crate) fn file(&self, name: &str) -> String {
        fs::read_to_string(self.network.folder().join("run").join(name)).expect(name)
    }

    pub(crate) fn output(&self, program: &str, words: &str) -> String {
        let run = inside(&self.network.client, program).args(words.split(' ')).output().expect("it starts");
        String::from_utf8_lossy(&run.stdout).into_owned()
    }

    /// Something that waits for connections beside the service.
    pub(crate) fn listen(&self) -> Running {
        let folder = self.network.folder();
        let running = Running::start(itself(&self.network.client, "listener", folder), folder.join("listener.log"));
        let end = Instant::now() + PATIENCE;
        while !self.connects("127.0.0.1:7777") {
            assert!(Instant::now() < end, "the listener does not listen");
            std::thread::sleep(Duration::from_millis(50));
        }
        running
    }

    pub(crate) fn connects(&self, address: &str) -> bool {
        connects(&self.network.client, address, self.network.folder())
    }
}

/// A program that ends with the test, and what it printed.
pub(crate) struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    fn start(mut command: Command, log: PathBuf) -> Self {
        let file = fs::File::create(&log).expect("a log");
        command.stdin(Stdio::null()).stdout(file.try_clone().expect("a copy")).stderr(file);
        Self { child: command.spawn().expect("it starts"), log }
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub(crate) fn log(&mut self) -> String {
        self.text()
    }

    pub(crate) fn wait(&mut self, what: &str, good: impl Fn(&str) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !good(&self.text()) {
            assert!(Instant::now() < end, "{what} did not happen; it printed: {}", self.text());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ip(words: &str) -> bool {
    let run = Command::new("ip").args(words.split(' ')).stderr(Stdio::null()).status();
    run.is_ok_and(|status| status.success())
}

fn inside(namespace: &str, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace]).arg(program);
    command
}

fn itself(namespace: &str, role: &str, folder: &Path) -> Command {
    let mut command = inside(namespace, std::env::current_exe().expect("this program"));
    command.args(["--exact", ENTRY, "--nocapture"]).env(ROLE, role).env(FOLDER, folder);
    command
}

fn connects(namespace: &str, address: &str, folder: &Path) -> bool {
    let mut command = itself(namespace, &format!("connect {address}"), folder);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn write_settings(folder: &Path, links: &str, time: &str) {
    let (next, file) = (folder.join("settings.next"), folder.join("settings.json"));
    fs::write(&next, json!({"links": links, "dns": "", "time": time}).to_string()).expect("written");
    fs::rename(next, file).expect("in its place");
}

/// Plays the part that this process was started for; returns in the test itself.
pub(crate) fn part() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let folder = PathBuf::from(std::env::var_os(FOLDER).expect("a folder"));
    match role.split_once(' ') {
        Some((_, address)) => {
            let address = address.parse().expect("an address");
            let connected = TcpStream::connect_timeout(&address, Duration::from_secs(2));
            std::process::exit(i32::from(connected.is_err()));
        }
        None if role == "client" => serve_network(&folder),
        None if role == "listener" => {
            let listener = TcpListener::bind("[::]:7777").expect("a port");
            for stream in listener.incoming() {
                drop(stream);
            }
        }
        None if role == "time" => rogue::tell_time(),
        None if role == "six" => rogue::serve_six(),
        None => rogue::serve(&role),
    }
    std::process::exit(0);
}

/// The service itself; its settings are a file.
fn serve_network(folder: &Path) {
    let run = folder.join("run");
    fs::create_dir_all(&run).expect("a folder");
    let read = {
        let file = folder.join("settings.json");
        move || serde_json::from_slice::<Settings>(&fs::read(&file).expect("settings")).expect("settings")
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("an event loop");
    let (sender, wanted) = watch::channel(read());
    let follow = async {
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let next = read();
            sender.send_if_modified(|old| std::mem::replace(old, next.clone()) != next);
        }
    };
    // The clock of this machine is not the test's; what would be set is kept.
    let clock = folder.join("clock");
    let set_clock = Box::new(move |to: SystemTime| {
        let ahead = to.duration_since(SystemTime::now()).map_err(|error| error.to_string())?;
        fs::write(&clock, ahead.as_secs().to_string()).map_err(|error| error.to_string())
    });
    let surroundings = Surroundings { folder: run, wanted, tell: Box::new(|_| ()), set_clock };
    let work = LocalSet::new();
    runtime.block_on(work.run_until(async {
        tokio::select! {
            ended = service::run(surroundings) => panic!("the service ended: {ended:?}"),
            () = follow => {}
        }
    }));
}
