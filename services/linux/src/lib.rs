//! Where AIOS meets the Linux kernel: the only crate with `unsafe` in it.
//!
//! Each module wraps one interface of the kernel in typed calls with owned descriptors: who is at the other end of a
//! socket ([`peer`]), starting a confined program ([`sandbox`], [`spawn`]), a block device that checks or
//! decrypts itself ([`verity`], [`crypt`]), signals and readiness as things to read ([`signals`], [`notify`]). It decides nothing about who may do what;
//! callers bring finished descriptions. A layer of protection that the kernel lacks is an error here, never skipped.

pub mod arp;
pub mod attempt;
pub mod audit;
pub mod block;
pub mod calls;
pub mod crypt;
pub mod dm;
pub mod entropy;
pub mod ext4;
pub mod extent;
mod filter;
pub mod granted;
pub mod inherited;
pub mod keyboard;
pub mod loopdev;
pub mod memory;
pub mod notify;
pub mod peer;
pub mod reach;
pub mod sandbox;
pub mod scm;
pub mod signals;
pub mod spawn;
pub mod tpm;
pub mod verity;
mod view;
pub mod watchdog;
