//! A whole lease between two network namespaces: the service's own code on one side, a small server on the other.
//!
//! The test starts its own program again inside each namespace. It needs root and `ip`, as the machine of CI has.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use aios_settings::{Network, NetworkMode};
use dhcproto::v4::{DhcpOption, Message, MessageType, Opcode, OptionCode};
use dhcproto::{Decodable, Decoder, Encodable, Encoder};
use network::link::{Keeper, Rank};
use network::netlink::{Carrier, Kind, LinkChanges, Netlink};
use tokio::sync::watch;

const ROLE: &str = "AIOS_TEST_ROLE";
const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const FIRST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);

/// Two namespaces with a cable between them.
struct Cable {
    names: [String; 2],
}

impl Cable {
    fn lay() -> Option<Self> {
        let names = ["c", "s"].map(|end| format!("aios-{end}{}", std::process::id()));
        let cable = Self { names };
        let [client, server] = &cable.names;
        let laid = ip(&format!("netns add {client}"))
            && ip(&format!("netns add {server}"))
            && ip(&format!("link add eth0 netns {client} type veth peer name eth0 netns {server}"))
            && ip(&format!("-n {server} addr add {SERVER}/24 dev eth0"))
            && ip(&format!("-n {server} link set eth0 up"))
            && ip(&format!("-n {server} route add 255.255.255.255 dev eth0"));
        laid.then_some(cable)
    }

    fn start(&self, role: &str) -> Child {
        let end = usize::from(role == "server");
        Command::new("ip")
            .args(["netns", "exec", &self.names[end]])
            .arg(std::env::current_exe().expect("this program"))
            .args(["--exact", "a_lease_is_taken_renewed_and_replaced_by_a_fixed_address", "--nocapture"])
            .env(ROLE, role)
            .stdout(Stdio::null())
            .spawn()
            .expect("ip starts")
    }

    /// Waits until the client's end looks so.
    fn wait_for(&self, what: &str, arguments: &[&str], good: impl Fn(&str) -> bool) {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            let seen = Command::new("ip").args(["-n", &self.names[0]]).args(arguments).output().expect("ip starts");
            let seen = String::from_utf8_lossy(&seen.stdout).into_owned();
            if good(&seen) {
                return;
            }
            assert!(Instant::now() < end, "{what} did not happen; there is: {seen}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        for name in &self.names {
            ip(&format!("netns del {name}"));
        }
    }
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ip(arguments: &str) -> bool {
    let run = Command::new("ip").args(arguments.split(' ')).stderr(Stdio::null()).status();
    run.is_ok_and(|status| status.success())
}

#[test]
fn a_lease_is_taken_renewed_and_replaced_by_a_fixed_address() {
    match std::env::var(ROLE).as_deref() {
        Ok("server") => serve(),
        Ok("client") => client(),
        _ => {}
    }
    let Some(cable) = Cable::lay() else {
        eprintln!("SKIPPED: network namespaces cannot be made; run as root with iproute2 installed");
        return;
    };
    let client = Running(cable.start("client"));
    // The client asks before there is a server, and again.
    std::thread::sleep(Duration::from_millis(500));
    let server = Running(cable.start("server"));
    cable.wait_for("the lease", &["-4", "addr", "show", "eth0"], |seen| {
        seen.contains("inet 192.0.2.10/24 brd 192.0.2.255")
    });
    cable.wait_for("the route", &["route"], |seen| seen.contains("default via 192.0.2.1 dev eth0"));
    // The server grants another address at the renewal.
    cable.wait_for("the renewal", &["-4", "addr", "show", "eth0"], |seen| {
        seen.contains("inet 192.0.2.11/24") && !seen.contains("192.0.2.10")
    });
    // After some seconds the client's settings change to a fixed address outside of the old network.
    cable.wait_for("the fixed address", &["-4", "addr", "show", "eth0"], |seen| {
        seen.contains("inet 198.51.100.7/24") && !seen.contains("192.0.2.")
    });
    cable.wait_for("the other route", &["route"], |seen| {
        seen.contains("default via 198.51.100.1") && !seen.contains("192.0.2.1")
    });
    drop((client, server));
}

/// The service's own code, on the client's end.
fn client() -> ! {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("an event loop");
    runtime.block_on(async {
        let netlink = Rc::new(Netlink::open().expect("netlink"));
        let mut changes = LinkChanges::listen().expect("netlink");
        let find = |netlink: &Netlink| {
            netlink.links().expect("links").into_iter().find(|link| link.name == "eth0").expect("eth0")
        };
        let link = find(&netlink);
        let Kind::Ethernet(mac) = link.kind else { panic!("a cable of another kind") };
        let (tell_carrier, carrier) = watch::channel(Carrier::Absent);
        let (tell_wanted, wanted) = watch::channel(Network::default());
        let keeper = Keeper { link, mac, rank: Rank::First, netlink: Rc::clone(&netlink), wanted, carrier };
        let watch_carrier = async {
            loop {
                tell_carrier.send_replace(find(&netlink).carrier);
                changes.next().await.expect("news");
            }
        };
        let change_settings = async {
            tokio::time::sleep(Duration::from_secs(12)).await;
            tell_wanted.send_replace(Network {
                mode: NetworkMode::Static,
                address: "198.51.100.7/24".parse().ok(),
                gateway: "198.51.100.1".parse().ok(),
                dns: Vec::new(),
            });
            std::future::pending::<()>().await;
        };
        tokio::join!(keeper.keep(|_| ()), watch_carrier, change_settings);
    });
    unreachable!("the client works until it is stopped");
}

/// A server of one client: an offer for each discovery, an ack for each request, another address when it is renewed.
fn serve() -> ! {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 67)).expect("the server's port");
    socket.set_broadcast(true).expect("broadcasts");
    let mut buffer = [0; 1500];
    loop {
        let (length, _) = socket.recv_from(&mut buffer).expect("a message");
        let question = Message::decode(&mut Decoder::new(&buffer[..length])).expect("a question");
        let kind = question.opts().msg_type().expect("a kind");
        let renewal = !question.ciaddr().is_unspecified();
        let address = if renewal { Ipv4Addr::from_bits(FIRST.to_bits() + 1) } else { FIRST };
        let none = Ipv4Addr::UNSPECIFIED;
        let mut answer = Message::new_with_id(question.xid(), none, address, none, none, question.chaddr());
        answer.set_opcode(Opcode::BootReply);
        let options = answer.opts_mut();
        options.insert(DhcpOption::MessageType(if kind == MessageType::Discover {
            MessageType::Offer
        } else {
            MessageType::Ack
        }));
        options.insert(DhcpOption::ServerIdentifier(SERVER));
        options.insert(DhcpOption::SubnetMask(Ipv4Addr::new(255, 255, 255, 0)));
        options.insert(DhcpOption::Router(vec![SERVER]));
        // Short enough to see a renewal.
        options.insert(DhcpOption::AddressLeaseTime(if renewal { 600 } else { 6 }));
        assert!(question.opts().get(OptionCode::ParameterRequestList).is_some(), "the client says what it wants");
        let mut bytes = Vec::new();
        answer.encode(&mut Encoder::new(&mut bytes)).expect("an encoding");
        let to = if renewal { question.ciaddr() } else { Ipv4Addr::BROADCAST };
        socket.send_to(&bytes, SocketAddr::from((to, 68))).expect("sent");
    }
}
