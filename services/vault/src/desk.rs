//! What is done for a caller who may ask: secrets are put, removed, listed and used.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use aios_daemon::error_chain;
use aios_fetch::{Binding, BindingError, Origin, SecretError, Url, UrlError};
use aios_ids::{ActionId, Digest, IdError, UnitName};
use aios_wire::vault::{FetchAsk, Fetched, SecretState, SecretView};
use serde_json::json;
use vault::broker::{self, FetchError, PATIENCE, Wanted};
use vault::sealed::{About, Sealed, SealedError, Secret};

use crate::offers::Offers;
use crate::peers::{self, PeerError};

/// Something was done with a secret: put, removed, sent.
const SECRET: &str = "secret";

/// A use that leaves no trace does not happen.
const NOT_RECORDED: &str = "the secret was not sent, because its use cannot be recorded";

/// What came of the newest actions is told to the verifier, which asks at once.
const REMEMBERED: usize = 64;

/// It was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeskError {
    #[error("the value was not taken")]
    Value(#[from] SecretError),
    #[error("the secret was not put")]
    Binding(#[from] BindingError),
    #[error(
        "no value was handed over for this action, or it was too long ago; 'aios secret add' hands one over and asks for \
         the action"
    )]
    NotOffered,
    #[error("a name or an id has another form")]
    Id(#[from] IdError),
    #[error("the url cannot be asked")]
    Url(#[from] UrlError),
    #[error("the request has another form: {0}")]
    Ask(String),
    #[error(transparent)]
    Sealed(#[from] SealedError),
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// Its text is free of the secret.
    #[error("{0}")]
    Fetch(String),
    #[error("the vault has fetched nothing for {0} since it started")]
    Unknown(ActionId),
    #[error("the kernel gave no random bytes")]
    Random(#[from] getrandom::Error),
}

/// The secrets, what was handed over, and what was fetched.
pub(crate) struct Desk {
    sealed: Sealed,
    offers: Offers,
    /// One change at a time: two that count or make the key would not see each other.
    changing: tokio::sync::Mutex<()>,
    fetched: Mutex<VecDeque<(ActionId, Fetched)>>,
}

impl Desk {
    pub(crate) fn new(sealed: Sealed) -> Self {
        Self { sealed, offers: Offers::default(), changing: tokio::sync::Mutex::default(), fetched: Mutex::default() }
    }

    /// Tells PID 1 what is kept and what cannot be used, so that a person sees it without asking the vault.
    pub(crate) fn tell(&self) {
        let sentence = match self.list() {
            Ok(secrets) => format!("{}; {}", summary(&secrets), self.sealed.about_key()),
            Err(error) => error_chain(&error),
        };
        // A sentence that does not arrive changes nothing.
        let _ = aios_daemon::status(&sentence);
    }

    /// Keeps a value for an action that names it by what this answers.
    pub(crate) fn offer(&self, value: &str) -> Result<Digest, DeskError> {
        Ok(self.offers.add(value.parse()?)?)
    }

    /// Seals the value that was handed over. The record comes first: a secret that is kept was recorded.
    pub(crate) async fn put(
        &self,
        name: &str,
        hosts: &[String],
        header: &str,
        offer: &str,
        action: &str,
    ) -> Result<SecretView, DeskError> {
        let (name, action): (UnitName, ActionId) = (name.parse()?, action.parse()?);
        let header = Some(header).filter(|header| !header.is_empty());
        let binding = Binding::from_words(hosts.iter().map(String::as_str), header)?;
        let value = self.offers.take(&offer.parse()?).ok_or(DeskError::NotOffered)?;
        let _one_at_a_time = self.changing.lock().await;
        let payload = json!({"what": "put", "name": name, "hosts": binding.hosts, "header": binding.header});
        peers::record(SECRET, Some(&action), &payload).await?;
        let about = About { binding, action };
        self.sealed.put(&Secret { name: name.clone(), value, about: about.clone() })?;
        self.tell();
        Ok(view(name, Ok(about)))
    }

    /// Forgets a secret.
    pub(crate) async fn remove(&self, name: &str, action: &str) -> Result<(), DeskError> {
        let (name, action): (UnitName, ActionId) = (name.parse()?, action.parse()?);
        let _one_at_a_time = self.changing.lock().await;
        self.sealed.remove(&name)?;
        self.tell();
        Ok(peers::record(SECRET, Some(&action), &json!({"what": "removed", "name": name})).await?)
    }

    /// Every secret, without its value.
    pub(crate) fn list(&self) -> Result<Vec<SecretView>, DeskError> {
        Ok(self.sealed.list()?.into_iter().map(|(name, about)| view(name, about)).collect())
    }

    /// Asks another machine and keeps the answer as an object.
    pub(crate) async fn fetch(&self, ask: &FetchAsk, action: &str) -> Result<Fetched, DeskError> {
        let action: ActionId = action.parse()?;
        let wanted = wanted(ask)?;
        let rules = peers::rules().await?;
        let secret = match &ask.secret {
            Some(name) => Some(Arc::new(self.sealed.get(&name.parse()?)?)),
            None => None,
        };
        let method = wanted.method;
        let about_to_send = |origin: Origin| {
            let payload = json!({"what": "used", "name": ask.secret, "hosts": [origin], "method": method});
            let action = action.clone();
            async move {
                let recorded = peers::record(SECRET, Some(&action), &payload).await;
                recorded.map_err(|error| format!("{NOT_RECORDED}: {}", error_chain(&error)))
            }
        };
        let fetched =
            broker::fetch(wanted, &rules, secret.clone(), Instant::now() + PATIENCE, peers::resolve, about_to_send)
                .await;
        let answer = match fetched {
            Ok(answer) => answer,
            Err(error) => {
                let text = broker::told(&error, secret.as_deref());
                if matches!(error, FetchError::NotBound { .. }) {
                    peers::record(SECRET, Some(&action), &json!({"what": "refused", "name": ask.secret, "text": text}))
                        .await?;
                }
                return Err(DeskError::Fetch(text));
            }
        };
        let kept = peers::keep(&ask.object, &answer.content).await?;
        let fetched = Fetched {
            url: answer.url,
            status: answer.status,
            object: kept.name,
            version: kept.version,
            sha256: Digest::of(&answer.content),
            size: answer.content.len() as u64,
            redacted: answer.redacted as u64,
        };
        let mut remembered = self.fetched.lock().unwrap_or_else(PoisonError::into_inner);
        remembered.push_back((action, fetched.clone()));
        if remembered.len() > REMEMBERED {
            remembered.pop_front();
        }
        Ok(fetched)
    }

    /// What came of an action.
    pub(crate) fn fetched(&self, action: &str) -> Result<Fetched, DeskError> {
        let action: ActionId = action.parse()?;
        let remembered = self.fetched.lock().unwrap_or_else(PoisonError::into_inner);
        let found = remembered.iter().find(|(known, _)| *known == action).map(|(_, fetched)| fetched.clone());
        found.ok_or(DeskError::Unknown(action))
    }
}

fn view(name: UnitName, about: Result<About, SealedError>) -> SecretView {
    let state = match about {
        Ok(About { binding, action }) => SecretState::Kept {
            hosts: binding.hosts.iter().map(Origin::to_string).collect(),
            header: binding.header.to_string(),
            action: action.to_string(),
        },
        Err(error) => SecretState::Damaged { why: error_chain(&error) },
    };
    SecretView { name: name.to_string(), state }
}

fn summary(secrets: &[SecretView]) -> String {
    let damaged = secrets.iter().filter(|secret| matches!(secret.state, SecretState::Damaged { .. }));
    let damaged: Vec<&str> = damaged.map(|secret| secret.name.as_str()).collect();
    let count = format!("{} secrets", secrets.len());
    if damaged.is_empty() { count } else { format!("{count}; these cannot be used: {}", damaged.join(", ")) }
}

fn wanted(ask: &FetchAsk) -> Result<Wanted, DeskError> {
    let url: Url = ask.url.parse()?;
    let method = ask.method.parse().map_err(|_| DeskError::Ask("the method is GET, HEAD or POST".into()))?;
    let body = ask.body.as_ref().map(|(media_type, content)| (media_type.clone(), content.clone().into_bytes()));
    if body.is_some() && method != aios_fetch::Method::Post {
        return Err(DeskError::Ask("only a POST hands something over".into()));
    }
    Ok(Wanted { method, url, body })
}

#[cfg(test)]
mod tests {
    use vault::key::Keeper;

    use super::*;

    fn ask(method: &str, body: Option<&str>) -> FetchAsk {
        FetchAsk {
            url: "http://10.0.2.2:8080/x".into(),
            method: method.into(),
            body: body.map(|content| ("text/plain".to_owned(), content.to_owned())),
            secret: None,
            object: "web/x".into(),
        }
    }

    #[test]
    fn only_a_post_hands_something_over() {
        assert!(wanted(&ask("POST", Some("hello"))).is_ok() && wanted(&ask("POST", None)).is_ok());
        assert!(wanted(&ask("GET", None)).is_ok() && wanted(&ask("GET", Some("hello"))).is_err());
        assert!(wanted(&ask("DELETE", None)).is_err());
        assert!(wanted(&FetchAsk { url: "file:///etc".into(), ..ask("GET", None) }).is_err());
    }

    #[tokio::test]
    async fn an_action_without_a_value_puts_nothing_and_a_damaged_one_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let desk = Desk::new(Sealed::open(folder.path(), Keeper::none("no TPM")).expect("opens"));
        let action = ActionId::new(1, [1; 10]);
        let hosts = ["api.example".to_owned()];
        let put = desk.put("push", &hosts, "", &Digest::of(b"guessed").to_string(), action.as_str()).await;
        assert!(matches!(put, Err(DeskError::NotOffered)));
        assert!(matches!(desk.offer("short"), Err(DeskError::Value(_))));
        assert_eq!(desk.list().expect("a list"), []);
        std::fs::write(folder.path().join("bad.sealed"), "cut").expect("a file");
        assert_eq!(summary(&desk.list().expect("a list")), "1 secrets; these cannot be used: bad");
        assert!(matches!(desk.fetched(action.as_str()), Err(DeskError::Unknown(_))));
    }
}
