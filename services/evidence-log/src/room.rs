//! How much the log may hold, and what happens when it is near.
//!
//! Nothing is removed to make room. When the room is used up, nothing new may begin, and what was begun may still be
//! recorded: for that, and for recovery, a part of the disk is kept.

use aios_wire::evidence::{Room, RoomState};

use crate::medium::Space;

/// The log may take this part of its file system.
const SHARE: u64 = 4;

/// What is kept for the records of actions that run already, and for recovery: a sixty-fourth of the file system, and no
/// more than this.
const KEPT: u64 = 64 << 20;

/// The room of a log that takes `used` bytes of this file system.
pub(crate) fn room(space: Space, used: u64) -> Room {
    let kept = (space.total / 64).min(KEPT);
    // What others left free counts too: a limit that the disk cannot hold is none.
    let limit = (space.total / SHARE).min(used.saturating_add(space.free.saturating_sub(kept)));
    let state = match used {
        _ if used >= limit => RoomState::Full,
        _ if used >= limit - limit / 10 => RoomState::NearEnd,
        _ => RoomState::Ample,
    };
    Room { state, used, limit }
}

/// Why nothing new may begin, if so.
pub(crate) fn refusal(room: &Room) -> Option<String> {
    let mib = |bytes: u64| bytes >> 20;
    (room.state == RoomState::Full)
        .then(|| format!("it has {} MiB and may have {} MiB", mib(room.used), mib(room.limit)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn state(total: u64, free: u64, used: u64) -> RoomState {
        room(Space { total, free }, used).state
    }

    #[test]
    fn the_log_has_a_share_and_leaves_a_rest_to_recovery() {
        assert_eq!(state(16 * GIB, 15 * GIB, GIB / 8), RoomState::Ample);
        assert_eq!(state(16 * GIB, 10 * GIB, 4 * GIB - GIB / 8), RoomState::NearEnd);
        assert_eq!(state(16 * GIB, 10 * GIB, 4 * GIB), RoomState::Full);
        // Others filled the disk: the last 64 MiB are not for anything new.
        assert_eq!(state(16 * GIB, KEPT, GIB), RoomState::Full);
        assert_eq!(state(16 * GIB, KEPT + GIB / 4, GIB), RoomState::Ample);
        assert_eq!(state(16 * GIB, KEPT + GIB / 64, GIB), RoomState::NearEnd);
    }
}
