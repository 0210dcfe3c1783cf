//! When a unit is started again, how often, and what follows when that is used up.

use serde::Deserialize;

use crate::unit::Kind;

/// When a unit is started again.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Restart {
    /// After which ends.
    pub policy: RestartPolicy,
    /// Milliseconds to wait; doubled each time up to ten seconds.
    pub backoff_ms: u64,
    /// At most so many starts …
    pub budget: u32,
    /// … in so many seconds.
    pub window_s: u64,
    /// What follows when these are spent.
    pub when_spent: WhenSpent,
}

/// After which ends a unit is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// After every end. When the budget is spent it waits until the window has room again.
    Always,
    /// After a bad end, until the budget is spent.
    OnFailure,
    /// Never.
    Never,
}

/// What follows when a unit's restarts are spent, or when it fails and is never restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WhenSpent {
    /// Nothing: the machine is as good without it.
    Ignore,
    /// The machine goes on and is said to be degraded.
    Degrade,
    /// A release on trial gives up, so that the one before it starts; any other start is degraded.
    FailTrialBoot,
    /// The machine starts its recovery image.
    Recovery,
}

/// The table as it is written: what is absent follows from the unit's kind.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct RawRestart {
    policy: Option<RestartPolicy>,
    backoff_ms: Option<u64>,
    budget: Option<u32>,
    window_s: Option<u64>,
    when_spent: Option<WhenSpent>,
}

impl RawRestart {
    pub(crate) fn resolve(&self, kind: Kind, critical: bool) -> Result<Restart, &'static str> {
        let policy = match kind {
            Kind::Service | Kind::Terminal | Kind::App => RestartPolicy::Always,
            Kind::Oneshot | Kind::Agent => RestartPolicy::Never,
        };
        let when_spent = match kind {
            _ if critical => WhenSpent::FailTrialBoot,
            Kind::Service | Kind::Oneshot | Kind::App => WhenSpent::Degrade,
            Kind::Terminal | Kind::Agent => WhenSpent::Ignore,
        };
        let restart = Restart {
            policy: self.policy.unwrap_or(policy),
            backoff_ms: self.backoff_ms.unwrap_or(100),
            budget: self.budget.unwrap_or(8),
            window_s: self.window_s.unwrap_or(60),
            when_spent: self.when_spent.unwrap_or(when_spent),
        };
        if !(1..=60_000).contains(&restart.backoff_ms) {
            return Err("needs a backoff-ms from 1 to 60000");
        }
        // So many times are remembered, so this bounds memory as well.
        if !(1..=10_000).contains(&restart.budget) {
            return Err("needs a budget from 1 to 10000");
        }
        if !(1..=86_400).contains(&restart.window_s) {
            return Err("needs a window-s from 1 to 86400");
        }
        if kind == Kind::Agent && matches!(restart.when_spent, WhenSpent::FailTrialBoot | WhenSpent::Recovery) {
            return Err("of an agent ends no machine: when-spent is ignore or degrade");
        }
        Ok(restart)
    }
}
