//! Who can log in, and with what; whose signatures are whose. A pass phrase never goes through an action: it is offered here beforehand, of which only
//! its hash is left, and the action names the person.

use aios_identity::Peer;
use aios_ids::{ActionId, UnitName};
use aios_policy::keys::{Fingerprint, PublicKey};
use aios_policy::operators::{Operator, Operators, OperatorsError};
use aios_wire::init::Request;
use aios_wire::policy::{Approval, KeyView, OperatorView, People};
use serde_json::json;

use super::{Kernel, KernelError, Result};
use crate::login::LoginError;

/// The kind of record that says what became of an operator.
const CHANGED: &str = "operator";

impl Kernel {
    /// Who can log in, and who asks.
    pub(crate) fn people(&self, you: &Peer) -> Result<People> {
        let listed = self.login.people()?;
        let view = |person: &Operator| OperatorView {
            name: person.name.to_string(),
            uid: person.uid,
            changes: person.changes,
            keys: person.keys.iter().map(key_view).collect(),
        };
        Ok(People { you: you.clone(), operators: listed.all().iter().map(view).collect() })
    }

    /// Keeps the hash of a pass phrase for an action that this person asks for next.
    pub(crate) async fn offer_pass_phrase(&self, by: &Peer, name: &str, pass_phrase: &str) -> Result<()> {
        let name: UnitName = name.parse()?;
        let argon2id = self.login.hash(pass_phrase).await?;
        self.offers.add_pass_phrase(by.to_string(), name, argon2id);
        Ok(())
    }

    /// Checks a pass phrase, records the result, and has PID 1 start the session. While the log is read-only by its own word
    /// nothing can be done in a session but look, and somebody has to: then, and only then, there is no record of it.
    pub(crate) async fn log_in(&self, name: &str, pass_phrase: &str, terminal: &str) -> Result<()> {
        check_terminal(terminal)?;
        // What is not the name of an operator is often a pass phrase typed in the wrong place: it must not be recorded.
        let operator = self.login.knows(name).then_some(name);
        let result = self.login.check(name, pass_phrase).await;
        let said = if result.is_ok() { "accepted" } else { "refused" };
        let payload = json!({"operator": operator, "for": "session", "terminal": terminal, "result": said});
        if let Err(refused) = self.evidence.append("login", "", &payload).await {
            let Some(why) = self.evidence.read_only().await else { return Err(refused.into()) };
            eprintln!("a login of {} on {terminal} was {said} without a record: {why}", operator.unwrap_or("nobody"));
        }
        result.map_err(KernelError::Login)?;
        let request = Request::OpenSession { operator: name.to_owned(), terminal: terminal.to_owned() };
        aios_daemon::init::ask(&request)?;
        Ok(())
    }

    /// What is shown to who has to say yes, or why it cannot be done.
    pub(super) fn what_a_person_gets(&self, action_type: &str, name: &str, by: &Peer) -> Result<Vec<String>> {
        let name: UnitName = name.parse()?;
        if !self.offers.has_pass_phrase(&by.to_string(), &name) {
            let text = format!("{by} offered no pass phrase for '{name}'; 'aios user' asks for it");
            return Err(KernelError::NotOffered(text));
        }
        let listed = self.login.people()?.all().iter().any(|person| person.name == name);
        let not_so = |error: OperatorsError| Err(KernelError::People(LoginError::Change(error)));
        match (action_type, listed) {
            ("user.add", true) => not_so(OperatorsError::Exists(name)),
            ("user.add", false) => {
                Ok(vec![format!("'{name}' can log in from then on, and do all that operators may, this included")])
            }
            (_, false) => not_so(OperatorsError::Unknown(name)),
            (_, true) => Ok(vec![format!("the old pass phrase of '{name}' is worth nothing from then on")]),
        }
    }

    /// What is shown to who has to say yes to a key, or why it cannot be taken.
    pub(super) fn what_a_key_gives(&self, name: &str, key: &str) -> Result<Vec<String>> {
        let (name, key): (UnitName, PublicKey) = (name.parse()?, key.parse()?);
        self.login.with_key(&name, key.clone())?;
        let told = format!(
            "whoever holds the private key of {} ({}, '{}') can say yes in the name of '{name}' from then on",
            key.fingerprint(),
            key.algorithm(),
            key.comment()
        );
        Ok(vec![told])
    }

