//! What may be asked of the machine: the closed catalogue of action types, the envelope that carries one request, its
//! digest, and the life cycle of an action.
//!
//! Everything that describes an action to a person or a program (help, policy schema, JSON Schema, the tools that AI
//! models see) is made from [`CATALOGUE`]. There is no type that means "run this shell line". This crate decides
//! nothing and does nothing: it only says what is well formed.

pub mod allowance;
pub mod app;
pub mod canonical;
mod catalogue;
mod constraints;
mod envelope;
mod lifecycle;
pub mod moment;
mod parameter;
pub mod patch;

pub use catalogue::{ActionType, Adapter, CATALOGUE, CONTENT_LIMIT, Example, Reversal, Right, Risk, find};
pub use constraints::{ConstraintError, Constraints};
pub use envelope::{Envelope, EnvelopeError, Request, Target};
pub use lifecycle::{ActionView, Event, Receipt, State, WrongTransition};
pub use parameter::{
    GRANTED_FOLDER, KEY_ALGORITHMS, Kind, Parameter, ParameterError, Presence, contents, object_content,
    store_path_and_rest,
};
