//! `cargo xtask reproduce`: builds the committed tree twice in different surroundings and compares every byte, or builds
//! it once and compares with what somebody published.
//!
//! Both builds use this builder program and the same keys; everything that ships is compiled anew from its own copy of
//! the tree. A first difference is named down to the file, section or place where it is.

mod compare;
mod parts;
mod surroundings;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::cache::{Cache, remove_tree, timed};
use crate::error::{Error, OnFile, Result};
use crate::keys::Keys;
use crate::project;
use crate::sums::SUMS;
use crate::tool::Tool;

use compare::Signatures;
use surroundings::Surroundings;

/// What `cargo xtask reproduce` is asked for.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Use the kernel of the cache for both in place of compiling it twice
    #[arg(long)]
    without_kernel: bool,
    /// Build once and compare with the files in this folder, signatures left out
    #[arg(long, value_name = "DIR")]
    against: Option<PathBuf>,
    /// Build in this folder and keep it: a later run goes on with what is there
    #[arg(long, value_name = "DIR")]
    place: Option<PathBuf>,
}

/// The folder of the builds; removed at the end unless the user named it.
enum Place {
    Own(PathBuf),
    Users(PathBuf),
}

impl Place {
    fn open(named: Option<&Path>) -> Result<Self> {
        if let Some(path) = named {
            fs::create_dir_all(path).on("make", path)?;
            let path = path.canonicalize().on("find", path)?;
            return Ok(Self::Users(path));
        }
        let path = tempfile::Builder::new().prefix("aios-reproduce-").tempdir();
        let path = path.on("make a folder in", &std::env::temp_dir())?.keep();
        crate::interrupt::litter(&path);
        // Others may pass through: one of the builds belongs to another user.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).on("set the mode of", &path)?;
        Ok(Self::Own(path))
    }

    fn path(&self) -> &Path {
        match self {
            Self::Own(path) | Self::Users(path) => path,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Self::Own(path) = self {
            let _ = remove_tree(path);
            crate::interrupt::no_litter(path);
        }
    }
}

/// Builds and compares.
pub(crate) fn run(options: &Options) -> Result<()> {
    if let Some(published) = &options.against {
        must_be_release(published)?;
    }
    // Keys that do not exist yet would be made by each build for itself.
    let keys = Keys::open()?;
    let git = |words: &[&str]| Tool::new("git").directory(project::root()).args(words).output();
    let commit = git(&["rev-parse", "HEAD"])?.trim().to_owned();
    if !git(&["status", "--porcelain"])?.is_empty() {
        eprintln!("NOTE: changes that are not committed are left out; what is built is {commit}");
    }
    let cache = Cache::open()?;
    let place = Place::open(options.place.as_deref())?;
    let first = Surroundings::usual(place.path());
    let second = Surroundings::strange(place.path());
    let wanted = match &options.against {
        Some(_) => vec![&first],
        None => vec![&first, &second],
    };
    for surroundings in &wanted {
        eprintln!("{}: {surroundings}", surroundings.name);
        surroundings.prepare(&cache, &commit, options.without_kernel)?;
    }
    // At once: one of them has one processor only.
    std::thread::scope(|scope| {
        let build = |surroundings: &&Surroundings| timed(surroundings.name, || surroundings.build(&keys));
        let builds: Vec<_> = wanted.iter().map(|surroundings| scope.spawn(move || build(surroundings))).collect();
        let ends =
            builds.into_iter().map(|build| build.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        ends.collect::<Result<Vec<()>>>()
    })?;
    let scratch = cache.scratch("compare")?;
    let report = match &options.against {
        Some(published) => compare::folders(published, &first.outputs(), Signatures::LeftOut, &scratch)?,
        None => compare::folders(&first.outputs(), &second.outputs(), Signatures::Count, &scratch)?,
    };
    print!("{report}");
    if report.is_equal() {
        return Ok(());
    }
    Err(Error::refused(
        format!("the two builds of {commit} are not equal"),
        "the report above names what differs; --place DIR keeps both builds for a closer look",
    ))
}

/// Said before half an hour of building, not after it.
fn must_be_release(folder: &Path) -> Result<()> {
    if folder.join(SUMS).is_file() {
        return Ok(());
    }
    Err(Error::refused(
        format!("there is no release in {}: it has no {SUMS}", folder.display()),
        "name the folder with all files of the release, as `cargo xtask release` wrote them",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_a_release_is_refused_before_anything_is_built() {
        let folder = tempfile::tempdir().expect("a folder");
        let error = must_be_release(folder.path()).expect_err("nothing is there").to_string();
        assert!(error.contains(&folder.path().display().to_string()) && error.contains("SHA256SUMS"), "{error}");
        fs::write(folder.path().join(SUMS), "").expect("written");
        assert!(must_be_release(folder.path()).is_ok());
    }
}
