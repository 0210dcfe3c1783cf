//! Who can log in: checking a person's pass phrase, and keeping the list with everybody's keys. One check or hash at a time, and each failure
//! takes two seconds: guessing is slow, and ten logins at once do not take ten times the memory of one hash.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use aios_ids::UnitName;
use aios_policy::keys::{Fingerprint, PublicKey};
use aios_policy::operators::{self, HashError, Operators, OperatorsError, SALT_LENGTH};
use aios_store::{ReplaceError, replace};
use tokio::sync::Mutex;

/// What a wrong guess costs at least.
const AFTER_A_FAILURE: Duration = Duration::from_secs(2);

/// The list is for the policy kernel alone.
const MODE: u32 = 0o600;

/// The list of operators and the turn at it.
pub(crate) struct Login {
    list: PathBuf,
    turn: Mutex<()>,
}

/// The person is not known to be who they say.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoginError {
    /// Deliberately not more exact: a guesser learns nothing about names.
    #[error("the name or the pass phrase is wrong; try again")]
    Wrong,
    #[error("cannot read {path}, so nobody can log in; start the recovery image to look at the data")]
    Read {
        path: String,
        #[source]
        source: io::Error,
    },
    #[error("cannot use {path}")]
    List {
        path: String,
        #[source]
        source: OperatorsError,
    },
    #[error("the check of the pass phrase was broken off")]
    BrokenOff,
    #[error("the pass phrase cannot be taken")]
    Hash(#[from] HashError),
    #[error("the kernel gave no random numbers")]
    Random(#[from] getrandom::Error),
    #[error(transparent)]
    Change(OperatorsError),
    #[error("the list of operators was not changed")]
    Write(#[from] ReplaceError),
}

impl Login {
    pub(crate) fn new(list: PathBuf) -> Self {
        Self { list, turn: Mutex::new(()) }
    }

    /// Whether somebody of this name may log in at all. A list that cannot be read knows nobody.
    pub(crate) fn knows(&self, name: &str) -> bool {
        self.read().is_ok_and(|operators| operators.has(name))
    }

    /// The list. Read each time: it changes rarely, and what is read is what counts now.
    fn read(&self) -> Result<Operators, LoginError> {
        let path = self.list.display().to_string();
        let bytes = std::fs::read(&self.list).map_err(|source| LoginError::Read { path: path.clone(), source })?;
        Operators::parse(&bytes).map_err(|source| LoginError::List { path, source })
    }

    /// Checks a name and a pass phrase.
    pub(crate) async fn check(&self, name: &str, pass_phrase: &str) -> Result<(), LoginError> {
        let _turn = self.turn.lock().await;
        let result = self.check_now(name.to_owned(), pass_phrase.to_owned()).await;
        if result.is_err() {
            tokio::time::sleep(AFTER_A_FAILURE).await;
        }
        result
    }

    /// What to keep of a new pass phrase.
    pub(crate) async fn hash(&self, pass_phrase: &str) -> Result<String, LoginError> {
        let _turn = self.turn.lock().await;
        let mut salt = [0; SALT_LENGTH];
        getrandom::fill(&mut salt)?;
        let pass_phrase = pass_phrase.to_owned();
        let hashed = tokio::task::spawn_blocking(move || operators::hash(&pass_phrase, &salt)).await;
        Ok(hashed.map_err(|_| LoginError::BrokenOff)??)
    }

    /// Everybody who can log in. A live medium has no list, and nobody has to log in there.
    pub(crate) fn people(&self) -> Result<Operators, LoginError> {
        match self.read() {
            Err(LoginError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Ok(Operators::default())
            }
            list => list,
        }
    }

    /// The list with one more person, not kept yet.
    pub(crate) fn with(&self, name: &UnitName, argon2id: &str) -> Result<Operators, LoginError> {
        self.people()?.with(name, argon2id.to_owned()).map_err(LoginError::Change)
    }

    /// The list with another pass phrase of one person, not kept yet.
    pub(crate) fn changed(&self, name: &UnitName, argon2id: &str) -> Result<Operators, LoginError> {
        self.people()?.changed(name, argon2id.to_owned()).map_err(LoginError::Change)
    }

    /// The list with one more key of a person, not kept yet.
    pub(crate) fn with_key(&self, name: &UnitName, key: PublicKey) -> Result<Operators, LoginError> {
        self.people()?.with_key(name, key).map_err(LoginError::Change)
    }

    /// The list without a key of a person, not kept yet.
    pub(crate) fn without_key(&self, name: &UnitName, key: Fingerprint) -> Result<Operators, LoginError> {
        self.people()?.without_key(name, key).map_err(LoginError::Change)
    }

    /// Makes a list the one that counts, durably, whole or not at all.
    pub(crate) fn keep(&self, list: &Operators) -> Result<(), LoginError> {
        Ok(replace(&self.list, list.to_json().as_bytes(), MODE)?)
    }

    async fn check_now(&self, name: String, pass_phrase: String) -> Result<(), LoginError> {
        let operators = self.read()?;
        // The hash takes tens of milliseconds, which decisions should not wait for.
        let checked = tokio::task::spawn_blocking(move || operators.verify(&name, &pass_phrase).is_some()).await;
        if checked.map_err(|_| LoginError::BrokenOff)? { Ok(()) } else { Err(LoginError::Wrong) }
    }
}
