//! Units: what PID 1 starts, and the decisions of supervising it.
//!
//! A unit file is read into a [`Unit`] that has been checked by itself ([`unit`]); a set of them becomes a [`Graph`]
//! that has been checked together. From then on [`Graph::step`] is the only place where a unit changes state: an
//! [`Event`] and the time go in, [`Effect`]s come out. Units of apps come and go while it runs ([`app`]). Nothing here starts, kills or reads anything, so the whole of it
//! is tested without a machine.

pub mod app;
mod fit;
mod graph;
mod node;
mod profile;
mod restart;
mod state;
pub mod unit;

pub use fit::GraphError;
pub use graph::Graph;
pub use state::{Effect, Ended, Event, What};
pub use unit::{Mode, Unit, UnitError};
