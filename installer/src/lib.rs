//! Puts AIOS on a disk: facts and answers become a plan, the plan becomes a disk.
//!
//! [`answers`] and [`disks`] read, [`plan`] decides without touching anything and can be printed, [`seed`] makes the first
//! files of the new machine, [`carry_out`] does what the plan says. `cargo xtask disk` uses the answers and the first
//! files, so that an assembled disk and an installed one are alike.

pub mod answers;
pub mod carry_out;
pub mod disks;
pub mod encryption;
pub mod plan;
pub mod seed;
pub mod shown;
pub mod sources;
