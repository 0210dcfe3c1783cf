//! Files that are whole or absent, whatever happens to the power.
//!
//! This is the one way in which services replace a file: written beside its place, made durable, renamed over it, and the
//! folder made durable too; and the one way in which they add to a file that only grows. It knows nothing of what the files hold and keeps no locks; each file has one writing service.

mod append;
mod replace;

pub use append::{AppendError, AppendFile};
pub use replace::{ReplaceError, TEMPORARY_PREFIX, remove_temporaries, replace};
