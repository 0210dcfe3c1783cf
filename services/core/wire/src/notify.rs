//! What a service says of itself over the readiness socket, line by line. Who said it is the kernel's word, not the text's.

/// A status is at most so long.
pub const STATUS: usize = 200;

/// A reason says what to do as well.
pub const REASON: usize = 400;

/// One thing that was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// It can be called.
    Ready,
    /// Its loop still turns.
    Alive,
    /// What it is doing, in a sentence.
    Status(String),
    /// It works, and nothing may be done, for this reason.
    Hold(String),
}

/// Reads a message. What means nothing here is left out.
pub fn read(message: &[u8]) -> Vec<Said> {
    let text = String::from_utf8_lossy(message);
    let said = text.lines().filter_map(|line| match line {
        "READY=1" => Some(Said::Ready),
        "WATCHDOG=1" => Some(Said::Alive),
        _ => match line.split_once('=')? {
            ("STATUS", status) => Some(Said::Status(shown(status, STATUS))),
            ("HOLD", reason) => Some(Said::Hold(shown(reason, REASON))),
            _ => None,
        },
    });
    said.collect()
}

/// It is shown on terminals.
fn shown(text: &str, limit: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(limit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_one_thing_and_the_rest_is_nothing() {
        let said =
            read(b"STATUS=opens\x1b[2J the log\nREADY=1\nMAINPID=1\nREADY=10\nWATCHDOG=1\nFDSTORE=1\nHOLD=a=b\x07");
        let (status, hold) = (Said::Status("opens[2J the log".into()), Said::Hold("a=b".into()));
        assert_eq!(said, [status, Said::Ready, Said::Alive, hold]);
    }

    proptest::proptest! {
        #[test]
        fn no_message_says_more_than_it_may(
            message in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..600),
            status in "(STATUS|HOLD)=\\PC{0,600}",
        ) {
            for said in read(&message).into_iter().chain(read(status.as_bytes())) {
                let (text, limit) = match said {
                    Said::Status(text) => (text, STATUS),
                    Said::Hold(text) => (text, REASON),
                    Said::Ready | Said::Alive => continue,
                };
                assert!(text.chars().count() <= limit && !text.chars().any(char::is_control));
            }
        }
    }
}
