//! One request to another machine, from the question whether it may be made to what is left of the answer.
//!
//! Each hop is judged anew: whether the list has it, whether the secret may go there, what its name stands for. The address
//! that was judged is the one that is connected to; a name is not looked up twice.

use std::io::{self, Read as _, Write as _};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aios_fetch::{
    AddressRefused, AllowList, Ask, BodyError, Head, HeadError, Method, NotAllowed, Origin, Progress, Proxy, Redactor,
    Root, Url, UrlError, check_address, write_head,
};
use zeroize::Zeroizing;

use crate::connection::{ConnectError, Connection};
use crate::sealed::Secret;

/// What is fetched is at most so long.
pub const CONTENT_LIMIT: usize = 8 << 20;

/// From the first name that is looked up to the last byte.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// So many redirections are followed.
const REDIRECTIONS: usize = 5;

/// So many answers that are none yet are passed over.
const INTERIM: usize = 8;

/// What the operators set.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// Whom may be asked.
    pub allow: AllowList,
    /// Whom TLS believes.
    pub roots: Vec<Root>,
    /// The way to the open network where there is no direct one.
    pub proxy: Option<Proxy>,
}

/// What is wanted of whom.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// With which method.
    pub method: Method,
    /// Of whom.
    pub url: Url,
    /// What is handed over, with its media type.
    pub body: Option<(String, Vec<u8>)>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The address that answered in the end.
    pub url: String,
    /// Its status, which says that it did what was asked.
    pub status: u16,
    /// The content without the secret; for `HEAD` the head.
    pub content: Vec<u8>,
    /// In how many places the secret was taken out.
    pub redacted: usize,
}

