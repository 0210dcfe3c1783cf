//! The action runtime: it does what was decided, and only that.
//!
//! A request comes in, policy decides, a person approves where policy wants one, the intent is made durable, the adapter
//! runs in a sandbox, the verifier measures, and what came of it is recorded. The runtime itself has no privilege and no
//! opinion: it opens the one resource that an adapter needs and hands it over. The binaries are `action-runtime` (the
//! daemon), `adapter` (runs in the sandbox) and `aios-probe` (tries to get out of it).

pub mod budget;
pub mod folder;
pub mod journal;
pub mod launch;
pub mod runs;
pub mod target;
pub mod task;
