//! The vault: keeps secrets that nobody reads out, and asks other machines in the name of actions.
//!
//! Both are one program, because a secret is used in the moment in which it is sent: who keeps it adds it to the request
//! and speaks to the host itself. A secret leaves this program only in a header, only to a host that it was bound to.

pub mod broker;
mod connection;
pub mod key;
pub mod policies;
pub mod sealed;
mod tunnel;
