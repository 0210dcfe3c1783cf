//! How a command ends when it does not end well: the exit status, what happened, what to try.

use std::fmt;
use std::process::ExitCode;

/// The end of a command.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    status: Status,
    text: String,
    hint: Option<String>,
}

/// The exit statuses of the manual.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Failed = 1,
    WrongUsage = 2,
    Denied = 3,
    Waits = 4,
    NotReachable = 5,
}

impl Failure {
    pub(crate) fn failed(text: impl Into<String>) -> Self {
        Self { status: Status::Failed, text: text.into(), hint: None }
    }

    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self { status: Status::WrongUsage, text: text.into(), hint: None }
    }

    pub(crate) fn denied(text: impl Into<String>) -> Self {
        Self { status: Status::Denied, text: text.into(), hint: None }
    }

    pub(crate) fn waits(text: impl Into<String>) -> Self {
        Self { status: Status::Waits, text: text.into(), hint: None }
    }

    pub(crate) fn not_reachable(service: &str, why: impl fmt::Display) -> Self {
        Self {
            status: Status::NotReachable,
            text: format!("cannot reach {service}: {why}"),
            hint: Some("'aios service list' shows what runs; this command works on AIOS itself".into()),
        }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.status as u8)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.text)?;
        if let Some(hint) = &self.hint {
            write!(f, "\n  try: {hint}")?;
        }
        Ok(())
    }
}

impl From<zbus::Error> for Failure {
    fn from(error: zbus::Error) -> Self {
        use zbus::fdo;
        match &error {
            // The standard errors arrive as their own type, and carry the service's words.
            zbus::Error::FDO(refusal) => match refusal.as_ref() {
                fdo::Error::AccessDenied(text) => Self::denied(text),
                fdo::Error::Failed(text) | fdo::Error::InvalidArgs(text) | fdo::Error::LimitsExceeded(text) => {
                    Self::failed(text)
                }
                other => Self::failed(other.to_string()),
            },
            zbus::Error::MethodError(name, text, _) => Self::failed(text.clone().unwrap_or_else(|| name.to_string())),
            _ => Self {
                status: Status::NotReachable,
                text: format!("the service ended the connection: {error}"),
                hint: Some("'aios service list' shows whether it was restarted".into()),
            },
        }
    }
}

impl From<aios_daemon::init::AskError> for Failure {
    fn from(error: aios_daemon::init::AskError) -> Self {
        match error {
            aios_daemon::init::AskError::Refused(reason) => Self::denied(reason),
            other => Self::not_reachable("PID 1", aios_daemon::error_chain(&other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use zbus::fdo;

    use super::*;

    #[test]
    fn a_refusal_keeps_its_words_and_has_its_own_status() {
        let refused = Failure::from(zbus::Error::from(fdo::Error::AccessDenied("no: closed; ask".into())));
        assert_eq!((refused.status, refused.to_string().as_str()), (Status::Denied, "no: closed; ask"));
        let beyond = Failure::from(zbus::Error::from(fdo::Error::LimitsExceeded("used up; wait".into())));
        assert!(beyond.to_string().contains("used up") && !beyond.to_string().contains("freedesktop"), "{beyond}");
        let failed = Failure::from(zbus::Error::from(fdo::Error::InvalidArgs("no such key".into())));
        assert_eq!((failed.status, failed.to_string().as_str()), (Status::Failed, "no such key"));
        let gone = Failure::from(zbus::Error::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe)));
        assert_eq!(gone.status, Status::NotReachable);
    }
}
