//! The messages between AIOS programs: one type for each, used by both ends.
//!
//! Every program ships in the same image, so there is no version negotiation: an unknown field or verb is an error.

pub mod evidence;
pub mod init;
pub mod launch;
pub mod logs;
pub mod network;
pub mod notify;
pub mod objects;
pub mod plan;
pub mod policy;
pub mod probe;
pub mod settings;
pub mod vault;
pub mod verify;

/// Where the services listen; the file name is the service's.
pub const SOCKET_DIR: &str = "/run/aios";

/// The largest message that any service reads.
pub const MESSAGE_LIMIT: usize = 256 * 1024;
