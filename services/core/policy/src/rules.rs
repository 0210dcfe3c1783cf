//! The rules of a bundle, compiled once: Cedar text, checked against the schema, with our annotations read.
//!
//! Annotations: `@id("name")` is required and unique; on a permit what it wants besides (`terms.rs`); `@says("…")` on a
//! forbid. Any other annotation is an error, so that a misspelt one cannot turn an approval into a plain permit.

use std::collections::{BTreeSet, HashMap};

use cedar_policy::{
    AuthorizationError, Authorizer, Decision, Effect, EntityUid, ParseErrors, Policy, PolicyId, PolicySet, Schema,
    ValidationMode, Validator,
};
use miette::Diagnostic;

use crate::request::{self, Question};
use crate::scope::Scopes;
use crate::terms::{Term, Terms};

/// More than this in one bundle is refused. A decision does not get dearer with rules about other things; what grows is
/// the time to open a bundle and the memory for it, and with this many both are still a fraction of what a machine has.
const RULE_LIMIT: usize = 5000;

/// Rules that can be asked.
pub(crate) struct Rules {
    scopes: Scopes,
    notes: HashMap<String, Note>,
    schema: Schema,
    authorizer: Authorizer,
}

/// What our annotations say of one rule.
struct Note {
    terms: Terms,
    says: Option<String>,
}

/// What the rules say to one question.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// These rules permit it, if all that they want besides holds.
    Permitted(Vec<String>, Terms),
    /// These rules forbid it, with what the first says to people.
    Forbidden(Vec<String>, Option<String>),
    /// No rule speaks of it.
    NotMentioned,
    /// These rules could not be evaluated: nothing the others say counts.
    Broken(Vec<String>),
}

impl Answer {
    /// The answer to two questions that both need a yes: the worse of the two, and of two alike the rules of both.
    pub(crate) fn and(self, other: Self) -> Self {
        let join = |mut one: Vec<String>, two: Vec<String>| {
            one.extend(two);
            one.sort();
            one.dedup();
            one
        };
        match (self, other) {
            (Self::Broken(one), Self::Broken(two)) => Self::Broken(join(one, two)),
            (Self::Forbidden(one, says), Self::Forbidden(two, too)) => Self::Forbidden(join(one, two), says.or(too)),
            (Self::Permitted(one, first), Self::Permitted(two, second)) => {
                Self::Permitted(join(one, two), first.and(second))
            }
            (worst @ Self::Broken(_), _) | (_, worst @ Self::Broken(_)) => worst,
            (worst @ Self::Forbidden(..), _) | (_, worst @ Self::Forbidden(..)) => worst,
            (Self::NotMentioned, _) | (_, Self::NotMentioned) => Self::NotMentioned,
        }
    }
}

/// A file of rules cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RuleError {
    /// Not Cedar.
    #[error("{file} is not Cedar: {detail}")]
    Syntax {
        /// The file.
        file: String,
        /// Where and what.
        detail: String,
    },
    /// A template: nothing here fills one in.
    #[error("{file} has a template; write out the rule")]
    Template {
        /// The file.
        file: String,
    },
    /// A rule without a usable id.
    #[error("a rule in {file} needs @id with 1 to 64 lower-case letters, digits and dashes; it has '{id}'")]
    Id {
        /// The file.
        file: String,
        /// What stands there.
        id: String,
    },
    /// Two rules of one id.
    #[error("two rules have the id '{0}'; decisions name rules by id, so change one")]
    Twice(String),
    /// An annotation that means nothing here.
    #[error(
        "rule '{rule}' has @{key}(\"{value}\"); known are @id, @says on forbid, and on permit @approval(\"person\"), \
         \"another person\", \"2 persons\", \"2 other persons\", @window(\"08:00-18:00\"), @budget(\"cpu_ms=500 memory=1048576\"), \
         @plan(\"first\"), @mode(\"recovery\")"
    )]
    Annotation {
        /// The rule.
        rule: String,
        /// The annotation.
        key: String,
        /// Its text.
        value: String,
    },
    /// Too many.
    #[error("the bundle has {0} rules; at most {RULE_LIMIT} are taken")]
    Count(usize),
    /// Cedar, but with words that requests do not have, or a rule that can never apply.
    #[error("the rules do not fit the schema of this system: {0}")]
    Schema(String),
}

