//! A line as a command. What stands after the command's word is one argument, spaces included: places need no quotes.

/// What a line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    Nothing,
    Help,
    Status,
    Verify { place: Option<String> },
    Rollback { disk: Option<String> },
    Export { device: String },
    AcceptRestored { records: Option<u64> },
    Unlock { device: Option<String> },
    Shell { line: Option<String> },
    Reboot,
    PowerOff,
}

/// The line is no command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CommandError {
    #[error("there is no command '{0}'")]
    Unknown(String),
    #[error("'{0}' takes nothing after it")]
    TooMuch(&'static str),
    #[error("'export' needs the device of a FAT volume")]
    NoDevice,
    #[error("'accept-restored' takes the number of records that the log has, and '{0}' is none")]
    NoNumber(String),
}

pub(crate) const HELP: &str = "\
status            what is on the disks and which release would start
verify [PLACE]    check evidence: a device, a folder or a file; without one, the volume
                  labelled AIOS-EXPORT, else the data partition
rollback [DISK]   make the boot loader start the release before the newest one
export DEVICE     copy the evidence of the data partition to a FAT volume labelled AIOS-EXPORT
accept-restored [RECORDS]
                  let the log go on although the boot state knows of more; alone, shows both
unlock [DEVICE]   ask for the pass phrase of an encrypted data partition and open it
shell [COMMAND]   a busybox shell on this terminal; its exit status comes back
reboot, poweroff  end recovery
No disk is written to but by 'rollback', 'export' and 'accept-restored RECORDS', and by what is done in the shell.
";

/// Reads a line; `aios` and `recovery` in front of a command may stand there or not.
pub(crate) fn parse(line: &str) -> Result<Command, CommandError> {
    let mut line = line.trim();
    for prefix in ["aios", "recovery"] {
        let (word, rest) = first_word(line);
        if word == prefix {
            line = rest;
        }
    }
    let (word, rest) = first_word(line);
    let argument = (!rest.is_empty()).then(|| rest.to_owned());
    let alone = |name, command| if argument.is_none() { Ok(command) } else { Err(CommandError::TooMuch(name)) };
    match word {
        "" => Ok(Command::Nothing),
        "help" => alone("help", Command::Help),
        "status" => alone("status", Command::Status),
        "verify" => Ok(Command::Verify { place: argument }),
        "rollback" => Ok(Command::Rollback { disk: argument }),
        "export" => argument.map(|device| Command::Export { device }).ok_or(CommandError::NoDevice),
        "unlock" => Ok(Command::Unlock { device: argument }),
        "accept-restored" => match argument.map(|text| text.parse().map_err(|_| text)).transpose() {
            Ok(records) => Ok(Command::AcceptRestored { records }),
            Err(text) => Err(CommandError::NoNumber(text.chars().take(80).collect())),
        },
        "shell" => Ok(Command::Shell { line: argument }),
        "reboot" => alone("reboot", Command::Reboot),
        "poweroff" => alone("poweroff", Command::PowerOff),
        other => Err(CommandError::Unknown(other.chars().take(80).collect())),
    }
}

fn first_word(text: &str) -> (&str, &str) {
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    (word, rest.trim_start())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(line: &str, expected: Command) {
        assert_eq!(parse(line).expect(line), expected, "{line}");
    }

    #[test]
    fn the_systems_own_words_may_stand_in_front() {
        for line in ["status", "aios recovery status", "recovery status", "  aios   status "] {
            check(line, Command::Status);
        }
        check("aios recovery", Command::Nothing);
    }

    #[test]
    fn a_place_is_the_rest_of_the_line() {
        check("verify", Command::Verify { place: None });
        check("verify /mnt/my stick ", Command::Verify { place: Some("/mnt/my stick".into()) });
        check("accept-restored", Command::AcceptRestored { records: None });
        check("accept-restored 41", Command::AcceptRestored { records: Some(41) });
        check("unlock", Command::Unlock { device: None });
        check("unlock /dev/vda7", Command::Unlock { device: Some("/dev/vda7".into()) });
        check("shell ls -l | head", Command::Shell { line: Some("ls -l | head".into()) });
    }

    #[test]
    fn what_is_no_command_is_named() {
        assert_eq!(parse("action submit"), Err(CommandError::Unknown("action".into())));
        assert_eq!(parse("reboot now"), Err(CommandError::TooMuch("reboot")));
        assert_eq!(parse("export "), Err(CommandError::NoDevice));
        assert_eq!(parse("accept-restored all"), Err(CommandError::NoNumber("all".into())));
    }

    proptest! {
        #[test]
        fn no_line_makes_it_panic(line in "(aios |recovery |verify |accept-restored |shell )?\\PC{0,60}") {
            let _ = parse(&line).is_ok();
        }
    }
}
