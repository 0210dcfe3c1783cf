//! The words of ours on the recovery image's sealed command line.

/// What the command line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CommandLine {
    /// The release that this image belongs to.
    pub(crate) version: Option<String>,
}

/// The kernel was not started for recovery.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CommandLineError {
    #[error("the kernel command line lacks aios.recovery=1")]
    NotRecovery,
    #[error("the kernel command line has {0} twice")]
    Twice(&'static str),
    #[error("the kernel command line has the unknown word '{0}'")]
    Unknown(String),
}

/// Reads our words; the kernel's own are left to the kernel.
pub(crate) fn parse(line: &str) -> Result<CommandLine, CommandLineError> {
    let (mut recovery, mut version) = (None, None);
    for word in line.split_ascii_whitespace().filter(|word| word.starts_with("aios.")) {
        let (key, slot, value) = match word.split_once('=') {
            Some(("aios.recovery", value)) => ("aios.recovery", &mut recovery, value),
            Some(("aios.version", value)) => ("aios.version", &mut version, value),
            _ => return Err(CommandLineError::Unknown(shown(word))),
        };
        if slot.replace(shown(value)).is_some() {
            return Err(CommandLineError::Twice(key));
        }
    }
    match recovery.as_deref() {
        Some("1") => Ok(CommandLine { version }),
        _ => Err(CommandLineError::NotRecovery),
    }
}

fn shown(text: &str) -> String {
    text.chars().take(80).flat_map(char::escape_default).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_start_for_recovery_is_one() {
        let read = parse("console=ttyS0 aios.recovery=1 quiet aios.version=1.2.0\n").expect("a recovery start");
        assert_eq!(read.version.as_deref(), Some("1.2.0"));
        assert_eq!(parse("aios.recovery=1").expect("no version is no error").version, None);
        for (line, expected) in [
            ("quiet", CommandLineError::NotRecovery),
            ("aios.recovery=0", CommandLineError::NotRecovery),
            ("aios.recovery=1 aios.recovery=1", CommandLineError::Twice("aios.recovery")),
            ("aios.recovery=1 aios.root=00", CommandLineError::Unknown("aios.root=00".into())),
            ("aios.recovery", CommandLineError::Unknown("aios.recovery".into())),
        ] {
            assert_eq!(parse(line), Err(expected), "{line}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_line_makes_it_panic(line in "(aios\\.(recovery|version)=?[0-9a-z]{0,9} ){0,4}\\PC{0,40}") {
            let _ = parse(&line).is_ok();
        }
    }
}
