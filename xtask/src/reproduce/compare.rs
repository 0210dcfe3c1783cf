//! Two sets of published files, side by side.
//!
//! Equal means every byte of every file. With [`Signatures::LeftOut`] it means every part but those that only the owner of
//! the keys can make, and what follows from them: other keys in the root give it another hash.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use crate::error::Result;

use super::parts::{self, IN, Parts};

/// What is to be equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signatures {
    /// Everything.
    Count,
    /// Everything that can be made without the keys.
    LeftOut,
}

/// Files that hold a key or a signature and nothing else. What ends like this is not compared without the keys.
const OF_THE_SIGNER: &[&str] = &[".sig", ".pub", ".pem", ".cer", ".crt", "> .pcrsig", "> .pcrpkey"];

/// Files whose content repeats sums of others, which differ with the keys.
const SUMS_OF_OTHERS: &[&str] = &["SHA256SUMS", "manifest.json", "sbom.spdx.json", "release.json", "root.verity"];

/// How many differences are shown.
const SHOWN: usize = 12;

/// What came out.
#[derive(Debug)]
pub(super) struct Report {
    /// Parts looked at.
    compared: usize,
    /// Parts that were left out.
    left_out: Vec<String>,
    differences: Vec<Difference>,
}

#[derive(Debug, PartialEq, Eq)]
struct Difference {
    part: String,
    what: What,
}

#[derive(Debug, PartialEq, Eq)]
enum What {
    OnlyInFirst,
    OnlyInSecond,
    Differs { at: usize, first: usize, second: usize },
}

/// Compares all published files of two folders.
pub(super) fn folders(first: &Path, second: &Path, signatures: Signatures, scratch: &Path) -> Result<Report> {
    compare(&parts::of_folder(first, scratch)?, &parts::of_folder(second, scratch)?, signatures)
}

fn compare(first: &Parts, second: &Parts, signatures: Signatures) -> Result<Report> {
    let names: BTreeSet<&String> = first.keys().chain(second.keys()).collect();
    let mut report = Report { compared: 0, left_out: Vec::new(), differences: Vec::new() };
    for name in names {
        if signatures == Signatures::LeftOut && is_left_out(name, first) {
            report.left_out.push(name.clone());
            continue;
        }
        report.compared += 1;
        let what = match (first.get(name), second.get(name)) {
            (Some(_), None) => Some(What::OnlyInFirst),
            (None, Some(_)) => Some(What::OnlyInSecond),
            (Some(one), Some(two)) => match signatures {
                Signatures::Count => difference(one, two),
                Signatures::LeftOut => difference(&comparable(name, one)?, &comparable(name, two)?),
            },
            (None, None) => None,
        };
        report.differences.extend(what.map(|what| Difference { part: name.clone(), what }));
    }
    // A whole differs because of its parts: only the innermost say something.
    let inner: BTreeSet<String> = report.differences.iter().map(|difference| difference.part.clone()).collect();
    report.differences.retain(|difference| {
        let inside = format!("{}{IN}", difference.part);
        !inner.range(inside.clone()..).next().is_some_and(|next| next.starts_with(&inside))
    });
    Ok(report)
}

/// Whether this part, or the whole, cannot be equal without the keys.
fn is_left_out(name: &str, parts: &Parts) -> bool {
    let inside = format!("{name}{IN}");
    let has_parts = parts.range(inside.clone()..).next().is_some_and(|(next, _)| next.starts_with(&inside));
    has_parts || OF_THE_SIGNER.iter().chain(SUMS_OF_OTHERS).any(|end| name.ends_with(end))
}

