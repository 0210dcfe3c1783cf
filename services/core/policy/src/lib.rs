//! Whether an action may be done: signed rules, compiled-in denies, the life of an approval, operators' pass phrases.
//!
//! [`decide`] is the whole of policy: an envelope and an attested subject go in, a decision with its reasons comes out,
//! the same one for the same input every time. A [`Bundle`] is the rules, signed and checked before it can be asked.
//! Nothing here reads a file, a clock or a random number; the policy kernel brings those and keeps what must last.
//!
//! The rule to remember: every error, every gap and every doubt is a denial.

pub mod approval;
mod bundle;
mod cases;
mod code;
mod compare;
mod decide;
mod deny;
mod emergency;
mod follow;
pub mod keys;
pub mod operators;
mod request;
mod rules;
mod scope;
mod seal;
mod terms;
mod window;

pub use bundle::{Bundle, BundleError, Epoch, pack, pack_signed_by};
pub use cases::CaseError;
pub use code::code_of;
pub use compare::{Comparison, TooDifferent, compare};
pub use decide::{decide, decide_in, is_override, narrowed, planned};
pub use emergency::{MOST_MINUTES, Override, OverrideRefusal};
pub use follow::{Choice, NotNewer, choose, may_follow};
pub use rules::RuleError;
pub use seal::{SIZE_LIMIT, SealError, SigningError, public_key, read_key};
pub use terms::{Circumstances, Emergency, Plan};
pub use window::TimeOfDay;
