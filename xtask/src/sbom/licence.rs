//! Licence expressions of SPDX, as crates carry them: whether what `deny.toml` allows is enough to use one.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::project;

/// Longer than any expression that means something; it also bounds how deep brackets go.
const LIMIT: usize = 400;

/// The licences that a dependency may have.
#[derive(Debug, Clone)]
pub(crate) struct Allowed(BTreeSet<String>);

/// The part of `deny.toml` that is about licences.
#[derive(Deserialize)]
struct Deny {
    licenses: Licences,
}

#[derive(Deserialize)]
struct Licences {
    allow: BTreeSet<String>,
}

impl Allowed {
    /// Reads `deny.toml`.
    pub(crate) fn read() -> Result<Self> {
        let deny: Deny = toml::from_str(&project::read("deny.toml")?)
            .map_err(|source| Error::library("deny.toml is not understood", source))?;
        Ok(Self(deny.licenses.allow))
    }

    /// Whether one may use what has this licence; an error says why the text is no expression.
    pub(crate) fn permits(&self, expression: &str) -> Result<bool, String> {
        if expression.len() > LIMIT {
            return Err(format!("it is longer than {LIMIT} bytes"));
        }
        let spaced = expression.replace('(', " ( ").replace(')', " ) ");
        let words: Vec<&str> = spaced.split_ascii_whitespace().collect();
        let mut rest = words.as_slice();
        let permitted = self.either(&mut rest)?;
        if rest.is_empty() { Ok(permitted) } else { Err(format!("'{}' is one word too many", rest[0])) }
    }

    fn either(&self, rest: &mut &[&str]) -> Result<bool, String> {
        let mut permitted = self.both(rest)?;
        while next_is(rest, "OR") {
            permitted |= self.both(rest)?;
        }
        Ok(permitted)
    }

    fn both(&self, rest: &mut &[&str]) -> Result<bool, String> {
        let mut permitted = self.one(rest)?;
        while next_is(rest, "AND") {
            permitted &= self.one(rest)?;
        }
        Ok(permitted)
    }

    fn one(&self, rest: &mut &[&str]) -> Result<bool, String> {
        if next_is(rest, "(") {
            let permitted = self.either(rest)?;
            return if next_is(rest, ")") { Ok(permitted) } else { Err("a bracket is not closed".to_owned()) };
        }
        let name = name(rest)?;
        if next_is(rest, "WITH") {
            let exception = self::name(rest)?;
            return Ok(self.0.contains(&format!("{name} WITH {exception}")));
        }
        Ok(self.0.contains(name))
    }
}

fn next_is(rest: &mut &[&str], word: &str) -> bool {
    match rest.split_first() {
        Some((first, after)) if *first == word => {
            *rest = after;
            true
        }
        _ => false,
    }
}

fn name<'a>(rest: &mut &[&'a str]) -> Result<&'a str, String> {
    let (first, after) = rest.split_first().ok_or("it ends where a licence should be")?;
    let is_name = first.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-+:".contains(&byte));
    if !is_name || ["AND", "OR", "WITH"].contains(first) {
        return Err(format!("'{}' is no licence", first.escape_default()));
    }
    *rest = after;
    Ok(first)
}

/// What crates wrote before expressions: `MIT/Apache-2.0` for a choice.
pub(crate) fn expression(text: &str) -> String {
    text.split('/').map(str::trim).collect::<Vec<_>>().join(" OR ")
}

/// The identifier of SPDX for a short name of Debian's machine-readable copyright files, for the ones we meet.
pub(crate) fn of_debian(short: &str) -> Option<&'static str> {
    Some(match short {
        "GPL-2" => "GPL-2.0-only",
        "GPL-2+" => "GPL-2.0-or-later",
        "GPL-3" => "GPL-3.0-only",
        "GPL-3+" => "GPL-3.0-or-later",
        "LGPL-2.1" => "LGPL-2.1-only",
        "LGPL-2.1+" => "LGPL-2.1-or-later",
        "BSD-2-clause" => "BSD-2-Clause",
        "BSD-3-clause" => "BSD-3-Clause",
        "Expat" => "MIT",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn allowed() -> Allowed {
        Allowed(["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-3-Clause"].map(str::to_owned).into())
    }

    fn check(text: &str, expected: bool) {
        assert_eq!(allowed().permits(text), Ok(expected), "{text}");
    }

    #[test]
    fn a_choice_needs_one_and_a_sum_needs_all() {
        check("MIT", true);
        check("GPL-3.0-only", false);
        check("MIT OR GPL-3.0-only", true);
        check("MIT AND GPL-3.0-only", false);
        check("GPL-3.0-only OR MIT AND Apache-2.0", true);
        check("(GPL-3.0-only OR MIT) AND BSD-3-Clause", true);
        check("(MIT OR Apache-2.0) AND GPL-2.0-only", false);
        check("Apache-2.0 WITH LLVM-exception OR GPL-2.0-only", true);
        check("MIT WITH LLVM-exception", false);
    }

    #[test]
    fn what_is_no_expression_is_said() {
        for text in ["", "MIT OR", "MIT MIT", "(MIT", "MIT)", "OR", "MIT AND AND MIT", "M!T"] {
            assert!(allowed().permits(text).is_err(), "{text}");
        }
        assert_eq!(expression("MIT/Apache-2.0"), "MIT OR Apache-2.0");
    }

    #[test]
    fn the_list_of_the_tree_is_read() {
        let allowed = Allowed::read().expect("deny.toml");
        assert_eq!(allowed.permits("MIT"), Ok(true));
        assert_eq!(allowed.permits("AGPL-3.0-only"), Ok(false));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "([()]|MIT|GPL-2.0|AND|OR|WITH| |.){0,60}") {
            let _ = allowed().permits(&text);
        }
    }
}
