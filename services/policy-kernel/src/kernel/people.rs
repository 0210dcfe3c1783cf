//! Who can log in, and with what. A pass phrase never goes through an action: it is offered here beforehand, of which only
//! its hash is left, and the action names the person.

use aios_identity::Peer;
use aios_ids::{ActionId, UnitName};
use aios_policy::operators::{Operator, OperatorsError};
use aios_wire::policy::{OperatorView, People};
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
        let approval = self.used_approval(&action, action_type, "name", name)?;
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
