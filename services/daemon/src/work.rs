//! What a service has to do, so that one that starts on call ends when there is nothing: its next caller starts it again.

use std::time::Duration;

use tokio::sync::watch;

/// With nothing to do a service stays for so long. Far longer than a start takes, and so long that callers who come one
/// after the other never spend the budget of starts.
const IDLE: Duration = Duration::from_secs(30);

/// Everything that a service is doing.
#[derive(Debug)]
pub struct Work {
    pieces: watch::Sender<()>,
    idle: Duration,
}

/// One thing that a service is doing; it does not end while there is one.
#[derive(Debug)]
pub struct Piece(#[expect(dead_code, reason = "that it is there is what counts")] watch::Receiver<()>);

impl Default for Work {
    fn default() -> Self {
        Self::ending_after(IDLE)
    }
}

impl Work {
    fn ending_after(idle: Duration) -> Self {
        Self { pieces: watch::Sender::new(()), idle }
    }

    /// Something to do, until the piece is dropped.
    pub fn begin(&self) -> Piece {
        Piece(self.pieces.subscribe())
    }

    /// Waits until there was nothing to do for long enough.
    pub(crate) async fn is_over(&self) {
        loop {
            self.pieces.closed().await;
            tokio::time::sleep(self.idle).await;
            if self.pieces.is_closed() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Duration = Duration::from_millis(20);

    async fn is_over(work: &Work) -> bool {
        tokio::time::timeout(IDLE * 10, work.is_over()).await.is_ok()
    }

    #[tokio::test]
    async fn a_service_with_something_to_do_goes_on_and_one_without_ends() {
        let work = Work::ending_after(IDLE);
        let (one, other) = (work.begin(), work.begin());
        assert!(!is_over(&work).await);
        drop(one);
        assert!(!is_over(&work).await, "one piece is left");
        drop(other);
        assert!(is_over(&work).await);
    }

    #[tokio::test]
    async fn what_begins_while_it_waits_to_end_keeps_it() {
        let work = Work::ending_after(IDLE);
        let piece = async {
            tokio::time::sleep(IDLE / 4).await;
            work.begin()
        };
        let (over, piece) = tokio::join!(is_over(&work), piece);
        assert!(!over);
        drop(piece);
        assert!(is_over(&work).await);
    }
}
