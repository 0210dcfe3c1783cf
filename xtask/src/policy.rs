//! Policy bundles: `cargo xtask policy`. The image's is made of `rootfs/policy`; an operator's is made of a folder like it and
//! loaded on the machine with `aios policy load`.

use std::path::{Path, PathBuf};

use aios_policy::{Bundle, compare, pack_signed_by};

use crate::error::{Error, OnFile, Result};
use crate::keys::{Keys, Name};
use crate::project;

/// Where the image's policy is in the tree.
const FOLDER: &str = "rootfs/policy";

/// What to do with bundles.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Packs a folder of rules and signs it with the key 'policy'.
    Pack {
        /// The folder, with *.cedar files and bundle.toml.
        #[arg(long, value_name = "DIR", default_value = FOLDER)]
        from: PathBuf,
        /// The epoch, in place of the one in bundle.toml.
        #[arg(long)]
        epoch: Option<u64>,
        /// The file to write.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Opens a bundle as a machine would, and says what it changes against this tree's policy.
    Check {
        /// The bundle.
        bundle: PathBuf,
    },
}

/// Carries the command out.
pub(crate) fn run(command: &Command) -> Result<()> {
    let keys = Keys::open()?;
    match command {
        Command::Pack { from, epoch, out } => {
            let mut sources = sources(&project::path(from))?;
            if let Some(epoch) = epoch {
                set_epoch(&mut sources, *epoch)?;
            }
            let bytes = pack(&keys, &sources)?;
            std::fs::write(out, &bytes).on("write", out)?;
            show(&keys, &bytes, out)
        }
        Command::Check { bundle } => {
            let bytes = std::fs::read(bundle).on("read", bundle)?;
            show(&keys, &bytes, bundle)
        }
    }
}

/// The signed policy of the image.
pub(crate) fn of_image(keys: &Keys) -> Result<Vec<u8>> {
    pack(keys, &sources(&project::path(FOLDER))?)
}

/// Signs rules that were made elsewhere.
pub(crate) fn pack(keys: &Keys, sources: &[(String, String)]) -> Result<Vec<u8>> {
    let texts = sources.iter().map(|(name, text)| (name.as_str(), text.as_str()));
    let key = keys.ed25519(Name::Policy)?;
    pack_signed_by(texts, key.as_bytes(), |bytes| Ok(keys.sign_ed25519(Name::Policy, bytes)?))
        .map_err(|source| Error::library("these rules are no policy", source))
}

fn sources(folder: &Path) -> Result<Vec<(String, String)>> {
    let mut sources = Vec::new();
    for entry in std::fs::read_dir(folder).on("list", folder)? {
        let path = entry.on("list", folder)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        sources.push((name, std::fs::read_to_string(&path).on("read", &path)?));
    }
    sources.sort();
    Ok(sources)
}

fn set_epoch(sources: &mut [(String, String)], epoch: u64) -> Result<()> {
    let cannot =
        |source: Box<dyn std::error::Error + Send + Sync>| Error::library("bundle.toml cannot be read", source);
    let about = sources.iter_mut().find(|(name, _)| name == "bundle.toml");
    let Some((_, text)) = about else {
        return Err(Error::refused("the folder has no bundle.toml", "it holds the epoch and the test cases"));
    };
    let mut table: toml::Table = text.parse().map_err(|error: toml::de::Error| cannot(error.into()))?;
    let epoch = i64::try_from(epoch).map_err(|error| cannot(error.into()))?;
    table.insert("epoch".into(), epoch.into());
    *text = table.to_string();
    Ok(())
}

fn show(keys: &Keys, bytes: &[u8], path: &Path) -> Result<()> {
    let key = keys.ed25519(Name::Policy)?;
    let open = |bytes: &[u8]| {
        Bundle::open(bytes, key.as_bytes())
            .map_err(|source| Error::library(format!("{} cannot be loaded", path.display()), source))
    };
    let bundle = open(bytes)?;
    let (rules, cases) = bundle.counts();
    println!("policy epoch {}, {rules} rules, {cases} cases hold", bundle.epoch());
    println!("sha256 {}", bundle.digest());
    let image = open(&of_image(keys)?)?;
    let changes =
        compare(Some(&image), &bundle).map_err(|source| Error::library("the difference cannot be told", source))?;
    println!("against {FOLDER} of this tree, epoch {}:", image.epoch());
    for line in &changes.widens_agents {
        println!("  AGENTS GET MORE: {line}");
    }
    for line in &changes.changes {
        println!("  {line}");
    }
    if changes.widens_agents.is_empty() && changes.changes.is_empty() {
        println!("  no answer changes for anybody");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_epoch_is_set_and_the_rest_stays() {
        let mut sources = sources(&project::path(FOLDER)).expect("the tree's policy");
        let cases = |sources: &[(String, String)]| {
            let about = &sources.iter().find(|(name, _)| name == "bundle.toml").expect("there").1;
            let table: toml::Table = about.parse().expect("a table");
            (table["epoch"].as_integer(), table["case"].as_array().expect("cases").clone())
        };
        let before = cases(&sources).1;
        set_epoch(&mut sources, 77).expect("set");
        assert_eq!(cases(&sources), (Some(77), before));
        let texts = sources.iter().map(|(name, text)| (name.as_str(), text.as_str()));
        let bytes = aios_policy::pack(texts, &[1; 32]).expect("still a policy");
        let bundle = Bundle::open(&bytes, &aios_policy::public_key(&[1; 32])).expect("opens");
        assert_eq!(bundle.exact_epoch().number(), 77);
    }
}