/// Nothing came of it.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Not on the list.
    #[error(transparent)]
    NotAllowed(#[from] NotAllowed),
    /// The secret does not go there.
    #[error("the secret '{name}' is not for {origin}; 'aios secret list' shows whom it is for. It was not sent there")]
    NotBound {
        /// Which.
        name: String,
        /// Where.
        origin: Origin,
    },
    /// Its name stands for an address that is nobody's business.
    #[error(transparent)]
    Address(#[from] AddressRefused),
    /// Its name stands for nothing.
    #[error("{0}")]
    Unresolved(String),
    /// The use of the secret cannot be recorded.
    #[error("{0}")]
    Unrecorded(String),
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The connection broke.
    #[error("the exchange with {origin} broke off")]
    Exchange {
        /// With whom.
        origin: Origin,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The answer is not understood.
    #[error("the answer of {origin} is refused")]
    Head {
        /// Whose.
        origin: Origin,
        /// Why.
        #[source]
        source: HeadError,
    },
    /// The content is not taken.
    #[error("the answer of {origin} is refused; at most {CONTENT_LIMIT} bytes are fetched")]
    Body {
        /// Whose.
        origin: Origin,
        /// Why.
        #[source]
        source: BodyError,
    },
    /// It says no.
    #[error("{origin} answered with status {status}; nothing was kept")]
    Status {
        /// Who.
        origin: Origin,
        /// What.
        status: u16,
    },
    /// It points elsewhere, to something that is no address.
    #[error("{origin} points to an address that cannot be asked")]
    Location {
        /// Who.
        origin: Origin,
        /// Why.
        #[source]
        source: UrlError,
    },
    /// It points elsewhere again and again.
    #[error("more than {REDIRECTIONS} hosts pointed on to the next")]
    Circles,
    /// It points elsewhere, and what was handed over stays here.
    #[error("{0} points elsewhere; a POST is not made a second time")]
    PostElsewhere(Origin),
    /// The thread is gone.
    #[error("the request was given up")]
    Lost,
}

/// Whether `origin` may be asked, and with the secret, before anything else happens.
pub fn check(wanted: &Wanted, rules: &Rules, secret: Option<&Secret>) -> Result<(), FetchError> {
    let origin = wanted.url.origin();
    rules.allow.check(wanted.method, origin)?;
    match secret {
        Some(secret) if !secret.about.binding.covers(origin) => {
            Err(FetchError::NotBound { name: secret.name.to_string(), origin: origin.clone() })
        }
        _ => Ok(()),
    }
}

/// Asks, following redirections within the rules, and gives up at `until`. `resolve` finds the address of a name;
/// `about_to_send` is told before a secret goes to a host, and stops it by failing.
pub async fn fetch<Resolving, Telling>(
    mut wanted: Wanted,
    rules: &Rules,
    secret: Option<Arc<Secret>>,
    until: Instant,
    resolve: impl Fn(String) -> Resolving,
    about_to_send: impl Fn(Origin) -> Telling,
) -> Result<Answer, FetchError>
where
    Resolving: Future<Output = Result<IpAddr, String>>,
    Telling: Future<Output = Result<(), String>>,
{
    for _ in 0..=REDIRECTIONS {
        check(&wanted, rules, secret.as_deref())?;
        let origin = wanted.url.origin().clone();
        let address = match origin.address() {
            Some(address) => address,
            None => resolve(origin.host().to_owned()).await.map_err(FetchError::Unresolved)?,
        };
        check_address(&origin, address)?;
        if secret.is_some() {
            about_to_send(origin.clone()).await.map_err(FetchError::Unrecorded)?;
        }
        let (hop, rules, sent) = (wanted.clone(), rules.clone(), secret.clone());
        let exchanged = tokio::task::spawn_blocking(move || exchange(&hop, address, &rules, sent.as_deref(), until));
        let (head, content) = exchanged.await.map_err(|_| FetchError::Lost)??;
        match (head.status(), head.location()) {
            (200..=299, _) => return Ok(answer(&wanted, &head, content, secret.as_deref())),
            (301 | 302 | 303 | 307 | 308, Some(_)) if wanted.method == Method::Post => {
                return Err(FetchError::PostElsewhere(origin));
            }
            (301 | 302 | 303 | 307 | 308, Some(location)) => {
                let followed = wanted.url.follow(location);
                wanted.url = followed.map_err(|source| FetchError::Location { origin, source })?;
            }
            (status, _) => return Err(FetchError::Status { origin, status }),
        }
    }
    Err(FetchError::Circles)
}

fn answer(wanted: &Wanted, head: &Head, content: Vec<u8>, secret: Option<&Secret>) -> Answer {
    let content = if wanted.method == Method::Head { head.text().into_bytes() } else { content };
    let (url, status) = (wanted.url.to_string(), head.status());
    match secret {
        Some(secret) => {
            let redactor = Redactor::of(&secret.value);
            let (content, redacted) = redactor.redact(&content);
            Answer { url: redactor.redact_text(&url), status, content, redacted }
        }
        None => Answer { url, status, content, redacted: 0 },
    }
}

/// An error's text, without the secret that a server may have put into it.
pub fn told(error: &FetchError, secret: Option<&Secret>) -> String {
    let text = aios_daemon::error_chain(error);
    secret.map_or(text.clone(), |secret| Redactor::of(&secret.value).redact_text(&text))
}

fn exchange(
    wanted: &Wanted,
    address: IpAddr,
    rules: &Rules,
    secret: Option<&Secret>,
    until: Instant,
) -> Result<(Head, Vec<u8>), FetchError> {
    let origin = wanted.url.origin();
    let broke = |source| FetchError::Exchange { origin: origin.clone(), source };
    let mut connection = Connection::open(origin, address, rules.proxy, &rules.roots, until)?;
    let body = wanted.body.as_ref().map(|(media_type, content)| (media_type.as_str(), content.as_slice()));
    let credential = secret.map(|secret| (&secret.about.binding.header, &secret.value));
    // Long enough that it is never moved: memory that was moved out of is not overwritten.
    let mut head = Zeroizing::new(Vec::with_capacity(16 * 1024));
    write_head(&Ask { method: wanted.method, url: &wanted.url, body, credential }, &mut head);
    connection.write_all(&head).map_err(broke)?;
    if let Some((_, content)) = body {
        connection.write_all(content).map_err(broke)?;
    }
    connection.flush().map_err(broke)?;
    read_answer(&mut connection, wanted.method, origin)
}

fn read_answer(connection: &mut Connection, method: Method, origin: &Origin) -> Result<(Head, Vec<u8>), FetchError> {
    let broke = |source| FetchError::Exchange { origin: origin.clone(), source };
    let refused = |source| FetchError::Head { origin: origin.clone(), source };
    let not_taken = |source| FetchError::Body { origin: origin.clone(), source };
    let (mut came, mut part) = (Vec::new(), vec![0; 16 * 1024]);
    let mut passed_over = 0;
    let head = loop {
        if let Some(end) = Head::end(&came).map_err(refused)? {
            let head = Head::parse(&came[..end]).map_err(refused)?;
            came.drain(..end);
            if head.status() >= 200 {
                break head;
            }
            passed_over += 1;
            if passed_over > INTERIM || head.status() == 101 {
                return Err(refused(HeadError::Form));
            }
            continue;
        }
        match connection.read(&mut part).map_err(broke)? {
            0 => return Err(refused(HeadError::Form)),
            count => came.extend(&part[..count]),
        }
    };
    let mut content = Vec::new();
    // What comes with a redirection or a refusal is left aside.
    if !(200..300).contains(&head.status()) {
        return Ok((head, content));
    }
    let mut body = head.body(method, CONTENT_LIMIT).map_err(refused)?;
    let mut progress = body.take(&came, &mut content).map_err(not_taken)?;
    while progress == Progress::More {
        match connection.read(&mut part).map_err(broke)? {
            0 => break,
            count => progress = body.take(&part[..count], &mut content).map_err(not_taken)?,
        }
    }
    body.end().map_err(not_taken)?;
    Ok((head, content))
}
