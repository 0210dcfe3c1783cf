//! A DHCP server that does what good ones do not: grants for seconds and falls silent, offers and refuses, grants what
//! is taken, answers nonsense.
//! It prints a line for each question. One like it for IPv6. And a time server that is an hour ahead and talks nonsense first.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{SystemTime, UNIX_EPOCH};

use dhcproto::v4::{DhcpOption, Message, MessageType, Opcode};
use dhcproto::{Decodable, Decoder, Encodable, Encoder};

const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);

pub(crate) fn serve(role: &str) -> ! {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 67)).expect("the server's port");
    socket.set_broadcast(true).expect("broadcasts");
    let mut buffer = [0; 1500];
    let mut granted = false;
    loop {
        let (length, _) = socket.recv_from(&mut buffer).expect("a message");
        let question = Message::decode(&mut Decoder::new(&buffer[..length])).expect("a question");
        let kind = question.opts().msg_type().expect("a kind");
        println!("{kind:?}");
        let say = |bytes: &[u8]| {
            socket.send_to(bytes, SocketAddr::from((Ipv4Addr::BROADCAST, 68))).expect("sent");
        };
        let offer = kind == MessageType::Discover;
        match role {
            "short" if granted => {}
            "short" => {
                granted = !offer;
                say(&answer(&question, if offer { MessageType::Offer } else { MessageType::Ack }, |message| {
                    message.opts_mut().insert(DhcpOption::AddressLeaseTime(6));
                    message.opts_mut().insert(DhcpOption::DomainNameServer(vec![SERVER]));
                }));
            }
            // What is declined is not answered.
            "taken" if kind == MessageType::Decline => {}
            "taken" => say(&answer(&question, if offer { MessageType::Offer } else { MessageType::Ack }, |_| ())),
            "refuse" => say(&answer(&question, if offer { MessageType::Offer } else { MessageType::Nak }, |_| ())),
            _ => {
                let kind = if offer { MessageType::Offer } else { MessageType::Ack };
                for bad in nonsense(&question, kind) {
                    say(&bad);
                }
                say(&answer(&question, kind, |_| ()));
            }
        }
    }
}

/// A server of DHCP for IPv6 that grants for seconds, lets its grant be renewed twice, grants another address, and falls
/// silent.
pub(crate) fn serve_six() -> ! {
    use dhcproto::v6::{DhcpOption, DhcpOptions, IAAddr, IANA, Message, MessageType, OptionCode, Status, StatusCode};

    let socket = UdpSocket::bind("[::]:547").expect("the server's port");
    // The cable is the only link that carries groups.
    socket.join_multicast_v6(&"ff02::1:2".parse().expect("the group"), 0).expect("a group");
    let mut buffer = [0; 1500];
    let (mut renewed, mut silent) = (0, false);
    loop {
        let (length, from) = socket.recv_from(&mut buffer).expect("a message");
        let question = Message::decode(&mut Decoder::new(&buffer[..length])).expect("a question");
        let kind = question.msg_type();
        println!("{kind:?}");
        let Some(DhcpOption::IANA(wanted)) = question.opts().get(OptionCode::IANA) else { continue };
        if silent {
            continue;
        }
        renewed += usize::from(kind == MessageType::Renew);
        let mut opts = DhcpOptions::new();
        if renewed == 3 && kind == MessageType::Renew {
            opts.insert(DhcpOption::StatusCode(StatusCode { status: Status::NoBinding, msg: "who?".into() }));
        } else {
            let addr = if renewed < 3 { "2001:db8:7::10" } else { "2001:db8:7::11" };
            let addr = addr.parse().expect("an address");
            opts.insert(DhcpOption::IAAddr(IAAddr {
                addr,
                preferred_life: 8,
                valid_life: 10,
                opts: DhcpOptions::new(),
            }));
        }
        silent = renewed >= 3 && kind == MessageType::Request;
        let answers = if kind == MessageType::Solicit { MessageType::Advertise } else { MessageType::Reply };
        let mut answer = Message::new_with_id(answers, question.xid());
        let options = answer.opts_mut();
        options.insert(question.opts().get(OptionCode::ClientId).expect("a name").clone());
        options.insert(DhcpOption::ServerId(vec![0, 3, 0, 1, 2, 0, 0, 0, 0, 1]));
        options.insert(DhcpOption::IANA(IANA { id: wanted.id, t1: 3, t2: 6, opts }));
        let mut bytes = Vec::new();
        answer.encode(&mut Encoder::new(&mut bytes)).expect("an encoding");
        socket.send_to(&bytes, from).expect("sent");
    }
}

