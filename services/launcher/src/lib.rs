//! Making one action's sandbox and seeing it through to its end: what the launcher does once it knows who calls.
//!
//! A library so that tests and measurements start programs exactly as the service does. It listens to nobody and decides
//! nothing; the program beside it does the first.

pub mod allotment;
pub mod confine;
pub mod profile;
pub mod run;

use std::error::Error;

/// An error with all its causes in one line.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
