//! The people who can open a session: names, user ids, hashed pass phrases and public keys, as one JSON list in
//! `/aios/system/policy/operators.json`.
//!
//! The installer writes the list, the policy kernel reads it. The cost of a hash is fixed: a list with a cheaper one is
//! refused, so that nobody can weaken it by editing the file.

use std::str::FromStr;

use aios_ids::UnitName;
use argon2::password_hash::phc::{ParamsString, PasswordHash};
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use serde::{Deserialize, Serialize};

use crate::keys::{Fingerprint, PublicKey};

/// The largest list that is read.
pub const SIZE_LIMIT: usize = 64 * 1024;

/// The longest pass phrase, in bytes.
pub const PASS_PHRASE_LIMIT: usize = 1024;

/// Bytes of salt that [`hash`] wants.
pub const SALT_LENGTH: usize = 16;

/// So many keys one person has at most.
pub const KEYS_OF_ONE: usize = 16;

/// User ids of operators begin here; below are the services and `live`.
const FIRST_UID: u32 = 1000;
/// User ids of agents begin here.
const AFTER_LAST_UID: u32 = 2000;

/// One person who can log in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operator {
    /// The name that is typed at the login.
    pub name: UnitName,
    /// The user id of the sessions.
    pub uid: u32,
    /// What [`hash`] made of the pass phrase.
    pub argon2id: String,
    /// How often the pass phrase was changed since.
    #[serde(default)]
    pub changes: u32,
    /// Whose signatures are answers of this person.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<PublicKey>,
}

/// Everybody who can log in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Operators(Vec<Operator>);

/// The list cannot be used; nobody can log in with it.
#[derive(Debug, thiserror::Error)]
pub enum OperatorsError {
    /// Longer than [`SIZE_LIMIT`].
    #[error("the list of operators is longer than {SIZE_LIMIT} bytes")]
    Size,
    /// Not this form.
    #[error("the list of operators cannot be read")]
    Form(#[source] serde_json::Error),
    /// A name or a user id twice.
    #[error("operator '{0}' or the user id is listed twice")]
    Twice(UnitName),
    /// Somebody who is listed already.
    #[error("OperatorExists: '{0}' can log in already; 'aios user list' shows everybody")]
    Exists(UnitName),
    /// Nobody of this name.
    #[error("OperatorUnknown: there is no operator '{0}' on this machine; 'aios user list' shows everybody")]
    Unknown(UnitName),
    /// A key that somebody has already: what it signs would be two people's answer.
    #[error("KeyTaken: the key {key} is listed for '{owner}' already; 'aios user key list {owner}' shows it")]
    KeyTaken {
        /// The key.
        key: Fingerprint,
        /// Who has it.
        owner: UnitName,
    },
    /// One more than [`KEYS_OF_ONE`].
    #[error("TooManyKeys: '{0}' has {KEYS_OF_ONE} keys; 'aios user key remove {0}' takes one away")]
    TooManyKeys(UnitName),
    /// A key that this person does not have.
    #[error("KeyUnknown: '{owner}' has no key {key}; 'aios user key list {owner}' shows them")]
    KeyUnknown {
        /// The key.
        key: Fingerprint,
        /// Who does not have it.
        owner: UnitName,
    },
    /// No user id is left.
    #[error("every user id from {FIRST_UID} to {} is taken", AFTER_LAST_UID - 1)]
    Full,
    /// A user id that belongs to services or agents.
    #[error("operator '{name}' has the user id {uid}; operators have {FIRST_UID} to {}", AFTER_LAST_UID - 1)]
    Uid {
        /// Whose.
        name: UnitName,
        /// The one in the list.
        uid: u32,
    },
    /// Not a hash of the fixed cost.
    #[error("operator '{0}' has no Argon2id hash of the system's cost; set the pass phrase again")]
    Hash(UnitName),
}

/// The pass phrase cannot be hashed.
#[derive(Debug, thiserror::Error)]
pub enum HashError {
    /// Empty or too long.
    #[error("a pass phrase has 1 to {PASS_PHRASE_LIMIT} bytes; this one has {0}")]
    Length(usize),
    /// There is not enough memory.
    #[error("cannot compute the hash of the pass phrase")]
    Compute(#[source] argon2::password_hash::Error),
}

/// What to keep of a pass phrase. `salt` must be fresh random bytes.
pub fn hash(pass_phrase: &str, salt: &[u8; SALT_LENGTH]) -> Result<String, HashError> {
    if pass_phrase.is_empty() || pass_phrase.len() > PASS_PHRASE_LIMIT {
        return Err(HashError::Length(pass_phrase.len()));
    }
    let hash = argon2id().hash_password_with_salt(pass_phrase.as_bytes(), salt).map_err(HashError::Compute)?;
    Ok(hash.to_string())
}

impl Operators {
    /// Reads the list.
    pub fn parse(bytes: &[u8]) -> Result<Self, OperatorsError> {
        if bytes.len() > SIZE_LIMIT {
            return Err(OperatorsError::Size);
        }
        Self::new(serde_json::from_slice(bytes).map_err(OperatorsError::Form)?)
    }

