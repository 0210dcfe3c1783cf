//! What programs on the machine say to PID 1 and to the launcher.

use aios_ids::ActionId;
use aios_wire::init::{Afterwards, Heard, REQUEST_LIMIT, Request};
use aios_wire::launch::{
    Ending, Exit, LaunchReply, LaunchRequest, Limits, Program, REPLY_SIZE, REQUEST_SIZE, Resource, Tier,
};
use aios_wire::notify::{self, Said};

use crate::Taken;

pub(crate) fn requests() -> Vec<Vec<u8>> {
    let name = || "network".to_owned();
    let requests = [
        Request::Status,
        Request::Events { after: 7 },
        Request::Lines { after: 1, wait_ms: u64::MAX },
        Request::Identify { cgroup: 1 },
        Request::Restart { name: name() },
        Request::OpenSession { operator: "ada".into(), terminal: "ttyS0".into() },
        Request::SetClock { unix_ms: 1 },
        Request::SetKeyboard { layout: "us".into() },
        Request::Shutdown { then: Afterwards::Recovery },
    ];
    requests.map(|request| line(&request).into_bytes()).to_vec()
}

fn line(request: &Request) -> String {
    serde_json::to_string(request).expect("a request has only text keys") + "\n"
}

pub(crate) fn request(bytes: &[u8]) -> Taken {
    match Request::hear(bytes) {
        Heard::Whole(request) => {
            assert_eq!(Request::hear(line(&request).as_bytes()), Heard::Whole(request.clone()), "read as another one");
            Taken::Yes
        }
        Heard::Refused(reason) => {
            assert!(!reason.is_empty() && (bytes.len() >= REQUEST_LIMIT || bytes.contains(&b'\n')));
            Taken::No
        }
        Heard::Part => {
            assert!(bytes.len() < REQUEST_LIMIT && !bytes.contains(&b'\n'), "a caller is never answered");
            Taken::No
        }
    }
}

pub(crate) fn notices() -> Vec<Vec<u8>> {
    let texts = ["READY=1\n", "STATUS=opens the log\nWATCHDOG=1", "HOLD=the log is full\nMAINPID=1"];
    texts.map(|text| text.as_bytes().to_vec()).to_vec()
}

pub(crate) fn notice(bytes: &[u8]) -> Taken {
    let said = notify::read(bytes);
    let lines = bytes.split(|byte| *byte == b'\n').count();
    assert!(said.len() <= lines, "more was said than there are lines");
    for said in &said {
        let (text, limit) = match said {
            Said::Status(text) => (text, notify::STATUS),
            Said::Hold(text) => (text, notify::REASON),
            Said::Ready | Said::Alive => continue,
        };
        assert!(text.chars().count() <= limit && !text.chars().any(char::is_control), "{text:?} reaches a terminal");
    }
    Taken::when(!said.is_empty())
}

pub(crate) fn launches() -> Vec<Vec<u8>> {
    let limits = Limits { memory: 1, processes: 2, cpu_percent: 3, time_ms: 4, cpu_ms: 5, output: 6, written: 7 };
    let request = |program, args: &[&str], resource| LaunchRequest {
        action: ActionId::new(1, [1; 10]),
        uid_offset: 9,
        program,
        args: args.iter().map(|arg| arg.as_bytes().to_vec()).collect(),
        resource,
        limits,
    };
    let store = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-hello-1.0/bin/hello";
    let requests = [
        request(Program::Adapter, &["settings.set", "{}"], Resource::Connection),
        request(Program::Probe(Tier::Adapter), &[], Resource::None),
        request(Program::Probe(Tier::Program), &[], Resource::None),
        request(Program::Store(store.into()), &["-v", ""], Resource::Folder),
    ];
    let exit = |ending| LaunchReply::Exited(Exit { ending, cpu_us: 1, memory_peak: 2 });
    let replies = [
        LaunchReply::Started { pid: 7 },
        LaunchReply::Refused { reason: "no room".into() },
        exit(Ending::Status(-1)),
        exit(Ending::MemoryOver),
    ];
    // The zero bytes at the end are what the reader adds.
    let shortened = |bytes: &[u8]| bytes[..bytes.iter().rposition(|byte| *byte != 0).map_or(0, |end| end + 1)].to_vec();
    let requests = requests.iter().map(|request| shortened(&request.encode().expect("a good request")));
    requests.chain(replies.iter().map(|reply| shortened(&reply.encode()))).collect()
}

pub(crate) fn launch(bytes: &[u8]) -> Taken {
    let request = LaunchRequest::decode(&filled::<REQUEST_SIZE>(bytes));
    if let Ok(request) = &request {
        let again = request.encode().expect("what was read can be written");
        assert_eq!(again, filled::<REQUEST_SIZE>(bytes), "a request has two forms");
        assert!(!request.args.iter().any(|arg| arg.contains(&0)));
    }
    let reply = LaunchReply::decode(&filled::<REPLY_SIZE>(bytes));
    if let Ok(reply) = &reply {
        let again = LaunchReply::decode(&reply.encode()).expect("what was read can be written");
        match (reply, &again) {
            // Text that was not UTF-8 is longer once it is, and a long one loses its end.
            (LaunchReply::Refused { reason }, LaunchReply::Refused { reason: kept }) => {
                assert!(reason.starts_with(kept), "a reason is read as another one");
            }
            (reply, again) => assert_eq!(again, reply, "an answer is read as another one"),
        }
    }
    Taken::when(request.is_ok() || reply.is_ok())
}

fn filled<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut filled = [0; N];
    let length = bytes.len().min(N);
    filled[..length].copy_from_slice(&bytes[..length]);
    filled
}
