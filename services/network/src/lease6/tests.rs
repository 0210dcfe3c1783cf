//! The client against every kind of answer, in time and too late.

use dhcproto::v6::{DhcpOption, DhcpOptions, IAAddr, IANA, Message, MessageType, OptionCode, Status, StatusCode};
use dhcproto::{Decodable, Decoder, Encodable, Encoder};
use proptest::prelude::*;

use super::*;

const MAC: Mac = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
const TRANSACTION: [u8; 3] = [1, 2, 3];
const SERVER: [u8; 10] = [0, 3, 0, 1, 2, 0, 0, 0, 0, 1];
const ADDRESS: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 7, 0, 0, 0, 0, 0x10);

fn association_of(times: [u32; 2], address: Ipv6Addr, lifetimes: [u32; 2]) -> IANA {
    let mut opts = DhcpOptions::new();
    opts.insert(DhcpOption::IAAddr(IAAddr {
        addr: address,
        preferred_life: lifetimes[0],
        valid_life: lifetimes[1],
        opts: DhcpOptions::new(),
    }));
    IANA { id: u32::from_be_bytes(association(MAC)), t1: times[0], t2: times[1], opts }
}

fn message(kind: MessageType, association: IANA, change: impl FnOnce(&mut DhcpOptions)) -> Vec<u8> {
    let mut message = Message::new_with_id(kind, TRANSACTION);
    let options = message.opts_mut();
    options.insert(DhcpOption::ClientId(client(MAC)));
    options.insert(DhcpOption::ServerId(SERVER.to_vec()));
    options.insert(DhcpOption::IANA(association));
    options.insert(DhcpOption::DomainNameServers(vec!["2001:db8::53".parse().expect("an address")]));
    change(options);
    let mut bytes = Vec::new();
    message.encode(&mut Encoder::new(&mut bytes)).expect("an encoding");
    bytes
}

fn good() -> IANA {
    association_of([50, 80], ADDRESS, [100, 120])
}

fn granted(lifetimes: [u32; 2]) -> Answer {
    let bytes = message(MessageType::Reply, association_of([0, 0], ADDRESS, lifetimes), |_| {});
    decode(&bytes, MAC, TRANSACTION).expect("a reply")
}

fn offer() -> Answer {
    decode(&message(MessageType::Advertise, good(), |_| {}), MAC, TRANSACTION).expect("an offer")
}

/// A client that holds an address from second 0 for 100 s, T1 and T2 being 50 and 80.
fn holding() -> Client {
    let mut client = Client::new();
    assert_eq!(client.heard(0, Some(offer())), []);
    assert!(
        matches!(client.heard(0, Some(granted([100, 100]))).as_slice(), [Change::Set(grant)] if grant.address == ADDRESS)
    );
    client
}

#[test]
fn an_offer_is_asked_for_and_held_until_its_time_is_over() {
    let mut client = Client::new();
    assert_eq!(client.todo(0), Todo::Ask { question: Question::Solicit, wait_ms: 1_000 });
    assert!(!client.wants(&granted([1, 1])) && !client.wants(&Answer::Refused) && client.wants(&offer()));
    client.heard(0, Some(offer()));
    let server = SERVER.to_vec();
    let request = Question::Request { server: server.clone(), address: ADDRESS };
    assert_eq!(client.todo(0), Todo::Ask { question: request, wait_ms: 1_000 });
    client.heard(0, Some(granted([100, 100])));
    assert_eq!(client.todo(1_000), Todo::Rest { ms: 49_000 });
    let renew = Question::Renew { server, address: ADDRESS };
    assert_eq!(client.todo(50_000), Todo::Ask { question: renew.clone(), wait_ms: 10_000 });
    // Nobody answers: longer waits, then any server, then the end.
    assert_eq!(client.heard(60_000, None), []);
    assert_eq!(client.todo(60_000), Todo::Ask { question: renew, wait_ms: 20_000 });
    assert_eq!(client.heard(80_000, None), []);
    let rebind = Question::Rebind { address: ADDRESS };
    assert_eq!(client.todo(80_000), Todo::Ask { question: rebind, wait_ms: 20_000 });
    assert_eq!(client.heard(100_000, None), [Change::Unset(ADDRESS)]);
    assert_eq!(client.todo(100_000), Todo::Ask { question: Question::Solicit, wait_ms: 1_000 });
}

