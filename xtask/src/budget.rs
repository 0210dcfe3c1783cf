//! How large what is published may be. Who passes a limit is told what is biggest.

use std::fs;
use std::path::Path;

use crate::error::{Error, OnFile, Result};
use crate::shipped::Shipped;

const MIB: u64 = 1 << 20;

/// The whole medium: it fits a small stick and loads fast.
pub(crate) const MEDIUM: Budget = Budget { what: "the medium", bytes: 96 * MIB };
/// The medium without what only recovery and installation need.
pub(crate) const SYSTEM: Budget = Budget { what: "the medium without recovery and installer", bytes: 48 * MIB };
/// A kernel image: more is slow to fetch over a network, and 512 MiB of memory have to be enough to work in.
pub(crate) const KERNEL_IMAGE: Budget = Budget { what: "a kernel image", bytes: 96 * MIB };
/// The recovery image: a machine with little memory has to be repaired too.
pub(crate) const RECOVERY: Budget = Budget { what: "the recovery image", bytes: 64 * MIB };

/// Parts that are named when a limit is passed.
const NAMED: usize = 4;

/// A limit.
pub(crate) struct Budget {
    what: &'static str,
    bytes: u64,
}

impl Budget {
    /// Checks a size; `parts` is what it is made of.
    pub(crate) fn check(&self, size: u64, mut parts: Vec<(u64, String)>) -> Result<()> {
        if size <= self.bytes {
            return Ok(());
        }
        parts.sort_by(|a, b| b.cmp(a));
        let biggest: Vec<String> = parts.iter().take(NAMED).map(|(size, name)| format!("{name} {size}")).collect();
        Err(Error::refused(
            format!(
                "{} has {size} bytes, the budget is {}; the biggest in it: {}",
                self.what,
                self.bytes,
                biggest.join(", ")
            ),
            "manifest.json of an earlier build shows what grew",
        ))
    }

    /// Checks the size of a file.
    pub(crate) fn check_file(&self, path: &Path, parts: Vec<(u64, String)>) -> Result<()> {
        self.check(fs::metadata(path).on("look at", path)?.len(), parts)
    }
}

/// The files below `places`, as parts.
pub(crate) fn parts(shipped: &[Shipped], places: &[&str]) -> Vec<(u64, String)> {
    let here = |file: &&Shipped| places.iter().any(|place| file.path.split('/').next() == Some(place));
    shipped.iter().filter(here).map(|file| (file.size, file.path.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_biggest_parts_are_named_largest_first() {
        let budget = Budget { what: "the medium", bytes: 100 };
        let parts = || (1..=6).map(|size| (size, format!("part{size}"))).collect();
        assert!(budget.check(100, parts()).is_ok());
        let error = budget.check(101, parts()).expect_err("too large").to_string();
        assert_eq!(
            error,
            "the medium has 101 bytes, the budget is 100; the biggest in it: part6 6, part5 5, part4 4, part3 3"
        );
    }
}
