//! What happened, in a form that cannot be changed unnoticed: records, the Merkle tree over them, signed checkpoints and
//! proofs, in the C2SP formats (tlog-tiles, tlog-checkpoint, signed-note, tlog-proof), and the verifier of an export.
//!
//! Bytes, time and keys come in as arguments; nothing here reads a file or a clock. The daemon, the command line and
//! recovery run this same code. The formats are on one page: `docs/formats/evidence.md`.

mod bundle;
mod checkpoint;
mod export;
mod note;
mod proof;
mod query;
mod record;
pub mod scan;
pub mod segment;
mod tile;
mod tree;

pub use bundle::{Bundle, BundleError};
pub use checkpoint::{Checkpoint, CheckpointError};
pub use export::{Fault, KeySource, Report, verify_export};
pub use note::{Note, NoteError, SigningKey, VerifierKey};
pub use proof::{InclusionBundle, ProofError};
pub use query::Filter;
pub use record::{Kind, RECORD_LIMIT, Record, RecordError};
pub use tile::{ResourcePath, ResourcePathError, TILE_WIDTH, TileAt, encode_bundle_entry, split_bundle, tiles_of};
pub use tree::{Frontier, Tree, TreeError, leaf_hash, node_hash, verify_consistency, verify_inclusion};
