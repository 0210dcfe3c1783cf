//! Workflows: actions in an order, with conditions, questions to a person, retries, repairs and budgets.
//!
//! A [`Definition`] is what a person wrote, read and checked. A [`Progress`] is where a run of it stands: nothing but the
//! definition and the journalled [`Event`]s put together, so the same events always lead to the same [`Next`]. A
//! [`Trace`] puts both into bytes, and [`replay`] decides a run again from its journal.
//!
//! Nothing here submits, waits or looks at a clock. Who is allowed to do what is no business of a workflow either: each
//! of its actions is decided like any other.

mod definition;
mod event;
mod load;
mod next;
mod order;
mod place;
mod problem;
mod progress;
mod schema;
mod trace;
mod view;
mod written;

pub use definition::{Act, Budget, Condition, Definition, Repair, Retry, Step, Typed, Work};
pub use event::{Answer, Ending, Event};
pub use load::{FILE_LIMIT, most_actions};
pub use next::{Next, Outcome, Purpose, Submission};
pub use place::Place;
pub use problem::{DefinitionError, Problem};
pub use progress::{Progress, StepEnd, Unexpected};
pub use schema::schema;
pub use trace::{Chain, Divergence, Row, Trace, replay, resume};
pub use view::{Closed, Now, Run, RunLine, RunView, StepView};