#[test]
fn a_renewal_lasts_from_its_answer_and_may_bring_another_address() {
    let mut client = holding();
    assert!(matches!(client.heard(55_000, Some(granted([100, 100]))).as_slice(), [Change::Set(_)]));
    assert_eq!(client.todo(55_000), Todo::Rest { ms: 50_000 });
    let other: Ipv6Addr = "2001:db8:7::11".parse().expect("an address");
    let bytes = message(MessageType::Reply, association_of([0, 0], other, [100, 100]), |_| {});
    let changes = client.heard(110_000, decode(&bytes, MAC, TRANSACTION));
    assert!(matches!(changes.as_slice(), [Change::Unset(ADDRESS), Change::Set(grant)] if grant.address == other));
}

#[test]
fn who_refuses_is_asked_anew_at_once_and_then_left_alone_for_longer() {
    let mut client = holding();
    assert!(client.wants(&Answer::Refused));
    assert_eq!(client.heard(50_000, Some(Answer::Refused)), [Change::Unset(ADDRESS)]);
    assert!(matches!(client.todo(50_000), Todo::Ask { question: Question::Solicit, .. }));
    for pause in [10_000, 20_000, 40_000] {
        client.heard(50_000, Some(offer()));
        assert_eq!(client.heard(50_000, Some(Answer::Refused)), []);
        assert_eq!(client.todo(50_000), Todo::Rest { ms: pause });
    }
    client.heard(50_000, Some(offer()));
    client.heard(50_000, Some(granted([100, 100])));
    client.heard(60_000, Some(Answer::Refused));
    assert!(matches!(client.todo(60_000), Todo::Ask { .. }), "a grant makes up for it");
}

#[test]
fn an_offer_that_nobody_stands_to_is_given_up() {
    let mut client = Client::new();
    client.heard(0, Some(offer()));
    for _ in 0..REQUESTS {
        assert!(matches!(client.todo(0), Todo::Ask { question: Question::Request { .. }, .. }));
        client.heard(0, None);
    }
    assert!(matches!(client.todo(0), Todo::Ask { question: Question::Solicit, .. }));
}

#[test]
fn what_servers_say_is_read() {
    let Answer::Granted(server, grant) = granted([100, 120]) else { panic!("it grants") };
    assert_eq!(
        (server.as_slice(), grant.address, grant.preferred, grant.valid),
        (SERVER.as_slice(), ADDRESS, 100, 120)
    );
    assert_eq!((grant.renew_after, grant.rebind_after, grant.dns.len()), (50, 80, 1));
    let Answer::Granted(_, forever) = granted([FOREVER, FOREVER]) else { panic!("it grants") };
    let mut client = Client::new();
    client.heard(0, Some(offer()));
    client.heard(0, Some(Answer::Granted(SERVER.to_vec(), forever)));
    assert!(matches!(client.todo(1 << 50), Todo::Rest { .. }), "for ever");
    let Answer::Granted(_, hasty) = granted([1, 100]) else { panic!("it grants") };
    assert_eq!(hasty.renew_after, SHORTEST_RENEWAL);
}

