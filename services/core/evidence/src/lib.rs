//! What happened, in a form that cannot be changed unnoticed: records, the Merkle tree over them, signed checkpoints and
//! proofs, in the C2SP formats (tlog-tiles, tlog-checkpoint, signed-note, tlog-proof), and the verifier of an export.
//!
//! Bytes, time and keys come in as arguments; nothing here reads a file or a clock. The daemon, the command line and
//! recovery run this same code. The formats are on one page: `docs/formats/evidence.md`.

pub mod boot_state;
mod bundle;
mod bundles;
mod checkpoint;
mod cosignature;
mod export;
mod form;
mod keys;
mod kind;
mod levels;
mod note;
mod proof;
mod query;
mod record;
mod runs;
#[cfg(feature = "sample")]
pub mod sample;
pub mod scan;
mod schema;
pub mod segment;
mod tile;
mod tree;

pub use bundle::{Bundle, BundleError};
pub use checkpoint::{Checkpoint, CheckpointError};
pub use cosignature::MlDsaKey;
pub use export::{Fault, KeySource, Report, verify_export};
pub use keys::{SigningKey, VerifierKey};
pub use kind::{Kind, Retention, STANDARD_DAYS};
pub use note::{Ed25519Key, Note, NoteError};
pub use proof::{InclusionBundle, ProofError};
pub use query::Filter;
pub use record::{Clock, Line, Parts, RECORD_LIMIT, Record, RecordError, Spelled, spelled};
pub use runs::Runs;
pub use schema::{Cleared, CommitmentKey, Field, Form, canonical_text, clear};
pub use tile::{ResourcePath, ResourcePathError, TILE_WIDTH, TileAt, encode_bundle_entry, split_bundle, tiles_of};
pub use tree::{
    Frontier, Nodes, Tree, TreeError, inclusion_of, leaf_hash, node_hash, node_position, nodes_of, root_of,
    verify_consistency, verify_inclusion,
};
