//! `cargo xtask release`: an update repository, a folder of files to serve as they are.

use std::fs;
use std::path::Path;

use crate::cache::Cache;
use crate::error::{Error, OnFile, Result};
use crate::keys::Keys;
use crate::system::{Order, System};

/// Builds the ordered system and fills `out`.
pub(crate) fn write(cache: &Cache, keys: &Keys, order: &Order, out: &Path) -> Result<()> {
    order.version.parse::<aios_slots::Version>().map_err(|source| Error::library("no release is made", source))?;
    fs::create_dir_all(out).on("make", out)?;
    System::build(cache, keys, order)?.write_release(keys, out)
}