    /// A list of these people.
    pub fn new(people: Vec<Operator>) -> Result<Self, OperatorsError> {
        for (place, person) in people.iter().enumerate() {
            let before = &people[..place];
            if before.iter().any(|other| other.name == person.name || other.uid == person.uid) {
                return Err(OperatorsError::Twice(person.name.clone()));
            }
            if !(FIRST_UID..AFTER_LAST_UID).contains(&person.uid) {
                return Err(OperatorsError::Uid { name: person.name.clone(), uid: person.uid });
            }
            read_hash(&person.argon2id).ok_or_else(|| OperatorsError::Hash(person.name.clone()))?;
            if person.keys.len() > KEYS_OF_ONE {
                return Err(OperatorsError::TooManyKeys(person.name.clone()));
            }
        }
        let keys = people.iter().flat_map(|person| person.keys.iter().map(move |key| (person, key.fingerprint())));
        let keys: Vec<_> = keys.collect();
        for (place, (_, key)) in keys.iter().enumerate() {
            if let Some((owner, _)) = keys[..place].iter().find(|(_, other)| other == key) {
                return Err(OperatorsError::KeyTaken { key: *key, owner: owner.name.clone() });
            }
        }
        Ok(Self(people))
    }

    /// Everybody.
    pub fn all(&self) -> &[Operator] {
        &self.0
    }

    /// The list with one more person. User ids are never given twice while their highest is listed.
    pub fn with(&self, name: &UnitName, argon2id: String) -> Result<Self, OperatorsError> {
        if self.0.iter().any(|person| person.name == *name) {
            return Err(OperatorsError::Exists(name.clone()));
        }
        // The first number is that of a live medium's operator.
        let uid = self.0.iter().map(|person| person.uid + 1).max().unwrap_or(FIRST_UID + 1);
        if uid >= AFTER_LAST_UID {
            return Err(OperatorsError::Full);
        }
        let mut people = self.0.clone();
        people.push(Operator { name: name.clone(), uid, argon2id, changes: 0, keys: Vec::new() });
        Self::new(people)
    }

    /// The list with another pass phrase of one person.
    pub fn changed(&self, name: &UnitName, argon2id: String) -> Result<Self, OperatorsError> {
        self.with_person(name, |person| {
            person.argon2id = argon2id;
            person.changes = person.changes.saturating_add(1);
            Ok(())
        })
    }

    /// The list with one more key of a person.
    pub fn with_key(&self, name: &UnitName, key: PublicKey) -> Result<Self, OperatorsError> {
        self.with_person(name, |person| {
            person.keys.push(key);
            Ok(())
        })
    }

    /// The list without a key of a person.
    pub fn without_key(&self, name: &UnitName, key: Fingerprint) -> Result<Self, OperatorsError> {
        self.with_person(name, |person| {
            let place = person.keys.iter().position(|known| known.fingerprint() == key);
            let place = place.ok_or_else(|| OperatorsError::KeyUnknown { key, owner: name.clone() })?;
            person.keys.remove(place);
            Ok(())
        })
    }

    /// Whose key this is.
    #[must_use]
    pub fn owner_of(&self, key: Fingerprint) -> Option<(&Operator, &PublicKey)> {
        let all = self.0.iter().flat_map(|person| person.keys.iter().map(move |key| (person, key)));
        all.into_iter().find(|(_, known)| known.fingerprint() == key)
    }

    fn with_person(
        &self,
        name: &UnitName,
        change: impl FnOnce(&mut Operator) -> Result<(), OperatorsError>,
    ) -> Result<Self, OperatorsError> {
        let mut people = self.0.clone();
        let person = people.iter_mut().find(|person| person.name == *name);
        change(person.ok_or_else(|| OperatorsError::Unknown(name.clone()))?)?;
        Self::new(people)
    }

    /// The text that [`Operators::parse`] reads.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(&self.0).expect("the list has only text keys")
    }

    /// Whether somebody has this name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|operator| operator.name.as_str() == name)
    }

    /// The operator with this name and pass phrase. A name that is not listed takes as long as one that is.
    #[must_use]
    pub fn verify(&self, name: &str, pass_phrase: &str) -> Option<&Operator> {
        if pass_phrase.len() > PASS_PHRASE_LIMIT {
            return None;
        }
        let operator = self.0.iter().find(|operator| operator.name.as_str() == name);
        let Some(operator) = operator else {
            let _ = hash(pass_phrase, &[0; SALT_LENGTH]);
            return None;
        };
        let expected = read_hash(&operator.argon2id)?;
        argon2id().verify_password(pass_phrase.as_bytes(), &expected).ok().map(|()| operator)
    }
}

