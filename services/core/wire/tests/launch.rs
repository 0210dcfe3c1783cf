//! The launcher is root and reads these bytes: whatever arrives is a request or an error.

use aios_ids::{ActionId, Digest};
use aios_wire::launch::{
    Ending, Exit, LaunchReply, LaunchRequest, Limits, Opened, Opens, Program, REPLY_SIZE, REQUEST_SIZE, Resource,
    SANDBOXES, Tier,
};
use proptest::prelude::*;

fn limits() -> Limits {
    Limits {
        memory: 64 << 20,
        processes: 8,
        cpu_percent: 100,
        time_ms: 10_000,
        cpu_ms: 10_000,
        output: 1 << 20,
        written: 1 << 20,
    }
}

fn request() -> LaunchRequest {
    LaunchRequest {
        action: ActionId::new(1, [2; 10]),
        uid_offset: 3,
        program: Program::Adapter,
        args: vec![],
        resource: Resource::Folder,
        limits: limits(),
    }
}

fn program() -> impl Strategy<Value = Program> {
    prop_oneof![
        Just(Program::Adapter),
        Just(Program::Probe(Tier::Adapter)),
        Just(Program::Probe(Tier::Program)),
        Just(Program::Probe(Tier::Quarantine)),
        (any::<[u8; 32]>(), 0usize..4).prop_map(|(sha256, count)| {
            let opened = [Opened::Store, Opened::Processes, Opened::Devices];
            let opens = opened.into_iter().take(count).fold(Opens::NOTHING, Opens::and);
            Program::App { sha256: Digest::from_bytes(sha256), opens }
        }),
        "[a-z0-9]{1,20}(/[a-z0-9-]{1,10}){0,4}".prop_map(|below| Program::Store(format!("/nix/store/{below}"))),
    ]
}

proptest! {
    #[test]
    fn any_bytes_are_a_request_or_an_error(mut bytes in prop::collection::vec(any::<u8>(), REQUEST_SIZE), valid_start: bool) {
        if valid_start {
            let good = request().encode().expect("a good request");
            bytes[..40].copy_from_slice(&good[..40]);
        }
        let bytes: [u8; REQUEST_SIZE] = bytes.try_into().expect("made with that size");
        if let Ok(request) = LaunchRequest::decode(&bytes) {
            prop_assert_eq!(request.encode().expect("what was read can be written"), bytes);
        }
    }

    #[test]
    fn one_changed_byte_never_panics_and_never_reads_as_the_same_request(at in 0..REQUEST_SIZE, with in 1u8..) {
        let mut bytes = request().encode().expect("a good request");
        bytes[at] ^= with;
        if let Ok(changed) = LaunchRequest::decode(&bytes) {
            prop_assert_ne!(changed, request());
        }
    }

    #[test]
    fn what_was_written_reads_back(
        program in program(),
        uid_offset in 0..SANDBOXES,
        args in prop::collection::vec(prop::collection::vec(1u8.., 0..90), 0..64),
    ) {
        let is_app = matches!(program, Program::App { .. });
        let resource = if is_app { Resource::Program } else { Resource::Folder };
        let request = LaunchRequest { program, uid_offset, args, resource, ..request() };
        let bytes = request.encode().expect("within the limits");
        prop_assert_eq!(LaunchRequest::decode(&bytes).expect("own bytes"), request);
    }

    #[test]
    fn any_bytes_are_a_reply_or_an_error(bytes in prop::collection::vec(any::<u8>(), REPLY_SIZE)) {
        let bytes: [u8; REPLY_SIZE] = bytes.try_into().expect("made with that size");
        let _ = LaunchReply::decode(&bytes);
    }
}

#[test]
fn a_program_outside_of_the_store_is_refused() {
    for path in
        ["/bin/sh", "/nix/store/", "/nix/store/../../bin/sh", "/nix/store/a//b", "/nix/store/a/./b", "nix/store/a"]
    {
        let request = LaunchRequest { program: Program::Store(path.to_owned()), ..request() };
        assert!(request.encode().is_err(), "{path}");
    }
}

#[test]
fn nobody_runs_unlimited_or_under_a_foreign_user() {
    for unlimited in [
        Limits { memory: 0, ..limits() },
        Limits { processes: 0, ..limits() },
        Limits { cpu_percent: 0, ..limits() },
        Limits { time_ms: 0, ..limits() },
        Limits { cpu_ms: 0, ..limits() },
        Limits { output: 0, ..limits() },
        Limits { written: 0, ..limits() },
    ] {
        assert!(LaunchRequest { limits: unlimited, ..request() }.encode().is_err(), "{unlimited:?}");
    }
    let foreign = LaunchRequest { uid_offset: SANDBOXES, ..request() };
    assert!(foreign.encode().is_err());
}

#[test]
fn replies_read_back_and_a_long_reason_is_cut_at_a_character() {
    let exit = Exit { ending: Ending::Signal(9), cpu_us: 5, memory_peak: 6 };
    for reply in [
        LaunchReply::Started { pid: 7 },
        LaunchReply::Exited(exit),
        LaunchReply::Exited(Exit { ending: Ending::ForbiddenCall, ..exit }),
        LaunchReply::Exited(Exit { ending: Ending::ProcessorOver, ..exit }),
        LaunchReply::Exited(Exit { ending: Ending::OutputOver, ..exit }),
        LaunchReply::Exited(Exit { ending: Ending::WrittenOver, ..exit }),
        LaunchReply::Refused { reason: "no cgroup".into() },
    ] {
        assert_eq!(LaunchReply::decode(&reply.encode()), Ok(reply));
    }
    let long = LaunchReply::Refused { reason: "é".repeat(400) };
    let Ok(LaunchReply::Refused { reason }) = LaunchReply::decode(&long.encode()) else {
        panic!("refused stays refused")
    };
    assert!(reason.len() <= 200 && reason.chars().all(|c| c == 'é'));
}
