//! What can happen to units and what follows from it.
//!
//! | in state | what happens | next |
//! |---|---|---|
//! | stopped, failed, finished | asked to start | waiting |
//! | on call | somebody calls its socket | waiting |
//! | waiting | all it requires is ready | starting |
//! | starting | ready | ready |
//! | starting | start time over | killed |
//! | ready | no sign of life in time | killed |
//! | starting, ready | its process was stopped by a signal | killed |
//! | starting, ready | says that it holds actions | the same, and they are frozen until it is started again |
//! | killed | ended | as if it had ended badly by itself |
//! | starting, ready | ended | finished, restarting, stopped or failed, by kind and restart rule |
//! | ready | ended well, and its callers start it | on call, or restarting when it was started too often |
//! | starting, ready, killed | asked to stop, or one that it conflicts with to start | stopping |
//! | restarting | its time has come | waiting, or on call if only its callers start it |
//! | stopping | ended | stopped, or waiting if it was a restart |
//! | stopping | stop time over | killed |
//! | any, of an app | removed | stopping, and gone when it has no process |

use aios_ids::UnitName;

use crate::unit::{Unit, WhenSpent};

/// Something that happened. All that PID 1 sees reaches the graph as one of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The machine is set up: start what belongs to this mode.
    Begin,
    /// The unit's program runs.
    Started(UnitName, u32),
    /// The unit's program could not be started.
    NotStarted(UnitName, String),
    /// The unit said that it is ready.
    Ready(UnitName),
    /// The unit gave a sign of life.
    Alive(UnitName),
    /// A signal stopped the unit's process: it neither works nor ends.
    StoodStill(UnitName),
    /// The unit said what it is doing.
    Said(UnitName, String),
    /// The unit works and can be asked, and for this reason nothing may be done.
    Holds(UnitName, String),
    /// The unit's process ended, and with it all others of its cgroup.
    Ended(UnitName, Ended),
    /// Somebody calls a unit that starts on call.
    Called(UnitName),
    /// Somebody with the right to asked for a start.
    Start(UnitName),
    /// Somebody with the right to asked for a stop.
    Stop(UnitName),
    /// Somebody with the right to asked for a stop and a start.
    Restart(UnitName),
    /// Somebody with the right to brings the unit of an app.
    Add(Box<Unit>),
    /// Somebody with the right to takes the unit of an app away.
    Remove(UnitName),
    /// Time has passed.
    Tick,
    /// Everything is to end.
    Shutdown,
    /// Somebody asked for the end again: nobody has as long as before.
    Hurry,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this status.
    Status(i32),
    /// By this signal.
    Signal(i32),
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Status(status) => write!(f, "ended with status {status}"),
            Self::Signal(signal) => write!(f, "killed by signal {signal}"),
        }
    }
}

/// Something that PID 1 has to do. Effects are carried out in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Start the unit's program; answered by `Started` or `NotStarted`.
    Spawn(UnitName),
    /// Ask the unit's process to end.
    Terminate(UnitName),
    /// Kill everything in the unit's cgroup.
    Kill(UnitName),
    /// Freeze actions and agents, for this reason.
    Freeze(String),
    /// Let actions and agents go on.
    Thaw,
    /// Keep this in the ring of events; `None` is the machine itself.
    Record(Option<UnitName>, What, String),
    /// Tell whoever asked that nothing was done, and why.
    Refuse(String),
    /// The unit's restarts are spent; this is to follow.
    Spent(UnitName, WhenSpent),
    /// The unit was removed and has no process any more.
    Gone(UnitName),
    /// Every critical unit is ready, for the first time in this boot.
    SystemReady,
    /// After a shutdown: no unit runs any more.
    AllStopped,
}

/// The word of an event in the ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Somebody asked for a change.
    Asked,
    /// A program runs.
    Started,
    /// A unit is ready.
    Ready,
    /// A process ended that was not told to.
    Exited,
    /// A unit was stopped.
    Stopped,
    /// A unit had nothing to do and ended; its next caller starts it.
    Idle,
    /// A unit is not started again.
    Failed,
    /// A unit's restarts are spent, and what follows from it.
    Spent,
    /// An action or agent was ended to save memory.
    Shed,
    /// A unit works, and for a reason of its own nothing may be done.
    Holds,
    /// Actions are frozen.
    Frozen,
    /// Actions go on.
    Thawed,
    /// The machine reached a milestone.
    Boot,
    /// The machine is going down.
    Shutdown,
}

impl What {
    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Started => "started",
            Self::Ready => "ready",
            Self::Exited => "exited",
            Self::Stopped => "stopped",
            Self::Idle => "idle",
            Self::Failed => "failed",
            Self::Spent => "spent",
            Self::Shed => "shed",
            Self::Holds => "holds-actions",
            Self::Frozen => "frozen",
            Self::Thawed => "thawed",
            Self::Boot => "boot",
            Self::Shutdown => "shutdown",
        }
    }
}

/// What a unit is doing.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum State {
    Stopped,
    /// Its next caller starts it.
    OnCall,
    Waiting,
    /// Its process is being made or has not said that it is ready.
    Starting {
        deadline: u64,
    },
    Ready {
        /// When the next sign of life is due.
        alive_by: Option<u64>,
    },
    /// Its process was killed because it is of no use, and has not ended yet.
    Killed {
        why: &'static str,
    },
    Stopping {
        deadline: u64,
        killed: bool,
        then: Then,
    },
    Restarting {
        at: u64,
    },
    Failed,
    Finished,
}

/// What follows a stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Then {
    Stay,
    Start,
}

impl State {
    /// Whether the unit has a process, or one is being made.
    pub(crate) fn runs(&self) -> bool {
        matches!(self, Self::Starting { .. } | Self::Ready { .. } | Self::Killed { .. } | Self::Stopping { .. })
    }
}
