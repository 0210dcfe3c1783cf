//! How much of an agent is taken in before it has had its answers.
//!
//! An agent that asks without listening, or faster than actions are decided, is not read any further until that changes: what
//! it says stays in its own socket, and the door's memory does not grow with it.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// So many calls of one conversation are worked on; what was read with the last of them is worked on as well.
const CALLS: usize = 8;
/// So many conversations one agent may have. It gets along with one.
const CONVERSATIONS: usize = 8;
/// The longest line that can be a request: the longest request with every character escaped.
pub(crate) const LINE: usize = 512 << 10;

/// The pace of one conversation.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pace(Arc<Mutex<Now>>);

#[derive(Debug, Default)]
struct Now {
    calls: usize,
    /// The agent does not take what is being written.
    unheard: bool,
    reader: Option<Waker>,
}

impl Now {
    fn is_full(&self) -> bool {
        self.unheard || self.calls >= CALLS
    }

    fn wake(&mut self) {
        if !self.is_full()
            && let Some(reader) = self.reader.take()
        {
            reader.wake();
        }
    }
}

impl Pace {
    /// A call is worked on until this is dropped.
    pub(crate) fn call(&self) -> Call {
        self.now().calls += 1;
        Call(self.clone())
    }

    /// What the agent says, at this pace.
    pub(crate) fn reading<R>(&self, from: R) -> Reading<R> {
        Reading { from, pace: self.clone() }
    }

    /// What the agent is told.
    pub(crate) fn writing<W>(&self, to: W) -> Writing<W> {
        Writing { to, pace: self.clone() }
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        // Whoever panicked with it has left a count that is right.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes whether a write went on.
    fn wrote<T>(&self, result: Poll<T>) -> Poll<T> {
        let mut now = self.now();
        now.unheard = result.is_pending();
        now.wake();
        result
    }
}

/// A call that is worked on.
#[derive(Debug)]
pub(crate) struct Call(Pace);

impl Drop for Call {
    fn drop(&mut self) {
        let mut now = self.0.now();
        now.calls -= 1;
        now.wake();
    }
}

/// Reads only while there is room for more.
#[derive(Debug)]
pub(crate) struct Reading<R> {
    from: R,
    pace: Pace,
}

impl<R: AsyncRead + Unpin> AsyncRead for Reading<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        {
            let mut now = self.pace.now();
            if now.is_full() {
                now.reader = Some(context.waker().clone());
                return Poll::Pending;
            }
        }
        Pin::new(&mut self.from).poll_read(context, buffer)
    }
}

/// Writes, and tells the reader when nobody takes it.
#[derive(Debug)]
pub(crate) struct Writing<W> {
    to: W,
    pace: Pace,
}

impl<W: AsyncWrite + Unpin> AsyncWrite for Writing<W> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.to).poll_write(context, bytes);
        self.pace.wrote(wrote)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.to).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.to).poll_shutdown(context)
    }
}

/// Who is at the door, and how often.
#[derive(Debug, Clone, Default)]
pub(crate) struct Visitors(Arc<Mutex<BTreeMap<String, usize>>>);

impl Visitors {
    /// One more conversation with this agent, if it may have one.
    pub(crate) fn let_in(&self, name: &str) -> Option<Visit> {
        let mut present = self.present();
        let conversations = present.entry(name.to_owned()).or_default();
        if *conversations >= CONVERSATIONS {
            return None;
        }
        *conversations += 1;
        Some(Visit { name: name.to_owned(), visitors: self.clone() })
    }

    fn present(&self) -> MutexGuard<'_, BTreeMap<String, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A conversation that has not ended.
#[derive(Debug)]
pub(crate) struct Visit {
    name: String,
    visitors: Visitors,
}

impl Drop for Visit {
    fn drop(&mut self) {
        let mut present = self.visitors.present();
        if let Some(conversations) = present.get_mut(&self.name) {
            *conversations -= 1;
            if *conversations == 0 {
                present.remove(&self.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Whether a byte comes; nothing comes by itself later.
    async fn comes(reading: &mut Reading<impl AsyncRead + Unpin>) -> bool {
        tokio::time::timeout(Duration::from_millis(50), reading.read_u8()).await.is_ok()
    }

    #[tokio::test]
    async fn who_has_calls_enough_is_read_again_when_one_has_ended() {
        let (here, mut there) = tokio::io::duplex(64);
        let pace = Pace::default();
        let mut reading = pace.reading(here);
        there.write_all(b"abc").await.expect("room");
        let mut calls: Vec<_> = (0..CALLS).map(|_| pace.call()).collect();
        assert!(!comes(&mut reading).await);
        let waits = tokio::spawn(async move { reading.read_u8().await });
        tokio::task::yield_now().await;
        calls.pop();
        assert_eq!(waits.await.expect("it ends").expect("a byte"), b'a');
    }

    #[tokio::test]
    async fn who_does_not_listen_is_not_read() {
        let (here, mut there) = tokio::io::duplex(16);
        let pace = Pace::default();
        let (from, to) = tokio::io::split(here);
        let (mut reading, mut writing) = (pace.reading(from), pace.writing(to));
        there.write_all(b"ab").await.expect("room");
        assert!(comes(&mut reading).await);
        let writes = tokio::spawn(async move { writing.write_all(&[0; 64]).await });
        tokio::task::yield_now().await;
        assert!(!comes(&mut reading).await);
        let mut heard = [0; 64];
        there.read_exact(&mut heard).await.expect("all of it");
        writes.await.expect("it ends").expect("written");
        assert!(comes(&mut reading).await);
    }

    #[test]
    fn one_agent_does_not_take_the_place_of_another() {
        let visitors = Visitors::default();
        let mut visits: Vec<_> = (0..CONVERSATIONS).map(|_| visitors.let_in("one").expect("room")).collect();
        assert!(visitors.let_in("one").is_none());
        assert!(visitors.let_in("another").is_some());
        visits.pop();
        assert!(visitors.let_in("one").is_some());
        drop(visits);
        assert!(visitors.present().is_empty());
    }
}