#[test]
fn refusals_and_what_is_no_host_are_no_grant() {
    let read = |bytes: &[u8]| decode(bytes, MAC, TRANSACTION);
    let status = |status| DhcpOption::StatusCode(StatusCode { status, msg: "no".into() });
    let whole = message(MessageType::Reply, good(), |options| options.insert(status(Status::UnspecFail)));
    assert_eq!(read(&whole), Some(Answer::Refused));
    let mut none = good();
    none.opts.insert(status(Status::NoBinding));
    assert_eq!(read(&message(MessageType::Reply, none, |_| {})), Some(Answer::Refused));
    for (address, lifetimes) in [
        ("fe80::1", [100, 120]),
        ("ff02::1", [100, 120]),
        ("::1", [100, 120]),
        ("::", [100, 120]),
        ("::ffff:192.0.2.1", [100, 120]),
        ("2001:db8::1", [0, 0]),
        ("2001:db8::1", [121, 120]),
    ] {
        let association = association_of([0, 0], address.parse().expect("an address"), lifetimes);
        assert_eq!(read(&message(MessageType::Reply, association, |_| {})), Some(Answer::Refused), "{address}");
    }
    // T1 after T2 is a contradiction; another's association, name or transaction is none of ours.
    assert_eq!(read(&message(MessageType::Reply, association_of([80, 50], ADDRESS, [100, 120]), |_| {})), None);
    let whole = message(MessageType::Reply, good(), |_| {});
    assert_eq!(decode(&whole, MAC, [1, 2, 4]), None);
    assert_eq!(decode(&whole, [0; 6], TRANSACTION), None);
    assert_eq!(read(&whole[..whole.len() - 1]), None);
    assert_eq!(read(&message(MessageType::Reply, good(), |options| drop(options.remove(OptionCode::ServerId)))), None);
    let others = IANA { id: 7, ..good() };
    assert_eq!(read(&message(MessageType::Reply, others, |_| {})), Some(Answer::Refused));
}

#[test]
fn questions_are_ones_that_servers_read() {
    let server = SERVER.to_vec();
    for (question, kind, names) in [
        (Question::Solicit, MessageType::Solicit, false),
        (Question::Request { server: server.clone(), address: ADDRESS }, MessageType::Request, true),
        (Question::Renew { server, address: ADDRESS }, MessageType::Renew, true),
        (Question::Rebind { address: ADDRESS }, MessageType::Rebind, false),
    ] {
        let bytes = encode(&question, MAC, TRANSACTION, 1_230);
        let message = Message::decode(&mut Decoder::new(&bytes)).expect("a message");
        assert_eq!((message.msg_type(), message.xid()), (kind, TRANSACTION));
        assert_eq!(message.opts().get(OptionCode::ServerId).is_some(), names, "{question:?}");
        assert_eq!(message.opts().get(OptionCode::ElapsedTime), Some(&DhcpOption::ElapsedTime(123)));
        let Some(DhcpOption::IANA(wanted)) = message.opts().get(OptionCode::IANA) else { panic!("an association") };
        assert_eq!(wanted.opts.get(OptionCode::IAAddr).is_some(), question != Question::Solicit);
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_left(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&bytes, MAC, TRANSACTION);
    }

    #[test]
    fn a_changed_reply_grants_a_host_or_nothing(
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = message(MessageType::Reply, good(), |_| {});
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if let Some(Answer::Granted(_, grant) | Answer::Offer(_, grant)) = decode(&bytes, MAC, TRANSACTION) {
            prop_assert!(is_name_server(&grant.address) && grant.preferred <= grant.valid);
            prop_assert!(grant.renew_after <= grant.rebind_after && grant.rebind_after <= grant.valid);
        }
    }

    /// Whatever comes in whatever order: what is set is unset before it is forgotten, and no wait is endless or a rush.
    #[test]
    fn an_address_is_never_forgotten(steps in proptest::collection::vec((0_u8..4, 0_u64..200), 1..60)) {
        let (mut client, mut now, mut held) = (Client::new(), 0, None);
        for (what, after) in steps {
            now += match client.todo(now) {
                Todo::Rest { ms } => ms,
                Todo::Ask { wait_ms, .. } => wait_ms.min(after * 1000),
            };
            let answer = match what {
                0 => None,
                1 => Some(offer()),
                2 => Some(granted([100, 100])),
                _ => Some(Answer::Refused),
            };
            let wanted = answer.filter(|answer| client.wants(answer));
            for change in client.heard(now, wanted) {
                match change {
                    Change::Set(grant) => held = Some(grant.address),
                    Change::Unset(address) => {
                        prop_assert_eq!(held, Some(address));
                        held = None;
                    }
                }
            }
            prop_assert_eq!(held.is_some(), matches!(client.state, State::Held { .. }));
        }
    }
}