/// How far ahead the time server is, in seconds.
pub(crate) const AHEAD: u64 = 3600;

pub(crate) fn tell_time() -> ! {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 123)).expect("the server's port");
    let mut question = [0; 48];
    loop {
        let (_, from) = socket.recv_from(&mut question).expect("a question");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        let seconds = (now.as_secs() + AHEAD + 2_208_988_800) & 0xffff_ffff;
        let stamp = ((seconds << 32) | ((u64::from(now.subsec_nanos()) << 32) / 1_000_000_000)).to_be_bytes();
        let mut good = [0; 48];
        (good[0], good[1]) = (4 << 3 | 4, 2);
        good[24..32].copy_from_slice(&question[40..48]);
        good[32..40].copy_from_slice(&stamp);
        good[40..48].copy_from_slice(&stamp);
        let (mut guess, mut unset) = (good, good);
        guess[24] ^= 1;
        unset[0] |= 3 << 6;
        for answer in [&[][..], &[0xff; 100], &good[..40], &guess, &unset, &good] {
            socket.send_to(answer, from).expect("sent");
        }
    }
}

fn answer(question: &Message, kind: MessageType, change: impl FnOnce(&mut Message)) -> Vec<u8> {
    let none = Ipv4Addr::UNSPECIFIED;
    let mut answer = Message::new_with_id(question.xid(), none, ADDRESS, none, none, question.chaddr());
    answer.set_opcode(Opcode::BootReply);
    let options = answer.opts_mut();
    options.insert(DhcpOption::MessageType(kind));
    options.insert(DhcpOption::ServerIdentifier(SERVER));
    options.insert(DhcpOption::SubnetMask(Ipv4Addr::new(255, 255, 255, 0)));
    options.insert(DhcpOption::Router(vec![SERVER]));
    options.insert(DhcpOption::AddressLeaseTime(600));
    change(&mut answer);
    let mut bytes = Vec::new();
    answer.encode(&mut Encoder::new(&mut bytes)).expect("an encoding");
    bytes
}

/// Answers that must be left aside: each of them names a name server, so that one that was taken shows.
fn nonsense(question: &Message, kind: MessageType) -> Vec<Vec<u8>> {
    let with = |change: &dyn Fn(&mut Message)| {
        answer(question, kind, |message| {
            message.opts_mut().insert(DhcpOption::DomainNameServer(vec![Ipv4Addr::new(203, 0, 113, 66)]));
            change(message);
        })
    };
    let whole = with(&|_| ());
    vec![
        Vec::new(),
        vec![0xff; 1400],
        whole[..whole.len() - 8].to_vec(),
        whole[..200].to_vec(),
        with(&|message| {
            message.set_xid(message.xid().wrapping_add(1));
        }),
        with(&|message| {
            message.set_chaddr(&[2, 0, 0, 0, 0, 1]);
        }),
        with(&|message| {
            message.set_yiaddr(Ipv4Addr::BROADCAST);
        }),
        with(&|message| {
            message.set_yiaddr(Ipv4Addr::new(127, 0, 0, 1));
        }),
        with(&|message| drop(message.opts_mut().insert(DhcpOption::SubnetMask(Ipv4Addr::new(0, 255, 0, 255))))),
        with(&|message| drop(message.opts_mut().insert(DhcpOption::AddressLeaseTime(0)))),
    ]
}