    /// The same for a key that is taken away.
    pub(super) fn what_a_key_leaves(&self, name: &str, key: &str) -> Result<Vec<String>> {
        let (name, key): (UnitName, Fingerprint) = (name.parse()?, key.parse()?);
        self.login.without_key(&name, key)?;
        Ok(vec![format!("what {key} signs is not an answer of '{name}' from then on; what was answered stands")])
    }

    /// Takes what a key signs as a person's answer, for an action that was approved.
    pub(crate) async fn add_key(&self, name: &str, key: &str, action: &str) -> Result<()> {
        self.settle().await;
        let _turn = self.turn.write().await;
        let action: ActionId = action.parse()?;
        let approval = self.used_approval(&action, "user.key.add", &[("name", name), ("key", key)])?;
        let (name, key): (UnitName, PublicKey) = (name.parse()?, key.parse()?);
        let list = self.login.with_key(&name, key.clone())?;
        self.keep_keys(&approval, &list, &name, "key-added", key.fingerprint()).await
    }

    /// Takes a key from a person, for an action that was approved.
    pub(crate) async fn remove_key(&self, name: &str, key: &str, action: &str) -> Result<()> {
        self.settle().await;
        let _turn = self.turn.write().await;
        let action: ActionId = action.parse()?;
        let approval = self.used_approval(&action, "user.key.remove", &[("name", name), ("fingerprint", key)])?;
        let (name, key): (UnitName, Fingerprint) = (name.parse()?, key.parse()?);
        let list = self.login.without_key(&name, key)?;
        self.keep_keys(&approval, &list, &name, "key-removed", key).await
    }

    /// Recorded, then made, like a change of who can log in.
    async fn keep_keys(
        &self,
        approval: &Approval,
        list: &Operators,
        name: &UnitName,
        what: &str,
        key: Fingerprint,
    ) -> Result<()> {
        let (by, id, key) = (&approval.subject, &approval.id, key.to_string());
        let payload = json!({"name": name, "what": what, "by": by, "approval": id, "key": key});
        self.evidence.append(CHANGED, approval.action.as_str(), &payload).await?;
        Ok(self.login.keep(list)?)
    }

    /// Lets one more person log in, for an action that was approved.
    pub(crate) async fn add_operator(&self, name: &str, action: &str) -> Result<()> {
        self.change_people("user.add", name, action).await
    }

    /// Changes a pass phrase, for an action that was approved.
    pub(crate) async fn change_pass_phrase(&self, name: &str, action: &str) -> Result<()> {
        self.change_people("user.passphrase", name, action).await
    }

    /// Recorded, then made: a crash between the two leaves the list as it was, and the verifier says so.
    async fn change_people(&self, action_type: &str, name: &str, action: &str) -> Result<()> {
        self.settle().await;
        let _turn = self.turn.write().await;
        let action: ActionId = action.parse()?;
        let approval = self.used_approval(&action, action_type, &[("name", name)])?;
        let name: UnitName = name.parse()?;
        let by = approval.subject.to_string();
        let argon2id = self.offers.take_pass_phrase(&by, &name).ok_or_else(|| {
            KernelError::NotOffered(format!("the pass phrase that {by} offered for '{name}' is not there any more"))
        })?;
        let (list, what) = match action_type {
            "user.add" => (self.login.with(&name, &argon2id)?, "added"),
            _ => (self.login.changed(&name, &argon2id)?, "pass-phrase"),
        };
        let uid = list.all().iter().find(|person| person.name == name).map(|person| person.uid);
        let payload = json!({"name": name, "what": what, "uid": uid, "by": approval.subject, "approval": approval.id});
        self.evidence.append(CHANGED, action.as_str(), &payload).await?;
        Ok(self.login.keep(&list)?)
    }
}

fn key_view(key: &PublicKey) -> KeyView {
    KeyView { fingerprint: key.fingerprint().to_string(), line: key.to_string() }
}

fn check_terminal(terminal: &str) -> Result<()> {
    let good = (1..=15).contains(&terminal.len()) && terminal.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if good {
        return Ok(());
    }
    let why = "it must be the name of a terminal device, such as ttyS0".into();
    Err(KernelError::Input { what: "the terminal", why })
}
