//! What a person is told of a program before it exists: the report of its trial, which is a part of the envelope that they
//! approve.

use aios_action::Envelope;
use aios_action::app::{Manifest, ServiceKind};

use super::{KernelError, Result};

/// The report in lines. A request without one, or with one of another program, cannot be approved at all.
pub(super) fn what_a_trial_said(envelope: &Envelope, manifest: &str) -> Result<Vec<String>> {
    let trial = envelope.trial.as_ref().ok_or(KernelError::NotTried("the request has no report of a trial"))?;
    match Manifest::parse(manifest) {
        Ok(manifest) if manifest.digest() == trial.manifest && manifest.program.sha256 == trial.program => {
            let composed =
                format!("tried before: {}; {}", manifest.composition.tried.join(", "), manifest.composition.why_not);
            let made = format!("made by: {}", manifest.origin);
            let is_an_agent = manifest.service.as_ref().is_some_and(|service| service.kind == ServiceKind::Agent);
            let agent = is_an_agent.then(|| {
                let name = &manifest.name;
                format!("AN AGENT: once it is enabled it proposes actions as agent:{name}, of which no test shows any")
            });
            Ok(agent.into_iter().chain(trial.lines()).chain([composed, made]).collect())
        }
        _ => Err(KernelError::NotTried("the report of the trial is about another program")),
    }
}
