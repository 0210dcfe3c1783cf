//! What an action would be: the decision, what it would work on, how it would be undone. Nothing is recorded, nobody is
//! asked to approve anything and no adapter runs.

use std::os::fd::BorrowedFd;

use aios_action::{Envelope, Request, Reversal, Target};
use aios_daemon::error_chain;
use aios_identity::Peer;
use aios_wire::plan::Plan;

use crate::peers;
use crate::runtime::{SubmitError, new_id, target_of};
use crate::{resource, undo};

/// The plan of `request`, as `peer`, whose process is behind `subject`, would submit it.
pub(crate) async fn plan(peer: &Peer, subject: BorrowedFd<'_>, request: &str) -> Result<Plan, SubmitError> {
    let (request, entry) = Request::parse(request)?;
    let target = target_of(&request).await;
    let envelope = Envelope::new(new_id()?, peer.to_string(), request.clone()).of_target(target);
    let decision = peers::explain(&envelope.canonical(), subject).await.map_err(SubmitError::NotDecided)?;
    let (undone, obstacle) = match (entry.reversal, undo::prepare(&request).await) {
        (Reversal::None, _) => (None, None),
        (Reversal::RestoresBefore, Ok(undo)) => (undo.map(|undo| undo.text()), None),
        (Reversal::RestoresBefore, Err(error)) => (None, Some(error_chain(&error))),
    };
    Ok(Plan {
        action_type: entry.name.into(),
        summary: entry.summary.into(),
        rights: entry.rights.iter().map(|right| right.word().to_owned()).collect(),
        risk: entry.risk().word().into(),
        decision,
        target: target.map(Target::text),
        afterwards: entry.post_condition.into(),
        undone,
        obstacle: resource::check_unit(&request).err().or(obstacle),
    })
}