impl Rules {
    /// Compiles files of (name, text).
    pub(crate) fn compile<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, RuleError> {
        let mut set = PolicySet::new();
        let mut notes = HashMap::new();
        for (file, text) in files {
            let parsed: PolicySet = text
                .parse()
                .map_err(|error| RuleError::Syntax { file: file.to_owned(), detail: explain_syntax(text, &error) })?;
            if parsed.num_of_templates() > 0 {
                return Err(RuleError::Template { file: file.to_owned() });
            }
            for rule in parsed.policies() {
                let id = rule_id(file, rule)?;
                if notes.insert(id.clone(), note(&id, rule)?).is_some() {
                    return Err(RuleError::Twice(id));
                }
                set.add(rule.new_id(PolicyId::new(&id))).map_err(|_| RuleError::Twice(id))?;
            }
        }
        if notes.len() > RULE_LIMIT {
            return Err(RuleError::Count(notes.len()));
        }
        let schema = request::schema().map_err(|error| RuleError::Schema(error.to_string()))?;
        let validator = Validator::new(schema);
        let result = validator.validate(&set, ValidationMode::Strict);
        // A warning is a rule that can never apply or a name that looks like another: both are mistakes in a policy.
        if !result.validation_passed_without_warnings() {
            let complaints = result.validation_errors().map(ToString::to_string);
            let complaints = complaints.chain(result.validation_warnings().map(ToString::to_string));
            return Err(RuleError::Schema(complaints.collect::<Vec<_>>().join("; ")));
        }
        let schema = validator.schema().clone();
        let scopes = Scopes::sort(set, &schema).map_err(|error| RuleError::Schema(error.to_string()))?;
        Ok(Self { scopes, notes, schema, authorizer: Authorizer::new() })
    }

    /// The schema that questions are made with.
    pub(crate) fn schema(&self) -> &Schema {
        &self.schema
    }

    /// How many rules there are.
    pub(crate) fn count(&self) -> usize {
        self.notes.len()
    }

    /// Everything that a rule names. Requests have no attributes and no context, so two things that no rule names are the
    /// same to all of them.
    pub(crate) fn named(&self) -> BTreeSet<EntityUid> {
        self.scopes.all().policies().flat_map(Policy::entity_literals).collect()
    }

    /// Asks the rules that can apply.
    pub(crate) fn ask(&self, question: &Question) -> Answer {
        self.ask_these(&self.scopes.of(&question.request), question)
    }

    /// Asks all rules, which has the same answer.
    #[cfg(test)]
    pub(crate) fn ask_all(&self, question: &Question) -> Answer {
        self.ask_these(&[self.scopes.all()], question)
    }

    /// Asks several sets of rules, which has the same answer as one set of all of them: what is satisfied and what fails is
    /// a matter of each rule alone.
    fn ask_these(&self, sets: &[&PolicySet], question: &Question) -> Answer {
        let (mut broken, mut forbids, mut permits) = (Vec::new(), Vec::new(), Vec::new());
        for set in sets {
            let response = self.authorizer.is_authorized(&question.request, set, &question.entities);
            // Cedar skips a rule that fails; a skipped forbid would widen what is allowed.
            broken.extend(response.diagnostics().errors().map(|error| match error {
                AuthorizationError::PolicyEvaluationError(error) => error.policy_id().to_string(),
            }));
            let satisfied = response.diagnostics().reason().map(ToString::to_string);
            match response.decision() {
                Decision::Deny => forbids.extend(satisfied),
                Decision::Allow => permits.extend(satisfied),
            }
        }
        for ids in [&mut broken, &mut forbids, &mut permits] {
            ids.sort();
        }
        if !broken.is_empty() {
            return Answer::Broken(broken);
        }
        if !forbids.is_empty() {
            let says = forbids.iter().filter_map(|id| self.notes.get(id)).find_map(|note| note.says.clone());
            return Answer::Forbidden(forbids, says);
        }
        if permits.is_empty() {
            return Answer::NotMentioned;
        }
        // One permit that wants something is enough: a second, plain permit must not take it away.
        let notes = permits.iter().filter_map(|id| self.notes.get(id));
        let terms = notes.fold(Terms::default(), |terms, note| terms.and(note.terms.clone()));
        Answer::Permitted(permits, terms)
    }
}

fn rule_id(file: &str, rule: &Policy) -> Result<String, RuleError> {
    let id = rule.annotation("id").unwrap_or("");
    let good = (1..=64).contains(&id.len())
        && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && id.starts_with(|c: char| c.is_ascii_lowercase());
    if good { Ok(id.to_owned()) } else { Err(RuleError::Id { file: file.to_owned(), id: id.to_owned() }) }
}

fn note(id: &str, rule: &Policy) -> Result<Note, RuleError> {
    let (mut terms, mut says) = (Vec::new(), None);
    for (key, value) in rule.annotations() {
        let term = (rule.effect() == Effect::Permit).then(|| Term::read(key, value)).flatten();
        match (key, rule.effect(), term) {
            ("id", _, _) => {}
            (_, _, Some(term)) => terms.push(term),
            ("says", Effect::Forbid, _) if !value.is_empty() => says = Some(value.to_owned()),
            _ => {
                return Err(RuleError::Annotation {
                    rule: id.to_owned(),
                    key: key.to_owned(),
                    value: value.chars().take(80).collect(),
                });
            }
        }
    }
    // Annotations come in no order of their own; what people read is to be the same each time.
    terms.sort_by_key(|term| format!("{term:?}"));
    Ok(Note { terms: Terms::of(terms), says })
}

/// What is wrong, with the line of the first complaint.
fn explain_syntax(text: &str, errors: &ParseErrors) -> String {
    let offset = errors.labels().and_then(|mut labels| labels.next()).map_or(0, |label| label.offset());
    let line = text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1;
    format!("line {line}: {errors}")
}
