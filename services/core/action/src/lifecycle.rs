//! The life of one action. No transition goes backwards.
//!
//! | from | event | to |
//! |---|---|---|
//! | proposed | allowed | allowed |
//! | proposed | needs approval | waiting |
//! | proposed | denied | denied |
//! | waiting | approved | allowed |
//! | waiting | refused | denied |
//! | waiting | cancelled | cancelled |
//! | allowed | started | running |
//! | allowed | failed | failed |
//! | running | effect done | verifying |
//! | running | failed | failed |
//! | verifying | held | succeeded |
//! | verifying | failed | failed |
//! | failed | rolled back | rolled back |

use aios_ids::{ActionId, ApprovalId, Digest};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::app::Trial;
use crate::envelope::{Envelope, Request, Target};

/// Where an action stands, with what that state knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum State {
    /// Taken in, not decided.
    Proposed,
    /// A person has to say.
    Waiting {
        /// What the person approves.
        approval: ApprovalId,
    },
    /// It may run.
    Allowed {
        /// The approval it runs under, if it needed one.
        approval: Option<ApprovalId>,
    },
    /// It may not run; nothing happened.
    Denied {
        /// A stable code.
        reason: String,
        /// The same for people.
        text: String,
    },
    /// Who asked took it back; nothing happened.
    Cancelled,
    /// Its effect may have begun.
    Running,
    /// Its effect is done and not yet measured.
    Verifying,
    /// The verifier measured what was promised.
    Succeeded,
    /// It did not do what was promised.
    Failed {
        /// Why.
        text: String,
    },
    /// It failed and the state from before is back.
    RolledBack {
        /// Why it failed.
        text: String,
    },
}

/// What can happen to an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Policy said yes.
    Allowed,
    /// Policy wants a person.
    NeedsApproval(ApprovalId),
    /// Policy, or a person, said no.
    Denied {
        /// A stable code.
        reason: String,
        /// The same for people.
        text: String,
    },
    /// A person said yes.
    Approved,
    /// Who asked took it back.
    Cancelled,
    /// The intent is durable and the adapter starts.
    Started,
    /// The adapter ended well.
    EffectDone,
    /// The verifier measured what was promised.
    Held,
    /// Something went wrong.
    Failed(String),
    /// The state from before is back.
    RolledBack,
}

/// The event does not fit the state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an action that is {state:?} cannot become: {event:?}")]
pub struct WrongTransition {
    state: State,
    event: Event,
}

impl State {
    /// The state after `event`.
    pub fn after(&self, event: Event) -> Result<Self, WrongTransition> {
        Ok(match (self, event) {
            (Self::Proposed, Event::Allowed) => Self::Allowed { approval: None },
            (Self::Proposed, Event::NeedsApproval(approval)) => Self::Waiting { approval },
            (Self::Proposed | Self::Waiting { .. }, Event::Denied { reason, text }) => Self::Denied { reason, text },
            (Self::Waiting { approval }, Event::Approved) => Self::Allowed { approval: Some(approval.clone()) },
            (Self::Waiting { .. }, Event::Cancelled) => Self::Cancelled,
            (Self::Allowed { .. }, Event::Started) => Self::Running,
            (Self::Running, Event::EffectDone) => Self::Verifying,
            (Self::Verifying, Event::Held) => Self::Succeeded,
            (Self::Allowed { .. } | Self::Running | Self::Verifying, Event::Failed(text)) => Self::Failed { text },
            (Self::Failed { text }, Event::RolledBack) => Self::RolledBack { text: text.clone() },
            (state, event) => return Err(WrongTransition { state: state.clone(), event }),
        })
    }

    /// Whether nothing more will happen by itself.
    pub fn is_final(&self) -> bool {
        matches!(
            self,
            Self::Denied { .. } | Self::Cancelled | Self::Succeeded | Self::Failed { .. } | Self::RolledBack { .. }
        )
    }

    /// The word for people and for `--json`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Proposed => "proposed",
            Self::Waiting { .. } => "waiting",
            Self::Allowed { .. } => "allowed",
            Self::Denied { .. } => "denied",
            Self::Cancelled => "cancelled",
            Self::Running => "running",
            Self::Verifying => "verifying",
            Self::Succeeded => "succeeded",
            Self::Failed { .. } => "failed",
            Self::RolledBack { .. } => "rolled-back",
        }
    }
}

