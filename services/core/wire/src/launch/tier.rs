//! How far sandboxes are open.

/// How far a sandbox is open. There is one for each kind of program that runs today.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// Foreign code that nobody has approved yet, or that needs nothing.
    Quarantine,
    /// Foreign code that a person let onto the machine: a program of the store.
    Program,
    /// Code of the image that works on one resource.
    Adapter,
}

impl Tier {
    /// Every tier that has a program.
    pub const ALL: [Self; 3] = [Self::Quarantine, Self::Program, Self::Adapter];

    /// The specification's name. Its T2 is for services of apps, which PID 1 starts.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Quarantine => "T0",
            Self::Program => "T1",
            Self::Adapter => "T3",
        }
    }
}

/// What of tier T1 is opened to one program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Opens(pub(super) u8);

/// One thing of tier T1 that is opened or is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opened {
    /// Reading and running what is in `/nix/store`.
    Store,
    /// Reading `/proc` of its own processes.
    Processes,
    /// The five devices.
    Devices,
}

impl Opens {
    /// Everything that the tier has.
    pub const ALL: Self = Self(0b111);
    /// Nothing of it.
    pub const NOTHING: Self = Self(0);

    /// The same and one thing more.
    #[must_use]
    pub const fn and(self, opened: Opened) -> Self {
        Self(self.0 | 1 << opened as u8)
    }

    /// Whether this is among it.
    pub const fn has(self, opened: Opened) -> bool {
        self.0 & (1 << opened as u8) != 0
    }
}
