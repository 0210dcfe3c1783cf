//! Whole-system tests: a virtual machine fixture, the scenarios that show each promise, and the measurements.
//!
//! This library never ships. `cargo xtask vm|qa|test|bench|run` call it with what was built ([`Context`]); everything
//! else that a scenario needs (disks, a web server, a Nix cache) is made here, on the build machine, without root.
//! Scenarios see the machine only from outside: its console, its disks, its network and the machine's monitor.
//!
//! - [`vm`] starts machines and talks to their consoles,
//! - [`host`] makes what stands around a machine,
//! - [`scenario`] names, runs and reports scenarios; `scenarios` holds them, `steps` what they share,
//! - [`bench`] measures.

pub mod bench;
pub mod context;
pub mod host;
pub mod scenario;
mod scenarios;
mod steps;
pub mod vm;

pub use context::{Context, Debian, DiskOrder, Extent, Payload, ReleaseOrder};
pub use scenario::{Failure, Scenario, Set, Summary, run};
pub use scenarios::scenarios;
