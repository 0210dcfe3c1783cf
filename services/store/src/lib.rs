//! Files that are whole or absent, whatever happens to the power.
//!
//! This is the one way in which services replace a file: written beside its place, made durable, renamed over it, and the
//! folder made durable too. It knows nothing of what the files hold and keeps no locks; each file has one writing service.

mod replace;

pub use replace::{ReplaceError, TEMPORARY_PREFIX, remove_temporaries, replace};
