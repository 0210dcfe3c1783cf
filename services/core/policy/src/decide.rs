//! The decision. The order is fixed, and the first step that says no ends it:
//!
//! 1. the envelope names the subject that the kernel attests;
//! 2. the catalogue knows the action and accepts its parameters;
//! 3. no compiled-in deny applies;
//! 4. a policy is loaded;
//! 5. its rules: a rule that cannot be evaluated denies, a forbid wins, a permit permits, a permit that wants a person
//!    wins over a plain one, and what no rule speaks of is denied;
//! 6. what changes who decides wants a person in any case.

use aios_action::{Envelope, EnvelopeError};
use aios_identity::Peer;
use aios_wire::policy::{Decision, Verdict, Wanted};

use crate::bundle::Bundle;
use crate::deny;
use crate::request;
use crate::rules::Answer;

/// The epoch of a machine without a policy.
const NO_EPOCH: &str = "none";

/// Action types that change who decides. No rules let one happen without a person who says yes to this very action.
const ALWAYS_APPROVED: [&str; 3] = ["policy.load", "user.add", "user.passphrase"];

/// Whether `subject` may do what `envelope` says. The decision carries no approval and no evidence index: nothing has
/// been recorded yet.
pub fn decide(bundle: Option<&Bundle>, envelope: &Envelope, subject: &Peer) -> Decision {
    let Said { verdict, code, text, rules, wanted } = say(bundle, envelope, subject);
    Decision {
        verdict,
        reason: code.to_owned(),
        text,
        rules,
        epoch: bundle.map_or(NO_EPOCH, Bundle::epoch).to_owned(),
        digest: envelope.digest(),
        subject: subject.clone(),
        evidence: None,
        wanted,
    }
}

/// What is left of a decision on a machine that knows of a newer policy than the one that decided: people are served, so
/// that they can load it, and nobody else is, because the newer one may have taken something away.
pub fn narrowed(decision: Decision, missing: &str) -> Decision {
    if decision.verdict == Verdict::Denied || matches!(decision.subject, Peer::Operator { .. }) {
        return decision;
    }
    let text = format!(
        "{} asks for something that this machine's newest policy may deny: {missing}; until an operator has loaded it \
         again, only people are served",
        decision.subject
    );
    Decision { verdict: Verdict::Denied, reason: "PolicyBehind".into(), text, wanted: None, ..decision }
}

struct Said {
    verdict: Verdict,
    code: &'static str,
    text: String,
    rules: Vec<String>,
    wanted: Option<Wanted>,
}

fn denied(code: &'static str, text: String, rules: Vec<String>) -> Said {
    Said { verdict: Verdict::Denied, code, text, rules, wanted: None }
}

fn say(bundle: Option<&Bundle>, envelope: &Envelope, subject: &Peer) -> Said {
    if envelope.subject != subject.to_string() {
        let text = format!(
            "the envelope names another subject than {subject}, who asks; whoever passes an action on must seal it in \
             the name of the one who asked"
        );
        return denied("SubjectMismatch", text, Vec::new());
    }
    if envelope.schema != Envelope::SCHEMA {
        return denied("InvalidAction", format!("the envelope's form is not {}", Envelope::SCHEMA), Vec::new());
    }
    if let Err(error) = envelope.request.check() {
        let code = if matches!(error, EnvelopeError::UnknownType(_)) { "UnknownActionType" } else { "InvalidAction" };
        return denied(code, error.to_string(), Vec::new());
    }
    let asked = format!("{subject} asks for {}", asked_for(envelope));
    if let Some(deny) = deny::find(subject, envelope) {
        return denied(deny.code, format!("{asked}, but {}", deny.says), vec![deny.id.to_owned()]);
    }
    let Some(bundle) = bundle else {
        let text = format!(
            "{asked}, but no policy is loaded and without one everything is denied; 'aios policy show' says why there \
             is none"
        );
        return denied("NoPolicy", text, Vec::new());
    };
    let rules = bundle.rules();
    let questions = match request::questions(rules.schema(), envelope, subject) {
        Ok(questions) => questions,
        Err(error) => {
            let text = format!("{asked}, but this cannot be put to the rules ({error}); tell whoever made this system");
            return denied("PolicyError", text, Vec::new());
        }
    };
    // An action is about one thing at least; one about none would be about nothing that a rule could permit.
    let answer = questions.iter().map(|question| rules.ask(question)).reduce(Answer::and);
    match answer.unwrap_or(Answer::NotMentioned) {
        Answer::Permitted(rules) if ALWAYS_APPROVED.contains(&envelope.request.action_type.as_str()) => {
            once_approved(&asked, rules, Wanted::default())
        }
        Answer::Permitted(rules) => {
            let text = format!("{asked}; {} permits it", named(&rules));
            Said { verdict: Verdict::Allowed, code: "PermittedByRule", text, rules, wanted: None }
        }
        Answer::PermittedOnceApproved(rules, wanted) => once_approved(&asked, rules, wanted),
        Answer::Forbidden(rules, says) => {
            let why = says.map_or_else(String::new, |says| format!(": {says}"));
            denied("ForbiddenByRule", format!("{asked}, but {} forbids it{why}", named(&rules)), rules)
        }
        Answer::NotMentioned => {
            let text = format!(
                "{asked}, but no rule permits it, and what is not permitted is denied; 'aios policy show' lists what is"
            );
            denied("NoMatchingPermit", text, Vec::new())
        }
        Answer::Broken(rules) => {
            let text = format!("{asked}, but {} could not be evaluated, and then everything is denied", named(&rules));
            denied("PolicyError", text, rules)
        }
    }
}

fn once_approved(asked: &str, rules: Vec<String>, wanted: Wanted) -> Said {
    let have = if wanted.persons == 1 { "has" } else { "have" };
    let text = format!(
        "{asked}; {} permits it once {wanted} {have} approved it: 'aios approval list' shows what waits",
        named(&rules)
    );
    let verdict = Verdict::NeedsApproval { approval: None };
    Said { verdict, code: "ApprovalRequired", text, rules, wanted: Some(wanted) }
}

/// The action with what it is about, short enough for a sentence.
fn asked_for(envelope: &Envelope) -> String {
    let request = &envelope.request;
    let parameters = &request.parameters;
    let about = ["name", "key", "path", "program", "source", "digest", "host"]
        .into_iter()
        .find_map(|key| parameters.get(key)?.as_str());
    match about {
        Some(about) => format!("{} on '{}'", request.action_type, about.escape_default()),
        None => request.action_type.clone(),
    }
}

fn named(rules: &[String]) -> String {
    let quoted: Vec<_> = rules.iter().map(|rule| format!("'{rule}'")).collect();
    format!("{} {}", if rules.len() == 1 { "rule" } else { "each of the rules" }, quoted.join(", "))
}
