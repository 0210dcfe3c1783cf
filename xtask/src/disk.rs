//! `cargo xtask disk`: an installed disk as an image file, by the same code as the installer's.

use std::fs;
use std::path::{Path, PathBuf};

use aios_image::data::SeedFile;
use aios_image::disk::{self, Payload};
use aios_image::release::ReleaseKey;
use aios_policy::operators::SALT_LENGTH;
use clap::ValueEnum as _;
use installer::answers::{Answers, Data};
use installer::seed::{self, Users};

use crate::cache::{Cache, timed};
use crate::error::{Error, OnFile, Result};
use crate::format::DiskFormat;
use crate::keys::{Keys, Name};
use crate::output::whole;
use crate::project;
use crate::system::{Order, System};

/// Decides every identifier on the disk, so that equal releases give equal images.
const SEED: &[u8] = b"aios disk image 1";

/// The operator of a disk made without answers.
const OPERATOR: &str = "operator";

/// What `cargo xtask disk` is asked for.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Where to write it; target/aios/aios-<version>.<format> unless given
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The image's format
    #[arg(long, value_enum, default_value_t = DiskFormat::Raw)]
    format: DiskFormat,
    /// Answers as for an installation: the operator, the host's name. Without them an operator with a new pass phrase
    /// is made and shown
    #[arg(long, value_name = "FILE")]
    answers: Option<PathBuf>,
    /// The disk's size
    #[arg(long, default_value = "8G", value_parser = qa::vm::parse_size)]
    size: u64,
    /// Bytes in its sectors: 512, or 4096 as some NVMe disks have
    #[arg(long, default_value_t = 512, value_parser = sector)]
    sector: u32,
}

impl Options {
    /// The options for what a scenario orders.
    pub(crate) fn ordered(order: &qa::DiskOrder) -> Result<Self> {
        let format = DiskFormat::from_str(order.format, false).map_err(|why| Error::refused(why, ""))?;
        let (out, answers) = (Some(order.out.clone()), Some(order.answers.clone()));
        Ok(Self { out, format, answers, size: order.bytes, sector: 512 })
    }
}

/// Makes the image and gives its path.
pub(crate) fn make(cache: &Cache, keys: &Keys, options: &Options) -> Result<PathBuf> {
    let system = System::build(cache, keys, &Order::working(project::VERSION))?;
    let format = options.format.name();
    let out = match &options.out {
        Some(out) => out.clone(),
        None => project::output()?.join(format!("aios-{}.{format}", system.version)),
    };
    let first_files = first_files(options.answers.as_deref())?;
    timed("disk", || {
        let folder = cache.scratch("release")?;
        let size = disk::Size { bytes: options.size, sector: options.sector };
        let assemble = |raw: &Path| assemble(keys, &system, size, &first_files, &folder, raw);
        whole(&out, |out| {
            if options.format == DiskFormat::Raw {
                return assemble(out);
            }
            let raw = folder.join("disk.raw");
            assemble(&raw)?;
            options.format.write(&raw, options.sector, out)
        })?;
        crate::cache::remove_tree(&folder)
    })?;
    Ok(out)
}

/// Writes an installed disk with this system to `out`. The release is written to `folder` on the way.
pub(crate) fn assemble(
    keys: &Keys,
    system: &System,
    size: disk::Size,
    first_files: &[SeedFile],
    folder: &Path,
    out: &Path,
) -> Result<()> {
    system.write_release(keys, folder)?;
    let path = keys.public(Name::Release);
    let key = ReleaseKey::parse(&fs::read_to_string(&path).on("read", &path)?)
        .map_err(|source| Error::library(format!("{} is no release key", path.display()), source))?;
    let failed = |source| Error::library(format!("{} cannot be made", out.display()), source);
    let payload = Payload::open(folder, &key).map_err(failed)?;
    let seed = *aios_ids::Digest::of(SEED).as_bytes();
    disk::assemble(out, size, &payload, first_files, &seed).map_err(failed)
}

fn sector(text: &str) -> std::result::Result<u32, String> {
    match text {
        "512" => Ok(512),
        "4096" => Ok(4096),
        _ => Err("sectors have 512 or 4096 bytes".to_owned()),
    }
}

/// What the services find at the first start.
fn first_files(answers: Option<&Path>) -> Result<Vec<SeedFile>> {
    let text = match answers {
        Some(path) => fs::read(path).on("read", path)?,
        None => {
            let pass_phrase = random_digits()?;
            println!("operator: {OPERATOR}, pass phrase: {pass_phrase}");
            format!("disk = \"only-empty\"\noperator = \"{OPERATOR}\"\npass_phrase = \"{pass_phrase}\"\n").into_bytes()
        }
    };
    let mut salt = [0; SALT_LENGTH];
    fill(&mut salt)?;
    let named = answers.map_or_else(|| "the answers made here".to_owned(), |path| path.display().to_string());
    let answers = Answers::parse(&text, &salt)
        .map_err(|source| Error::library(format!("{named} cannot be used as answers"), source))?;
    if let Data::Encrypted(_) = answers.data {
        return Err(Error::refused(
            format!("{named} want encrypted data, which only the kernel of an installation can fill"),
            "leave data_pass_phrase out, or install from the ISO",
        ));
    }
    let users = Users::parse(&project::read("rootfs/users.toml")?)
        .map_err(|source| Error::library("rootfs/users.toml cannot be used", source))?;
    seed::files(&answers, &users).map_err(|source| Error::library("rootfs/users.toml cannot be used", source))
}

/// A pass phrase that can be typed: four groups of five hexadecimal digits, 80 bits.
fn random_digits() -> Result<String> {
    let mut bytes = [0; 32];
    fill(&mut bytes)?;
    let digits = aios_ids::Digest::from_bytes(bytes).to_string();
    Ok([0, 5, 10, 15].map(|at| &digits[at..at + 5]).join("-"))
}

fn fill(bytes: &mut [u8]) -> Result<()> {
    getrandom::fill(bytes).map_err(|source| Error::library("the kernel gives no random bytes", source))
}
