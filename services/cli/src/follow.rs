//! Following an action: a line on the terminal for each step, until it ends, waits for a person, or whoever follows goes.

use aios_action::{ActionView, State};
use aios_daemon::proxy::Actions1Proxy;

use crate::failure::Failure;
use crate::show::{Format, read};

/// How long an action is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// Nothing more happens to it.
    Ended,
    /// The same, or a person has to say.
    EndedOrWaiting,
}

impl Until {
    fn reached(self, state: &State) -> bool {
        state.is_final() || (self == Self::EndedOrWaiting && matches!(state, State::Waiting { .. }))
    }
}

/// The action as it is then. Ctrl-C ends the following and not the action, which belongs to the runtime.
pub(crate) async fn to_the_end(
    actions: &Actions1Proxy<'_>,
    mut view: ActionView,
    until: Until,
    format: Format,
) -> Result<ActionView, Failure> {
    while !until.reached(&view.state) {
        if format == Format::People {
            // Beside the answer, not in it.
            eprintln!("{}", line(&view));
        }
        view = tokio::select! {
            next = actions.watch(view.id.as_str()) => read("action-runtime", &next?)?,
            Ok(()) = tokio::signal::ctrl_c() => return Err(detached(&view)),
        };
    }
    Ok(view)
}

fn line(view: &ActionView) -> String {
    let step = match &view.state {
        State::Proposed => "is being decided".to_owned(),
        State::Waiting { .. } => "waits for a person; Ctrl-C leaves it waiting".to_owned(),
        State::Allowed { .. } => match view.rules.as_slice() {
            [] => "is allowed".to_owned(),
            rules => format!("is allowed by {}", rules.join(", ")),
        },
        State::Running => "runs".to_owned(),
        State::Verifying => "has run; the verifier looks".to_owned(),
        other => format!("is {}", other.word()),
    };
    format!("{} {step}", view.id)
}

fn detached(view: &ActionView) -> Failure {
    Failure::waits(format!("{} goes on without you", view.id)).hint(format!("aios action watch {}", view.id))
}

#[cfg(test)]
mod tests {
    use aios_action::{Envelope, Request};
    use aios_ids::{ActionId, ApprovalId};

    use super::*;

    fn view(state: State) -> ActionView {
        let (request, _) = Request::parse(r#"{"type":"node.reboot"}"#).expect("a good request");
        let envelope = Envelope::new(ActionId::new(0, [0; 10]), "operator:ada".into(), request);
        ActionView { state, rules: vec!["operator-power".into()], ..ActionView::proposed(&envelope) }
    }

    #[test]
    fn what_waits_is_left_or_followed_as_asked() {
        let waiting = State::Waiting { approval: ApprovalId::new(0, [0; 10]) };
        assert!(Until::EndedOrWaiting.reached(&waiting) && !Until::Ended.reached(&waiting));
        for until in [Until::Ended, Until::EndedOrWaiting] {
            assert!(until.reached(&State::Succeeded) && !until.reached(&State::Running));
        }
    }

    #[test]
    fn each_step_is_a_sentence_and_leaving_says_how_to_come_back() {
        let allowed = line(&view(State::Allowed { approval: None }));
        assert!(allowed.ends_with("is allowed by operator-power"), "{allowed}");
        let left = detached(&view(State::Running)).to_string();
        assert!(left.contains("goes on") && left.contains("aios action watch act_"), "{left}");
    }
}
