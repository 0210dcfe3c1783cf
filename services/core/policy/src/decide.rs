//! The decision. The order is fixed, and the first step that says no ends it:
//!
//! 1. the envelope names the subject that the kernel attests;
//! 2. the catalogue knows the action and accepts its parameters;
//! 3. no compiled-in deny applies;
//! 4. a policy is loaded;
//! 5. its rules: a rule that cannot be evaluated denies, a forbid wins, a permit permits, and what no rule speaks of is
//!    denied, unless the person who asks declared an emergency;
//! 6. what the permits want besides: a part of the day, a budget, a plan, recovery; then people, who are wanted in any
//!    case for what changes who decides or hands in a program.

use aios_action::{Envelope, EnvelopeError, canonical};
use aios_identity::Peer;
use aios_ids::Digest;
use aios_wire::policy::{Decision, Verdict, Wanted};
use serde_json::json;

use crate::bundle::Bundle;
use crate::deny;
use crate::request;
use crate::rules::Answer;
use crate::terms::{Circumstances, Emergency, Term, Terms};

/// The epoch of a machine without a policy.
const NO_EPOCH: &str = "none";

/// Action types that change who decides, or bring in a program that no key vouches for. No rules let one happen without a
/// person who says yes to this very action.
const ALWAYS_APPROVED: [&str; 7] = [
    "policy.load",
    "user.add",
    "user.passphrase",
    "user.key.add",
    "user.key.remove",
    "app.install",
    "app.install.request",
];

/// What a decision names as the rule where an emergency permits. No rule of a bundle can have this id.
const EMERGENCY: &str = "emergency.override";

/// Whether `subject` may do what `envelope` says when nothing is known besides: outside of every window, planned by
/// nobody, in no emergency.
pub fn decide(bundle: Option<&Bundle>, envelope: &Envelope, subject: &Peer) -> Decision {
    decide_in(bundle, envelope, subject, &Circumstances::default())
}

/// Whether `subject` may do what `envelope` says. The decision carries no approval and no evidence index: nothing has
/// been recorded yet.
pub fn decide_in(
    bundle: Option<&Bundle>,
    envelope: &Envelope,
    subject: &Peer,
    circumstances: &Circumstances,
) -> Decision {
    let Said { verdict, code, text, rules, wanted, closes_ms } = say(bundle, envelope, subject, circumstances);
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
        closes_ms,
    }
}

/// What a plan is of: everything of a request that decides what happens, and who asks. Its id is another one each time,
/// and the words of who asks change nothing.
pub fn planned(envelope: &Envelope, subject: &Peer) -> Digest {
    let request = &envelope.request;
    let plan = json!({
        "subject": subject.to_string(),
        "type": request.action_type,
        "parameters": request.parameters,
        "constraints": request.constraints,
        "target": envelope.target,
    });
    Digest::of(canonical::write(&plan).as_bytes())
}

/// Whether a decision came out as it did only because of an emergency.
#[must_use]
pub fn is_override(decision: &Decision) -> bool {
    decision.verdict != Verdict::Denied && decision.rules == [EMERGENCY]
}

/// What the rules permit to `subject` and what they want for it, whatever the circumstances; nothing where it is denied.
pub(crate) fn standing(bundle: Option<&Bundle>, envelope: &Envelope, subject: &Peer) -> Option<Terms> {
    rule(bundle, envelope, subject, Emergency::None).ok().map(|permitted| permitted.terms)
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
    Decision {
        verdict: Verdict::Denied,
        reason: "PolicyBehind".into(),
        text,
        wanted: None,
        closes_ms: None,
        ..decision
    }
}

struct Said {
    verdict: Verdict,
    code: &'static str,
    text: String,
    rules: Vec<String>,
    wanted: Option<Wanted>,
    closes_ms: Option<u64>,
}

/// Permitted, if the terms hold.
struct Permitted {
    asked: String,
    code: &'static str,
    rules: Vec<String>,
    terms: Terms,
    closes_ms: Option<u64>,
}

fn denied(code: &'static str, text: String, rules: Vec<String>) -> Said {
    Said { verdict: Verdict::Denied, code, text, rules, wanted: None, closes_ms: None }
}

