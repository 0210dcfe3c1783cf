//! What the one who asks allows an action at most. It only lowers what the action's type may use up: a larger number than
//! that changes nothing.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Every field is a limit; a missing one is the type's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Constraints {
    /// Milliseconds from the request until its program must have ended, waiting for a person included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u32>,
    /// Milliseconds that its program may run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_ms: Option<u32>,
    /// Milliseconds of processor time of all its processes together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_ms: Option<u32>,
    /// Bytes of memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<u32>,
    /// Bytes that its program may print.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<u32>,
    /// Bytes that a file it writes may have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub written: Option<u32>,
}

/// A constraint cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConstraintError {
    /// Nothing can be done with nothing.
    #[error("the constraint '{0}' is 0; leave it out, or allow more than nothing")]
    Zero(&'static str),
    /// Not of the form `name=number`.
    #[error("'{}' is no constraint: write NAME=NUMBER, NAME one of {}", .0.escape_default(), NAMES.join(", "))]
    Word(String),
}

const NAMES: [&str; 6] = ["deadline_ms", "time_ms", "cpu_ms", "memory", "output", "written"];

impl Constraints {
    /// Whether nothing is lowered.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Refuses what would leave nothing.
    pub fn check(&self) -> Result<(), ConstraintError> {
        let mut copy = *self;
        match NAMES.into_iter().find(|name| copy.field(name).is_some_and(|field| *field == Some(0))) {
            Some(name) => Err(ConstraintError::Zero(name)),
            None => Ok(()),
        }
    }

    /// The constraints that words such as `cpu_ms=500` mean; of two for the same limit the last one counts.
    pub fn from_words<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Self, ConstraintError> {
        let mut constraints = Self::default();
        for word in words {
            let refused = || ConstraintError::Word(word.chars().take(80).collect());
            let (name, number) = word.split_once('=').ok_or_else(refused)?;
            let number = u32::from_str(number).map_err(|_| refused())?;
            *constraints.field(name).ok_or_else(refused)? = Some(number);
        }
        constraints.check()?;
        Ok(constraints)
    }

    fn field(&mut self, name: &str) -> Option<&mut Option<u32>> {
        Some(match name {
            "deadline_ms" => &mut self.deadline_ms,
            "time_ms" => &mut self.time_ms,
            "cpu_ms" => &mut self.cpu_ms,
            "memory" => &mut self.memory,
            "output" => &mut self.output,
            "written" => &mut self.written,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_and_json_mean_the_same() {
        let words = Constraints::from_words(["cpu_ms=500", "memory=1048576"]).expect("two constraints");
        let json = serde_json::to_string(&words).expect("text keys");
        assert_eq!(json, r#"{"cpu_ms":500,"memory":1048576}"#);
        assert_eq!(serde_json::from_str::<Constraints>(&json).expect("reads back"), words);
        assert_eq!(serde_json::to_string(&Constraints::default()).expect("text keys"), "{}");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let refused = |word| Constraints::from_words([word]).expect_err(word).to_string();
        assert!(refused("cpu=1").starts_with("'cpu=1' is no constraint: write NAME=NUMBER, NAME one of deadline_ms"));
        assert!(refused("cpu_ms").contains("NAME=NUMBER") && refused("cpu_ms=-1").contains("NAME=NUMBER"));
        assert_eq!(refused("output=0"), "the constraint 'output' is 0; leave it out, or allow more than nothing");
        assert!(serde_json::from_str::<Constraints>(r#"{"cpu":1}"#).is_err());
    }

    #[test]
    fn every_name_is_a_field() {
        for name in NAMES {
            let mut constraints = Constraints::default();
            *constraints.field(name).expect(name) = Some(0);
            assert_eq!(constraints.check(), Err(ConstraintError::Zero(name)));
        }
    }

    proptest! {
        #[test]
        fn no_word_makes_it_panic(word in "\\PC{0,60}") {
            let _ = Constraints::from_words([word.as_str()]);
        }
    }
}
