//! `cargo xtask release`: an update repository, a folder of files to serve as they are.

use std::path::Path;

use crate::cache::Cache;
use crate::error::{Error, Result};
use crate::keys::{Keys, Purpose};
use crate::output::Draft;
use crate::system::{Order, System};

/// A release for others is not signed with keys that protect nobody.
pub(crate) fn check_purpose(purpose: Purpose) -> Result<()> {
    match purpose {
        Purpose::Release => Ok(()),
        Purpose::Development => Err(Error::refused(
            "the keys of this machine are development keys, and a release would be trusted because of them",
            "set AIOS_KEYS to a folder of release keys (docs/trust.md), or give --development for a test",
        )),
    }
}

/// Builds the ordered system and fills `out`.
pub(crate) fn write(cache: &Cache, keys: &Keys, order: &Order, out: &Path) -> Result<()> {
    order.version.parse::<aios_slots::Version>().map_err(|source| Error::library("no release is made", source))?;
    let system = System::build(cache, keys, order)?;
    let draft = Draft::begin_in(out.to_owned())?;
    system.write_release(keys, draft.folder())?;
    draft.finish().map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_refused_with_development_keys_only() {
        assert!(check_purpose(Purpose::Release).is_ok());
        let error = check_purpose(Purpose::Development).expect_err("refused");
        assert!(error.hint().is_some_and(|hint| hint.contains("--development")), "{error}");
    }
}
