//! An export as one text: a file of it a line, `{"path":…,"base64":…}`, for terminals and places that take one file only.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    path: String,
    base64: String,
}

/// The files of an export, as far as their lines have been read.
#[derive(Debug, Default)]
pub struct Bundle {
    lines: u64,
    files: BTreeMap<String, Vec<u8>>,
}

/// A line is no file of an export.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// Another form.
    #[error("line {line} is no file of an export")]
    Form {
        /// Which, from 1.
        line: u64,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The content cannot be decoded.
    #[error("the content in line {line} is not base64")]
    Content {
        /// Which, from 1.
        line: u64,
        /// Why.
        #[source]
        source: base64::DecodeError,
    },
    /// One of two would be checked and the other believed.
    #[error("line {line} has a file that an earlier line has")]
    Twice {
        /// Which, from 1.
        line: u64,
    },
}

impl Bundle {
    /// The line of one file, without a newline at its end.
    pub fn line(path: &str, bytes: &[u8]) -> String {
        let file = File { path: path.to_owned(), base64: STANDARD.encode(bytes) };
        serde_json::to_string(&file).expect("two texts are always JSON")
    }

    /// Takes the next line.
    pub fn add_line(&mut self, text: &str) -> Result<(), BundleError> {
        self.lines += 1;
        let line = self.lines;
        let file: File = serde_json::from_str(text).map_err(|source| BundleError::Form { line, source })?;
        let bytes = STANDARD.decode(&file.base64).map_err(|source| BundleError::Content { line, source })?;
        match self.files.insert(file.path, bytes) {
            None => Ok(()),
            Some(_) => Err(BundleError::Twice { line }),
        }
    }

    /// One file, in the way that [`crate::verify_export`] asks for it.
    pub fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        self.files.get(path).cloned().ok_or_else(|| "not in the bundle".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_file_that_stands_twice_is_refused() {
        let mut bundle = Bundle::default();
        bundle.add_line(&Bundle::line("key", b"one")).expect("the first");
        let error = bundle.add_line(&Bundle::line("key", b"two")).expect_err("the second");
        assert!(matches!(error, BundleError::Twice { line: 2 }), "{error}");
    }

    proptest! {
        #[test]
        fn a_file_comes_back(path in "\\PC{0,30}", bytes in any::<Vec<u8>>()) {
            let mut bundle = Bundle::default();
            bundle.add_line(&Bundle::line(&path, &bytes)).expect("a line of ours");
            prop_assert_eq!(bundle.read(&path), Ok(bytes));
        }

        #[test]
        fn no_line_makes_it_panic(line in "(\\{\"path\":\")?.{0,60}") {
            let _ = Bundle::default().add_line(&line).is_ok();
        }
    }
}
