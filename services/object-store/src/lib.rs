//! What the machine keeps by name and by content.
//!
//! [`Objects`] are named, with versions; their content is kept once, by digest. [`Store`] holds read-only trees in Nix's
//! formats under `/nix/store`, each fetched from a binary cache and believed only for its signature. Both have one writer,
//! this program, and one [`Index`]. Who may change them is decided before a call gets here, by the table of peers.

pub mod index;
pub mod objects;
pub mod store;

pub use index::Index;
pub use objects::Objects;
pub use store::Store;

/// Milliseconds since 1970 by the machine's clock; it dates versions and decides nothing.
fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
