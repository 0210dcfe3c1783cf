//! What the text of the sources may not contain, and that there is some.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{OnFile, Result};
use crate::project;

/// Words of work that is not finished. Written in two halves so that this file may stay under its own rule.
const UNFINISHED: [&str; 5] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("todo", "!("),
    concat!("unimple", "mented!("),
    concat!("XX", "X:"),
];

/// The one crate that may turn the lint off.
const UNSAFE_CRATE: &str = "services/linux/";

/// Ways to turn it off.
const UNSAFE_LINT: [&str; 2] = [concat!("allow(unsafe", "_code"), concat!("expect(unsafe", "_code")];

/// One line for each place that breaks a rule.
pub(super) fn check() -> Result<Vec<String>> {
    let mut broken = Vec::new();
    let mut files = Vec::new();
    collect(project::root(), &mut files)?;
    files.sort();
    for file in files {
        let text = fs::read_to_string(&file).on("read", &file)?;
        let name = file.strip_prefix(project::root()).unwrap_or(&file).to_string_lossy().into_owned();
        broken.extend(broken_rules(&name, &text));
    }
    Ok(broken)
}

fn broken_rules(name: &str, text: &str) -> Vec<String> {
    let mut broken = Vec::new();
    if text.trim().is_empty() {
        broken.push(format!("{name}: nothing is in it; remove it"));
    }
    for (number, line) in text.lines().enumerate() {
        let at = format!("{name}:{}", number + 1);
        if let Some(word) = UNFINISHED.iter().find(|word| line.contains(**word)) {
            broken.push(format!("{at}: {word} is not committed; finish it or leave it out"));
        }
        if !name.starts_with(UNSAFE_CRATE) && UNSAFE_LINT.iter().any(|lint| line.contains(lint)) {
            broken.push(format!("{at}: unsafe code belongs in services/linux"));
        }
    }
    broken
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).on("list", folder)? {
        let path = entry.on("list", folder)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() {
            if !name.starts_with('.') && name != "target" {
                collect(&path, files)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unfinished_and_unsafe_lines_are_found() {
        let text = format!("fn a() {{}}\n// {}: later\n#[{})]\n", UNFINISHED[0], UNSAFE_LINT[0]);
        assert_eq!(broken_rules("services/init/src/main.rs", &text).len(), 2);
        assert_eq!(broken_rules("services/linux/src/lib.rs", &text).len(), 1);
        assert!(broken_rules("a.rs", "fn todo() {}\n").is_empty());
    }

    #[test]
    fn a_file_that_was_emptied_is_found() {
        assert_eq!(broken_rules("qa/src/bench/launch.rs", "\n").len(), 1);
    }
}