fn say(bundle: Option<&Bundle>, envelope: &Envelope, subject: &Peer, circumstances: &Circumstances) -> Said {
    let permitted = match rule(bundle, envelope, subject, circumstances.emergency) {
        Ok(permitted) => permitted,
        Err(said) => return said,
    };
    let Permitted { asked, code, rules, terms, closes_ms } = permitted;
    if let Some(unmet) = terms.unmet(&envelope.request, circumstances) {
        return denied(unmet.code, format!("{asked}; {} permits it {}", named(&rules), unmet.says), rules);
    }
    let closes_ms = closes_ms.into_iter().chain(terms.left_ms(circumstances.time)).min();
    match terms.wanted() {
        Some(wanted) => {
            let have = if wanted.persons == 1 { "has" } else { "have" };
            let text = format!(
                "{asked}; {} permits it once {wanted} {have} approved it: 'aios approval list' shows what waits",
                named(&rules)
            );
            let verdict = Verdict::NeedsApproval { approval: None };
            Said { verdict, code: "ApprovalRequired", text, rules, wanted: Some(wanted), closes_ms }
        }
        None => {
            let text = format!("{asked}; {} permits it", named(&rules));
            Said { verdict: Verdict::Allowed, code, text, rules, wanted: None, closes_ms }
        }
    }
}

fn rule(bundle: Option<&Bundle>, envelope: &Envelope, subject: &Peer, emergency: Emergency) -> Result<Permitted, Said> {
    if envelope.subject != subject.to_string() {
        let text = format!(
            "the envelope names another subject than {subject}, who asks; whoever passes an action on must seal it in \
             the name of the one who asked"
        );
        return Err(denied("SubjectMismatch", text, Vec::new()));
    }
    if envelope.schema != Envelope::SCHEMA {
        let text = format!("the envelope's form is not {}", Envelope::SCHEMA);
        return Err(denied("InvalidAction", text, Vec::new()));
    }
    if let Err(error) = envelope.request.check() {
        let code = if matches!(error, EnvelopeError::UnknownType(_)) { "UnknownActionType" } else { "InvalidAction" };
        return Err(denied(code, error.to_string(), Vec::new()));
    }
    let asked = format!("{subject} asks for {}", asked_for(envelope));
    if let Some(deny) = deny::find(subject, envelope) {
        return Err(denied(deny.code, format!("{asked}, but {}", deny.says), vec![deny.id.to_owned()]));
    }
    let Some(bundle) = bundle else {
        let text = format!(
            "{asked}, but no policy is loaded and without one everything is denied; 'aios policy show' says why there \
             is none"
        );
        return Err(denied("NoPolicy", text, Vec::new()));
    };
    let rules = bundle.rules();
    let questions = match request::questions(rules.schema(), envelope, subject) {
        Ok(questions) => questions,
        Err(error) => {
            let text = format!("{asked}, but this cannot be put to the rules ({error}); tell whoever made this system");
            return Err(denied("PolicyError", text, Vec::new()));
        }
    };
    // An action is about one thing at least; one about none would be about nothing that a rule could permit.
    let answer = questions.iter().map(|question| rules.ask(question)).reduce(Answer::and);
    let permitted = |code, rules, terms: Terms, closes_ms| {
        let always = ALWAYS_APPROVED.contains(&envelope.request.action_type.as_str());
        let terms = if always { terms.with(Term::Approval(Wanted::default())) } else { terms };
        Ok(Permitted { asked: asked.clone(), code, rules, terms, closes_ms })
    };
    match answer.unwrap_or(Answer::NotMentioned) {
        Answer::Permitted(rules, terms) => permitted("PermittedByRule", rules, terms, None),
        Answer::Forbidden(rules, says) => {
            let why = says.map_or_else(String::new, |says| format!(": {says}"));
            Err(denied("ForbiddenByRule", format!("{asked}, but {} forbids it{why}", named(&rules)), rules))
        }
        Answer::NotMentioned => {
            // Whoever says that there is an emergency, it is only ever a person's own.
            if let (Emergency::Declared { left_ms }, Peer::Operator { .. }) = (emergency, subject) {
                let rules = vec![EMERGENCY.to_owned()];
                return permitted("PermittedByOverride", rules, Terms::default(), Some(left_ms));
            }
            let text = format!(
                "{asked}, but no rule permits it, and what is not permitted is denied; 'aios policy show' lists what is"
            );
            Err(denied("NoMatchingPermit", text, Vec::new()))
        }
        Answer::Broken(rules) => {
            let text = format!("{asked}, but {} could not be evaluated, and then everything is denied", named(&rules));
            Err(denied("PolicyError", text, rules))
        }
    }
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
