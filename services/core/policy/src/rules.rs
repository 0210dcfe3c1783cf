//! The rules of a bundle, compiled once: Cedar text, checked against the schema, with our annotations read.
//!
//! Annotations: `@id("name")` is required and unique; `@approval("person")` on a permit; `@says("…")` on a forbid. Any
//! other annotation is an error, so that a misspelt one cannot turn an approval into a plain permit.

use std::collections::HashMap;

use cedar_policy::{
    AuthorizationError, Authorizer, Decision, Effect, ParseErrors, Policy, PolicyId, PolicySet, Schema, ValidationMode,
    Validator,
};
use miette::Diagnostic;

use crate::request::{self, Question};
use crate::scope::Scopes;

/// More than this in one bundle is a mistake: each rule is looked at for each decision.
const RULE_LIMIT: usize = 500;

/// Rules that can be asked.
pub(crate) struct Rules {
    scopes: Scopes,
    notes: HashMap<String, Note>,
    schema: Schema,
    authorizer: Authorizer,
}

/// What our annotations say of one rule.
struct Note {
    approval: Approval,
    says: Option<String>,
}

/// Whether a permit is enough.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Approval {
    NotNeeded,
    Person,
}

/// What the rules say to one question.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// These rules permit it.
    Permitted(Vec<String>),
    /// These rules permit it once a person has approved it.
    PermittedOnceApproved(Vec<String>),
    /// These rules forbid it, with what the first says to people.
    Forbidden(Vec<String>, Option<String>),
    /// No rule speaks of it.
    NotMentioned,
    /// These rules could not be evaluated: nothing the others say counts.
    Broken(Vec<String>),
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
    #[error("rule '{rule}' has @{key}(\"{value}\"); known are @id, @approval(\"person\") on permit, @says on forbid")]
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

    /// Asks the rules that can apply.
    pub(crate) fn ask(&self, question: &Question) -> Answer {
        self.ask_these(self.scopes.of(&question.request), question)
    }

    /// Asks all rules, which has the same answer.
    #[cfg(test)]
    pub(crate) fn ask_all(&self, question: &Question) -> Answer {
        self.ask_these(self.scopes.all(), question)
    }

    fn ask_these(&self, rules: &PolicySet, question: &Question) -> Answer {
        let response = self.authorizer.is_authorized(&question.request, rules, &question.entities);
        // Cedar skips a rule that fails; a skipped forbid would widen what is allowed.
        let broken = sorted(response.diagnostics().errors().map(|error| match error {
            AuthorizationError::PolicyEvaluationError(error) => error.policy_id().to_string(),
        }));
        if !broken.is_empty() {
            return Answer::Broken(broken);
        }
        let rules = sorted(response.diagnostics().reason().map(ToString::to_string));
        let notes = || rules.iter().filter_map(|id| self.notes.get(id));
        match response.decision() {
            Decision::Deny if rules.is_empty() => Answer::NotMentioned,
            Decision::Deny => {
                let says = notes().find_map(|note| note.says.clone());
                Answer::Forbidden(rules, says)
            }
            // One permit that wants a person is enough: a second, plain permit must not take the person away.
            Decision::Allow if notes().any(|note| note.approval == Approval::Person) => {
                Answer::PermittedOnceApproved(rules)
            }
            Decision::Allow => Answer::Permitted(rules),
        }
    }
}

fn sorted(ids: impl Iterator<Item = String>) -> Vec<String> {
    let mut ids: Vec<_> = ids.collect();
    ids.sort();
    ids
}

fn rule_id(file: &str, rule: &Policy) -> Result<String, RuleError> {
    let id = rule.annotation("id").unwrap_or("");
    let good = (1..=64).contains(&id.len())
        && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && id.starts_with(|c: char| c.is_ascii_lowercase());
    if good { Ok(id.to_owned()) } else { Err(RuleError::Id { file: file.to_owned(), id: id.to_owned() }) }
}

fn note(id: &str, rule: &Policy) -> Result<Note, RuleError> {
    let mut note = Note { approval: Approval::NotNeeded, says: None };
    for (key, value) in rule.annotations() {
        match (key, value, rule.effect()) {
            ("id", _, _) => {}
            ("approval", "person", Effect::Permit) => note.approval = Approval::Person,
            ("says", text, Effect::Forbid) if !text.is_empty() => note.says = Some(text.to_owned()),
            _ => {
                return Err(RuleError::Annotation {
                    rule: id.to_owned(),
                    key: key.to_owned(),
                    value: value.to_owned(),
                });
            }
        }
    }
    Ok(note)
}

/// What is wrong, with the line of the first complaint.
fn explain_syntax(text: &str, errors: &ParseErrors) -> String {
    let offset = errors.labels().and_then(|mut labels| labels.next()).map_or(0, |label| label.offset());
    let line = text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1;
    format!("line {line}: {errors}")
}