/// A part as it would be without the keys.
fn comparable(name: &str, bytes: &[u8]) -> Result<Vec<u8>> {
    if name.ends_with("> .cmdline") {
        let text = String::from_utf8_lossy(bytes);
        let words = text.split(' ').filter(|word| !word.starts_with("aios.root="));
        return Ok(words.collect::<Vec<_>>().join(" ").into_bytes());
    }
    if name.ends_with(".bundle") {
        // The first line is the seal.
        let content = bytes.iter().position(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        return Ok(bytes[content..].to_vec());
    }
    parts::without_signature(bytes)
}

fn difference(first: &[u8], second: &[u8]) -> Option<What> {
    let at = first.iter().zip(second).position(|(one, two)| one != two);
    let at = at.or_else(|| (first.len() != second.len()).then(|| first.len().min(second.len())))?;
    Some(What::Differs { at, first: first.len(), second: second.len() })
}

impl Report {
    pub(super) fn is_equal(&self) -> bool {
        self.differences.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Difference { part, what } in self.differences.iter().take(SHOWN) {
            match what {
                What::OnlyInFirst => writeln!(formatter, "only in the first: {part}")?,
                What::OnlyInSecond => writeln!(formatter, "only in the second: {part}")?,
                What::Differs { at, first, second } => {
                    writeln!(formatter, "differs from byte {at} on ({first} and {second} bytes): {part}")?;
                }
            }
        }
        if self.differences.len() > SHOWN {
            writeln!(formatter, "and {} more", self.differences.len() - SHOWN)?;
        }
        if !self.left_out.is_empty() {
            writeln!(formatter, "{} parts were left out: they need the keys", self.left_out.len())?;
        }
        let verdict = if self.is_equal() { "equal" } else { "NOT equal" };
        writeln!(formatter, "{} parts compared: {verdict}", self.compared)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(list: &[(&str, &str)]) -> Parts {
        list.iter().map(|(name, content)| ((*name).to_owned(), content.as_bytes().to_vec())).collect()
    }

    fn check(first: &[(&str, &str)], second: &[(&str, &str)], signatures: Signatures, expected: &[&str]) {
        let report = compare(&parts(first), &parts(second), signatures).expect("compared");
        let found: Vec<&str> = report.differences.iter().map(|difference| difference.part.as_str()).collect();
        assert_eq!(found, expected, "{report}");
        assert_eq!(report.is_equal(), expected.is_empty());
    }

    #[test]
    fn the_innermost_difference_is_named() {
        let one = [("a.iso", "1x"), ("a.iso > /b.efi", "x"), ("a.iso > /b.efi > .linux", "x"), ("a.iso > /c", "c")];
        let two = [("a.iso", "1y"), ("a.iso > /b.efi", "y"), ("a.iso > /b.efi > .linux", "y"), ("a.iso > /c", "c")];
        check(&one, &two, Signatures::Count, &["a.iso > /b.efi > .linux"]);
        check(&one, &one, Signatures::Count, &[]);
    }

    #[test]
    fn what_is_missing_or_outside_of_files_is_named() {
        check(&[("a", "1"), ("b", "")], &[("a", "1")], Signatures::Count, &["b"]);
        check(
            &[("a.iso", "x"), ("a.iso > /c", "c")],
            &[("a.iso", "y"), ("a.iso > /c", "c")],
            Signatures::Count,
            &["a.iso"],
        );
    }

    #[test]
    fn without_the_keys_only_content_counts() {
        let one = [("r.efi", "1"), ("r.efi > .cmdline", "aios.root=1 quiet"), ("r.efi > .pcrsig", "1"), ("S.sig", "1")];
        let two = [("r.efi", "2"), ("r.efi > .cmdline", "aios.root=2 quiet"), ("r.efi > .pcrsig", "2"), ("S.sig", "2")];
        check(&one, &two, Signatures::LeftOut, &[]);
        let three =
            [("r.efi", "2"), ("r.efi > .cmdline", "aios.root=2 loud"), ("r.efi > .pcrsig", "2"), ("S.sig", "2")];
        check(&one, &three, Signatures::LeftOut, &["r.efi > .cmdline"]);
        check(&one, &two, Signatures::Count, &["S.sig", "r.efi > .cmdline", "r.efi > .pcrsig"]);
    }
}
