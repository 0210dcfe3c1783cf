//! Time since the kernel started, the one clock that PID 1 decides by: it never goes back.

use rustix::time::{ClockId, clock_gettime};

/// Milliseconds since the kernel started, sleep included.
pub(crate) fn now_ms() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    now.tv_sec.unsigned_abs() * 1000 + now.tv_nsec.unsigned_abs() / 1_000_000
}
