//! Who may write what, by the table of peers that ships: each kind has one writer, which is a service, and what the log writes
//! itself nobody else can.

use std::path::Path;

use aios_evidence::Kind;
use aios_identity::{Peer, PeerTable, SessionStrength};

/// Kinds whose records the log makes.
const OWN: &[Kind] =
    &[Kind::Boot, Kind::End, Kind::UnitEvent, Kind::Repair, Kind::Restored, Kind::Pruned, Kind::Denial, Kind::Session];

/// What must never be said by another one than this.
const WRITERS: &[(Kind, &str)] = &[
    (Kind::Decision, "service:policy-kernel"),
    (Kind::ApprovalGranted, "service:policy-kernel"),
    (Kind::Login, "service:policy-kernel"),
    (Kind::PolicyLoaded, "service:policy-kernel"),
    (Kind::Override, "service:policy-kernel"),
    (Kind::Operator, "service:policy-kernel"),
    (Kind::Intent, "service:action-runtime"),
    (Kind::Result, "service:action-runtime"),
    (Kind::Outcome, "service:verifier"),
];

#[test]
fn each_kind_has_one_writer_and_nobody_writes_for_the_log() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../rootfs/peers.toml");
    let text = std::fs::read_to_string(path).expect("in the repository");
    let peers = PeerTable::parse(&text).expect("the table that ships");
    let raw: toml::Table = text.parse().expect("TOML");
    let mut callers: Vec<Peer> = raw.keys().map(|name| Peer::Service { name: name.clone() }).collect();
    callers.push(Peer::Agent { name: "example".into() });
    callers.push(Peer::Operator { name: "ada".into(), strength: SessionStrength::PassPhrase });

    for kind in Kind::ALL {
        let verb = format!("append:{kind}");
        let may = callers.iter().filter(|peer| peers.allows("evidence-log", &verb, peer));
        let may: Vec<_> = may.map(ToString::to_string).collect();
        assert_eq!(may.len(), usize::from(!OWN.contains(kind)), "{kind} is written by {may:?}");
        assert!(may.iter().all(|writer| writer.starts_with("service:")), "{kind} is written by {may:?}");
        if let Some((_, writer)) = WRITERS.iter().find(|(known, _)| known == kind) {
            assert_eq!(may, [*writer], "{kind}");
        }
    }
    let opened =
        raw["evidence-log"].as_table().expect("a table").keys().filter_map(|verb| verb.strip_prefix("append:"));
    for kind in opened {
        kind.parse::<Kind>().expect("the table opens no kind that is not");
    }
}
