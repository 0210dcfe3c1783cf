//! A connection to a service that is kept from one question to the next.
//!
//! Greeting a service costs more than most questions do: it finds out who calls before it answers anything. A line is
//! made when it is first needed, and again after it was lost. A service that goes away when nobody has a connection to it
//! is not for a line: it would never go.

use std::time::Duration;

use tokio::sync::Mutex;
use zbus::fdo;
use zbus::proxy::{Defaults, ProxyImpl};

/// A kept connection, as the proxy of what the service offers. Questions share it: nobody waits for the answer to another
/// one's.
#[derive(Debug)]
pub struct Line<P> {
    service: &'static str,
    kept: Mutex<Kept<P>>,
}

/// The connection that is in use, and how many were lost before it.
#[derive(Debug)]
struct Kept<P> {
    proxy: Option<P>,
    lost: u64,
}

/// There is no answer.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// The service said no, or cannot be reached.
    #[error(transparent)]
    Call(zbus::Error),
    /// It did not answer in time. Whether it did what was asked is unknown.
    #[error("it did not answer in time")]
    Late,
}

impl LineError {
    /// Whether the service itself answered.
    pub fn is_answer(&self) -> bool {
        matches!(self, Self::Call(error) if is_answer(error))
    }
}

impl<P: ProxyImpl<'static> + From<zbus::Proxy<'static>> + Defaults + Clone> Line<P> {
    /// A line to this service; nobody is called yet.
    pub const fn to(service: &'static str) -> Self {
        Self { service, kept: Mutex::const_new(Kept { proxy: None, lost: 0 }) }
    }

    /// One that somebody made.
    pub fn over(service: &'static str, proxy: P) -> Self {
        Self { service, kept: Mutex::new(Kept { proxy: Some(proxy), lost: 0 }) }
    }

    /// Asks, and asks again on a new connection where the old one was lost: a service that was restarted since is asked
    /// twice at worst.
    pub async fn ask<T, Answer: Future<Output = zbus::Result<T>>>(
        &self,
        limit: Duration,
        question: impl Fn(P) -> Answer,
    ) -> Result<T, LineError> {
        match tokio::time::timeout(limit, self.ask_again_if_lost(question)).await {
            Ok(answer) => answer.map_err(LineError::Call),
            // An answer may still come: the connection is not used again.
            Err(_) => {
                let lost = self.kept.lock().await.lost;
                self.forget(lost).await;
                Err(LineError::Late)
            }
        }
    }

    async fn ask_again_if_lost<T, Answer: Future<Output = zbus::Result<T>>>(
        &self,
        question: impl Fn(P) -> Answer,
    ) -> zbus::Result<T> {
        let (proxy, lost) = self.connected().await?;
        match question(proxy).await {
            Err(error) if !is_answer(&error) => {
                self.forget(lost).await;
                let (proxy, _) = self.connected().await?;
                question(proxy).await
            }
            answered => answered,
        }
    }

    /// The connection, and how many were lost before it.
    async fn connected(&self) -> zbus::Result<(P, u64)> {
        let mut kept = self.kept.lock().await;
        let proxy = match &kept.proxy {
            Some(proxy) => proxy.clone(),
            None => {
                let connection = crate::connect(self.service).await?;
                kept.proxy.insert(P::builder(&connection).build().await?).clone()
            }
        };
        Ok((proxy, kept.lost))
    }

    /// Forgets the connection before which so many were lost; another asker may have made a new one by now.
    async fn forget(&self, lost: u64) {
        let mut kept = self.kept.lock().await;
        if kept.lost == lost {
            *kept = Kept { proxy: None, lost: lost + 1 };
        }
    }
}

/// Whether the service itself answered, in one of the ways our services do.
pub fn is_answer(error: &zbus::Error) -> bool {
    match error {
        zbus::Error::MethodError(..) => true,
        zbus::Error::FDO(error) => {
            matches!(**error, fdo::Error::AccessDenied(_) | fdo::Error::InvalidArgs(_) | fdo::Error::Failed(_))
        }
        _ => false,
    }
}
