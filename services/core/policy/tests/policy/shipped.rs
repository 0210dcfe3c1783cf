//! The policy that ships, packed with a key of the test, and the people and programs who ask.

use std::path::Path;

use aios_identity::{Peer, SessionStrength};
use aios_policy::{Bundle, BundleError, pack, public_key};

pub(crate) const SEED: [u8; 32] = [9; 32];

pub(crate) fn shipped_sources() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../rootfs/policy");
    let entries = std::fs::read_dir(folder).expect("the folder is in the repository");
    entries
        .map(|entry| {
            let path = entry.expect("an entry").path();
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            (name, std::fs::read_to_string(&path).expect("text"))
        })
        .collect()
}

pub(crate) fn pack_sources(sources: &[(String, String)]) -> Result<Vec<u8>, BundleError> {
    pack(sources.iter().map(|(name, text)| (name.as_str(), text.as_str())), &SEED)
}

pub(crate) fn shipped() -> Bundle {
    let bytes = pack_sources(&shipped_sources()).expect("the shipped policy packs");
    Bundle::open(&bytes, &public_key(&SEED)).expect("what was packed opens")
}

pub(crate) fn person() -> Peer {
    Peer::Operator { name: "ada".into(), strength: SessionStrength::PassPhrase }
}

pub(crate) fn live() -> Peer {
    Peer::Operator { name: "live".into(), strength: SessionStrength::Presence }
}

pub(crate) fn agent() -> Peer {
    Peer::Agent { name: "helper".into() }
}

pub(crate) fn service(name: &str) -> Peer {
    Peer::Service { name: name.into() }
}
