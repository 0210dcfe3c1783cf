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
        match &error {
            zbus::Error::MethodError(name, text, _) => {
                let text = text.clone().unwrap_or_else(|| name.to_string());
                if name.as_str() == "org.freedesktop.DBus.Error.AccessDenied" {
                    Self::denied(text)
                } else {
                    Self::failed(text)
                }
            }
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
