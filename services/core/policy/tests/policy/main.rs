//! The shipped policy and the bundle it travels in, as other crates see them.

mod boundary;
mod bundle;
mod decide;
mod keys;
mod promises;
mod shipped;