/// What the runtime tells of an action.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ActionView {
    /// The action.
    pub id: ActionId,
    /// Who asked, as the kernel attests.
    pub subject: String,
    /// What was asked.
    pub request: Request,
    /// What the file was that it is about, where that is a part of the envelope.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// What came of trying the program that was handed in, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial: Option<Trial>,
    /// The envelope's digest.
    pub digest: Digest,
    /// Where it stands.
    pub state: State,
    /// The rules that decided.
    pub rules: Vec<String>,
    /// The policy epoch it was decided under.
    pub epoch: String,
    /// What the verifier saw, or what the program printed.
    pub observed: Option<Value>,
    /// Its records in the evidence log, in order.
    pub evidence: Vec<Receipt>,
}

impl ActionView {
    /// An action of which nothing but its envelope is known.
    pub fn proposed(envelope: &Envelope) -> Self {
        Self {
            id: envelope.id.clone(),
            subject: envelope.subject.clone(),
            request: envelope.request.clone(),
            target: envelope.target,
            trial: envelope.trial.clone(),
            digest: envelope.digest(),
            state: State::Proposed,
            rules: Vec::new(),
            epoch: "none".into(),
            observed: None,
            evidence: Vec::new(),
        }
    }

    /// The envelope, as it was sealed.
    pub fn envelope(&self) -> Envelope {
        let envelope = Envelope::new(self.id.clone(), self.subject.clone(), self.request.clone());
        envelope.of_target(self.target).after_trial(self.trial.clone())
    }
}

/// A record of an action in the evidence log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// What kind of record.
    pub kind: String,
    /// Its place in the log.
    pub index: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn approval() -> ApprovalId {
        ApprovalId::new(0, [0; 10])
    }

    fn every_state() -> Vec<State> {
        vec![
            State::Proposed,
            State::Waiting { approval: approval() },
            State::Allowed { approval: None },
            State::Denied { reason: "x".into(), text: "x".into() },
            State::Cancelled,
            State::Running,
            State::Verifying,
            State::Succeeded,
            State::Failed { text: "x".into() },
            State::RolledBack { text: "x".into() },
        ]
    }

    fn every_event() -> Vec<Event> {
        vec![
            Event::Allowed,
            Event::NeedsApproval(approval()),
            Event::Denied { reason: "x".into(), text: "x".into() },
            Event::Approved,
            Event::Cancelled,
            Event::Started,
            Event::EffectDone,
            Event::Held,
            Event::Failed("x".into()),
            Event::RolledBack,
        ]
    }

    /// The table in the module's documentation, row by row.
    #[test]
    fn the_table_is_the_code() {
        let event_words = [
            "allowed",
            "needs approval",
            "denied",
            "approved",
            "cancelled",
            "started",
            "effect done",
            "held",
            "failed",
            "rolled back",
        ];
        let mut rows = Vec::new();
        for state in every_state() {
            for (event, word) in every_event().into_iter().zip(event_words) {
                if let Ok(next) = state.after(event) {
                    let word = if word == "denied" && state.word() == "waiting" { "refused" } else { word };
                    rows.push(
                        format!("| {} | {word} | {} |", state.word(), next.word())
                            .replace("rolled-back", "rolled back"),
                    );
                }
            }
        }
        let mut documented: Vec<_> = include_str!("lifecycle.rs")
            .lines()
            .filter_map(|line| line.strip_prefix("//! "))
            .filter(|line| line.starts_with("| ") && !line.contains("from"))
            .map(str::to_owned)
            .collect();
        rows.sort();
        documented.sort();
        assert_eq!(rows, documented);
    }

    #[test]
    fn what_ended_stays_ended() {
        for state in every_state().into_iter().filter(State::is_final) {
            for event in every_event() {
                let next = state.after(event.clone());
                let undone = matches!((&state, &event), (State::Failed { .. }, Event::RolledBack));
                assert_eq!(next.is_ok(), undone, "{state:?} {event:?}");
            }
        }
    }

    #[test]
    fn nothing_runs_undecided() {
        assert!(State::Proposed.after(Event::Started).is_err());
        assert!(State::Waiting { approval: approval() }.after(Event::Started).is_err());
    }
}