/// A hash of exactly the fixed cost.
fn read_hash(text: &str) -> Option<PasswordHash> {
    let hash = PasswordHash::from_str(text).ok()?;
    let cost = ParamsString::try_from(argon2id().params()).ok()?;
    let fixed = hash.algorithm == argon2::ARGON2ID_IDENT
        && hash.version == Some(Version::V0x13.into())
        && hash.params == cost
        && hash.salt.is_some()
        && hash.hash.is_some_and(|output| output.len() == 32);
    fixed.then_some(hash)
}

/// 19 MiB, two passes, one lane: the smallest cost that OWASP recommends, so that a login fits into 256 MiB machines.
fn argon2id() -> Argon2<'static> {
    let cost = Params::new(19_456, 2, 1, Some(32)).expect("these are within Argon2's limits");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, cost)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ada() -> Operator {
        Operator {
            name: "ada".parse().expect("a name"),
            uid: 1001,
            argon2id: hash("correct horse", &[7; SALT_LENGTH]).expect("hashed"),
            changes: 0,
            keys: Vec::new(),
        }
    }

    #[test]
    fn people_are_added_once_and_change_only_their_own_line() {
        let bob: UnitName = "bob".parse().expect("a name");
        let other = || hash("battery staple", &[8; SALT_LENGTH]).expect("hashed");
        let list = Operators::new(vec![ada()]).expect("a good list").with(&bob, other()).expect("room");
        assert_eq!(list.all()[1].uid, 1002);
        assert_eq!(list.verify("bob", "battery staple").map(|o| o.changes), Some(0));
        assert!(matches!(list.with(&bob, other()), Err(OperatorsError::Exists(_))));
        let list = list.changed(&ada().name, other()).expect("listed");
        assert_eq!(list.verify("ada", "correct horse"), None);
        assert_eq!(list.verify("ada", "battery staple").map(|o| (o.uid, o.changes)), Some((1001, 1)));
        assert!(matches!(list.changed(&"eve".parse().expect("a name"), other()), Err(OperatorsError::Unknown(_))));
        let full = Operators::new(vec![Operator { uid: 1999, ..ada() }]).expect("a good list");
        assert!(matches!(full.with(&bob, other()), Err(OperatorsError::Full)));
        assert!(list.with(&"eve".parse().expect("a name"), "weak".into()).is_err());
        // A list from before changes were counted reads on.
        let old = list.to_json().replace(",\n    \"changes\": 1", "").replace(",\n    \"changes\": 0", "");
        assert!(!old.contains("changes") && Operators::parse(old.as_bytes()).is_ok());
    }

    #[test]
    fn only_the_right_name_with_the_right_pass_phrase_is_let_in() {
        let text = Operators::new(vec![ada()]).expect("a good list").to_json();
        let operators = Operators::parse(text.as_bytes()).expect("reads back");
        assert_eq!(operators.verify("ada", "correct horse").map(|o| o.uid), Some(1001));
        for (name, pass_phrase) in
            [("ada", "correct hors"), ("ada", ""), ("ada ", "correct horse"), ("eve", "correct horse"), ("", "")]
        {
            assert_eq!(operators.verify(name, pass_phrase), None, "{name:?} {pass_phrase:?}");
        }
        assert_eq!(operators.verify("ada", &"x".repeat(PASS_PHRASE_LIMIT + 1)), None);
    }

    #[test]
    fn the_same_pass_phrase_with_another_salt_has_another_hash() {
        let other = hash("correct horse", &[8; SALT_LENGTH]).expect("hashed");
        assert_ne!(ada().argon2id, other);
        assert!(other.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{other}");
        assert!(matches!(hash("", &[0; SALT_LENGTH]), Err(HashError::Length(0))));
    }

    #[test]
    fn a_list_that_would_weaken_the_login_is_refused() {
        let with = |change: &dyn Fn(&mut Operator)| {
            let mut operator = ada();
            change(&mut operator);
            Operators::new(vec![operator])
        };
        assert!(with(&|_| ()).is_ok());
        assert!(matches!(with(&|o| o.argon2id = String::new()), Err(OperatorsError::Hash(_))));
        assert!(matches!(with(&|o| o.argon2id = o.argon2id.replace("m=19456", "m=8")), Err(OperatorsError::Hash(_))));
        assert!(matches!(with(&|o| o.argon2id = o.argon2id.replace("2id", "2i")), Err(OperatorsError::Hash(_))));
        assert!(matches!(with(&|o| o.uid = 0), Err(OperatorsError::Uid { uid: 0, .. })));
        assert!(matches!(with(&|o| o.uid = 2000), Err(OperatorsError::Uid { .. })));
        assert!(matches!(Operators::new(vec![ada(), ada()]), Err(OperatorsError::Twice(_))));
        assert!(Operators::parse(br#"[{"name":"ada","uid":1001,"argon2id":"","admin":true}]"#).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Operators::parse(&bytes);
        }
    }
}
