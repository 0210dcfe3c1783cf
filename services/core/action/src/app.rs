//! Apps: programs that somebody hands in with a manifest, and what a person is shown before one of them exists.
//!
//! Here is what is well formed, what a program reached for when it was tried, and the report of both. Nothing here runs
//! anything or decides; an app exists when the object store lists it.

mod elf;
mod manifest;
mod service;
mod trial;

pub use elf::{ElfError, ProgramError, check_program, program_around};
pub use manifest::{
    AppError, AppRight, AppTier, Argument, Composition, Form, MANIFEST_LIMIT, Manifest, PROGRAM_LIMIT, Program, Test,
};
pub use service::{Again, Service, ServiceKind};
pub use trial::{Area, Reached, Refused, Tested, Trial, Witnessed};

/// What `program` of `task.run` begins with when it names an app.
pub const APP_PREFIX: &str = "app:";

/// The name in `app:NAME`.
pub fn app_name(program: &str) -> Option<&str> {
    program.strip_prefix(APP_PREFIX).filter(|name| name.parse::<aios_ids::UnitName>().is_ok())
}
