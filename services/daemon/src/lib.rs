//! What every daemon and every client of one shares: listening where PID 1 said, knowing who calls, calling others.
//!
//! A connection's caller is found once, when it is accepted, from the kernel and PID 1's table; the object that answers
//! on that connection is made for this caller. Nothing here knows what any service does.

pub mod caller;
pub mod init;
mod line;
mod listen;
pub mod proxy;
mod report;
mod setting;
mod transport;
mod work;

pub use caller::{Caller, IdentifyError, identify};
pub use line::{Line, LineError, is_answer};
pub use listen::{
    ServeError, accept, accept_on_call, connect, hold, open_socket, ready, serve, serve_all, serve_on_call, status,
};
pub use report::{Fatal, error_chain, run};
pub use setting::{SettingError, setting};
pub use transport::{LIMIT as MESSAGE_LIMIT, server};
pub use work::{Piece, Work};
