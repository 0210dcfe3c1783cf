//! `cargo xtask release`: an update repository, a folder of files to serve as they are.

use std::path::Path;

use crate::cache::Cache;
use crate::error::{Error, Result};
use crate::keys::Keys;
use crate::output::Draft;
use crate::system::{Order, System};

/// Builds the ordered system and fills `out`.
pub(crate) fn write(cache: &Cache, keys: &Keys, order: &Order, out: &Path) -> Result<()> {
    order.version.parse::<aios_slots::Version>().map_err(|source| Error::library("no release is made", source))?;
    let system = System::build(cache, keys, order)?;
    let draft = Draft::begin_in(out.to_owned())?;
    system.write_release(keys, draft.folder())?;
    draft.finish().map(|_| ())
}
