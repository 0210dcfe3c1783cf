//! Checking a person's pass phrase. One at a time, and each failure takes two seconds: guessing is slow, and ten logins
//! at once do not take ten times the memory of one hash.

use std::path::PathBuf;
use std::time::Duration;

use aios_policy::operators::{Operators, OperatorsError};
use tokio::sync::Mutex;

/// What a wrong guess costs at least.
const AFTER_A_FAILURE: Duration = Duration::from_secs(2);

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
        source: std::io::Error,
    },
    #[error("cannot use {path}")]
    List {
        path: String,
        #[source]
        source: OperatorsError,
    },
    #[error("the check of the pass phrase was broken off")]
    BrokenOff,
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

    async fn check_now(&self, name: String, pass_phrase: String) -> Result<(), LoginError> {
        let operators = self.read()?;
        // The hash takes tens of milliseconds, which decisions should not wait for.
        let checked = tokio::task::spawn_blocking(move || operators.verify(&name, &pass_phrase).is_some()).await;
        if checked.map_err(|_| LoginError::BrokenOff)? { Ok(()) } else { Err(LoginError::Wrong) }
    }
}
