//! A time server (SNTP) on this machine's loopback, which a machine reaches at 10.0.2.2. What it says is as far ahead of this
//! machine's clock, or behind it, as a scenario wants.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::scenario::Failure;

/// Time servers have this port and no other.
const PORT: u16 = 123;
/// From 1900, where the protocol begins to count, to 1970.
const TO_UNIX: i64 = 2_208_988_800;
const LENGTH: usize = 48;

/// A running server; it ends when it is dropped.
#[derive(Debug)]
pub(crate) struct TimeServer {
    ahead: Arc<AtomicI64>,
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl TimeServer {
    /// Tells this machine's time.
    pub(crate) fn start() -> Result<Self, Failure> {
        let failed = |error: std::io::Error| {
            Failure::broken(format!(
                "cannot be a time server on port {PORT} of this host: {error}; it takes root, or \
                 net.ipv4.ip_unprivileged_port_start={PORT}, and no other time server"
            ))
        };
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, PORT)).map_err(failed)?;
        socket.set_read_timeout(Some(Duration::from_millis(200))).map_err(failed)?;
        let (ahead, ending) = (Arc::new(AtomicI64::new(0)), Arc::new(AtomicBool::new(false)));
        let thread = std::thread::spawn({
            let (ahead, ending) = (ahead.clone(), ending.clone());
            move || {
                let mut question = [0; LENGTH];
                while !ending.load(Ordering::Acquire) {
                    // What is no question, and an answer that does not leave, is asked for again.
                    if let Ok((LENGTH, from)) = socket.recv_from(&mut question) {
                        let _ = socket.send_to(&answer(&question, stamp(ahead.load(Ordering::Acquire))), from);
                    }
                }
            }
        });
        Ok(Self { ahead, ending, thread: Some(thread) })
    }

    /// From now on it is so many seconds ahead.
    pub(crate) fn set_ahead(&self, seconds: i64) {
        self.ahead.store(seconds, Ordering::Release);
    }
}

impl Drop for TimeServer {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // A panic in it has been printed already.
            let _ = thread.join();
        }
    }
}

/// The time as the protocol writes it, seconds modulo 2^32 and a fraction.
fn stamp(ahead: i64) -> [u8; 8] {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = (now.as_secs() as i64 + TO_UNIX + ahead) as u32;
    let fraction = ((u64::from(now.subsec_nanos()) << 32) / 1_000_000_000) as u32;
    (u64::from(seconds) << 32 | u64::from(fraction)).to_be_bytes()
}

/// A server of the second rank that has no doubts.
fn answer(question: &[u8; LENGTH], now: [u8; 8]) -> [u8; LENGTH] {
    let mut answer = [0; LENGTH];
    (answer[0], answer[1]) = (4 << 3 | 4, 2);
    answer[24..32].copy_from_slice(&question[40..]);
    answer[32..40].copy_from_slice(&now);
    answer[40..].copy_from_slice(&now);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_repeats_what_was_asked_and_says_the_time() {
        let mut question = [0; LENGTH];
        question[40..].copy_from_slice(b"asked-at");
        let answer = answer(&question, stamp(3600));
        assert_eq!((&answer[24..32], answer[0] & 7), (&b"asked-at"[..], 4));
        let said = u32::from_be_bytes([answer[40], answer[41], answer[42], answer[43]]);
        let now = u32::from_be_bytes(stamp(0)[..4].try_into().expect("four bytes"));
        assert!(said.wrapping_sub(now) <= 3600 && said.wrapping_sub(now) > 3590, "{said} {now}");
    }
}
