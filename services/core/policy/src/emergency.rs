//! An emergency: a person lifts, for a few minutes and for themselves alone, the denials of what no rule permits.
//!
//! It lifts nothing else. What is compiled in, what a rule forbids, what a permit wants besides and what changes who
//! decides stay as they are, and so does everybody else: no agent, no service and no other person gains anything.

use aios_identity::Peer;

use crate::terms::Emergency;

/// The longest one. Who needs more says so again.
pub const MOST_MINUTES: u32 = 60;

/// The longest reason, in bytes.
const REASON_LIMIT: usize = 1024;

/// An emergency that was declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// Who declared it: it is theirs alone.
    pub by: Peer,
    /// Why, in their words.
    pub reason: String,
    /// For how many minutes.
    pub minutes: u32,
    /// Until when, in milliseconds since the boot.
    pub until_ms: u64,
    /// How many decisions it has changed.
    pub uses: u32,
}

/// No emergency begins; nothing changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OverrideRefusal {
    /// An agent or a service.
    #[error("OverrideByPersonOnly: {0} cannot declare an emergency; only an operator's session can")]
    NotAPerson(String),
    /// Not a number of minutes that makes sense.
    #[error("OverrideTooLong: an emergency lasts 1 to {MOST_MINUTES} minutes, not {0}")]
    Minutes(u32),
    /// Nobody could say later what it was for.
    #[error(
        "OverrideReason: say why, in at most {REASON_LIMIT} bytes without control characters; it is recorded for ever"
    )]
    Reason,
    /// There is one.
    #[error("OverrideOn: {0} has an emergency already; 'aios policy override end' ends it")]
    On(String),
}

impl Override {
    /// Declares one at `up_ms`, unless another one lasts.
    pub fn declare(
        by: &Peer,
        minutes: u32,
        reason: &str,
        before: Option<&Self>,
        up_ms: u64,
    ) -> Result<Self, OverrideRefusal> {
        if !matches!(by, Peer::Operator { .. }) {
            return Err(OverrideRefusal::NotAPerson(by.to_string()));
        }
        if !(1..=MOST_MINUTES).contains(&minutes) {
            return Err(OverrideRefusal::Minutes(minutes));
        }
        if reason.trim().is_empty() || reason.len() > REASON_LIMIT || reason.contains(char::is_control) {
            return Err(OverrideRefusal::Reason);
        }
        if let Some(before) = before.filter(|before| !before.is_over(up_ms)) {
            return Err(OverrideRefusal::On(before.by.to_string()));
        }
        let until_ms = up_ms.saturating_add(u64::from(minutes) * 60_000);
        Ok(Self { by: by.clone(), reason: reason.to_owned(), minutes, until_ms, uses: 0 })
    }

    /// Whether its time has run out.
    #[must_use]
    pub fn is_over(&self, up_ms: u64) -> bool {
        up_ms >= self.until_ms
    }

    /// What it is to `subject` now. A person is a name: it holds in each of their sessions.
    #[must_use]
    pub fn of(&self, subject: &Peer, up_ms: u64) -> Emergency {
        let theirs =
            matches!((&self.by, subject), (Peer::Operator { name: by, .. }, Peer::Operator { name, .. }) if by == name);
        match self.until_ms.saturating_sub(up_ms) {
            left_ms @ 1.. if theirs => Emergency::Declared { left_ms },
            _ => Emergency::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use aios_identity::SessionStrength;

    use super::*;

    fn person(name: &str) -> Peer {
        Peer::Operator { name: name.into(), strength: SessionStrength::PassPhrase }
    }

    #[test]
    fn only_a_person_declares_one_with_a_reason_and_for_a_while() {
        let declare = |by: &Peer, minutes, reason: &str| Override::declare(by, minutes, reason, None, 1000);
        let ada = person("ada");
        assert!(declare(&ada, 1, "the disk is full").is_ok() && declare(&ada, MOST_MINUTES, "x").is_ok());
        for other in [Peer::Agent { name: "ada".into() }, Peer::Service { name: "action-runtime".into() }] {
            assert_eq!(declare(&other, 1, "x"), Err(OverrideRefusal::NotAPerson(other.to_string())));
        }
        for minutes in [0, MOST_MINUTES + 1, u32::MAX] {
            assert_eq!(declare(&ada, minutes, "x"), Err(OverrideRefusal::Minutes(minutes)));
        }
        for reason in ["", "  ", "a\u{1b}[2J", &"x".repeat(REASON_LIMIT + 1)] {
            assert_eq!(declare(&ada, 1, reason), Err(OverrideRefusal::Reason), "{reason:?}");
        }
        let first = declare(&ada, 1, "x").expect("the first");
        let again = |up_ms| Override::declare(&person("bob"), 1, "x", Some(&first), up_ms);
        assert_eq!(again(60_999), Err(OverrideRefusal::On("operator:ada".into())));
        assert!(again(61_000).is_ok(), "the first is over");
    }

    #[test]
    fn it_is_its_owners_and_only_in_its_time() {
        let declared = Override::declare(&person("ada"), 2, "x", None, 1000).expect("declared");
        let here = Peer::Operator { name: "ada".into(), strength: SessionStrength::Presence };
        for (subject, up_ms, expected) in [
            (person("ada"), 1000, Emergency::Declared { left_ms: 120_000 }),
            (here, 120_999, Emergency::Declared { left_ms: 1 }),
            (person("ada"), 121_000, Emergency::None),
            (person("bob"), 1000, Emergency::None),
            (Peer::Agent { name: "ada".into() }, 1000, Emergency::None),
            (Peer::Service { name: "ada".into() }, 1000, Emergency::None),
        ] {
            assert_eq!(declared.of(&subject, up_ms), expected, "{subject} at {up_ms}");
        }
    }
}
