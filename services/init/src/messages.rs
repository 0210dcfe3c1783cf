//! What a service says of itself over the readiness socket, line by line. Who said it is the kernel's word, not the text's.

/// A status is at most so long.
const STATUS: usize = 200;

/// One thing that was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    Ready,
    Alive,
    Status(String),
}

/// Reads a message. What means nothing here is left out.
pub(crate) fn read(message: &[u8]) -> Vec<Said> {
    let text = String::from_utf8_lossy(message);
    let said = text.lines().filter_map(|line| match line {
        "READY=1" => Some(Said::Ready),
        "WATCHDOG=1" => Some(Said::Alive),
        _ => {
            let status = line.strip_prefix("STATUS=")?;
            // It is shown on terminals.
            Some(Said::Status(status.chars().filter(|c| !c.is_control()).take(STATUS).collect()))
        }
    });
    said.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_one_thing_and_the_rest_is_nothing() {
        let said = read(b"STATUS=opens\x1b[2J the log\nREADY=1\nMAINPID=1\nREADY=10\nWATCHDOG=1\nFDSTORE=1");
        assert_eq!(said, [Said::Status("opens[2J the log".into()), Said::Ready, Said::Alive]);
    }

    proptest::proptest! {
        #[test]
        fn no_message_says_more_than_it_may(
            message in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..600),
            status in "STATUS=\\PC{0,400}",
        ) {
            for said in read(&message).into_iter().chain(read(status.as_bytes())) {
                if let Said::Status(text) = said {
                    assert!(text.chars().count() <= STATUS && !text.chars().any(char::is_control));
                }
            }
        }
    }
}
