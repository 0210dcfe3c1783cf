//! Where AIOS meets the Linux kernel: the only crate with `unsafe` in it.
//!
//! Each module wraps one interface of the kernel in typed calls with owned descriptors: who is at the other end of a
//! socket ([`peer`]), starting a confined program ([`sandbox`], [`spawn`]). It decides nothing about who may do what;
//! callers bring finished descriptions. A layer of protection that the kernel lacks is an error here, never skipped.

pub mod attempt;
pub mod calls;
pub mod inherited;
pub mod peer;
pub mod reach;
pub mod sandbox;
pub mod scm;
pub mod spawn;
mod view;
