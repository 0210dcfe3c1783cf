//! `cargo xtask kernel`: our kernel from its pinned source with our configuration.
//!
//! One image without modules. The configuration is `allnoconfig` plus the fragments; what came out is read again, because
//! Kconfig drops an option whose dependencies do not hold without a word.

mod config;
mod source;

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cache::{Cache, Key};
use crate::error::{Error, OnFile, Result};
use crate::project;
use crate::tool::Tool;

pub(crate) use source::Origin;

/// What `cargo xtask kernel` is asked for.
#[derive(Debug, Clone, Copy, clap::Subcommand)]
pub(crate) enum Command {
    /// Checks the configuration that the kernel was built with against the fragments and `required.toml`.
    Config,
    /// Builds the kernel, unless the cache has it.
    Build,
    /// Moves the pin to the newest version of the series.
    Bump,
}

/// A built kernel.
pub(crate) struct Kernel {
    /// The image, an EFI program.
    pub(crate) image: PathBuf,
    /// What `uname -r` says.
    pub(crate) release: String,
    /// Which source it was made from.
    pub(crate) origin: Origin,
    /// The final configuration.
    config: PathBuf,
}

/// `kernel.toml`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pin {
    series: String,
    version: String,
    sha256: String,
}

pub(crate) fn run(command: Option<Command>, cache: &Cache) -> Result<()> {
    match command {
        None => {
            let pin = read_pin()?;
            let place = cache.place("kernel", &key(&pin)?);
            let state = if place.is_dir() { "built" } else { "not built yet" };
            println!("linux {} of series {}, {state}: {}", pin.version, pin.series, place.display());
            Ok(())
        }
        Some(Command::Build) => {
            let kernel = build(cache)?;
            println!("{} {}", kernel.release, kernel.image.display());
            Ok(())
        }
        Some(Command::Config) => {
            let kernel = build(cache)?;
            let held = check_config(&kernel.config)?;
            println!("{held} options of the fragments and of required.toml hold in {}", kernel.config.display());
            Ok(())
        }
        Some(Command::Bump) => bump(cache),
    }
}

/// The kernel, built now or earlier.
pub(crate) fn build(cache: &Cache) -> Result<Kernel> {
    let pin = read_pin()?;
    let key = key(&pin)?;
    let place = cache.step("kernel", &key, |out| {
        let source = source::obtain(cache, &pin)?;
        compile(&cache.unfinished("kernel", &key), &source, out)
    })?;
    let origin = Origin::read(&place.join("origin.json"))?;
    origin.announce(&pin);
    let release = place.join("release");
    let release = fs::read_to_string(&release).on("read", &release)?.trim().to_owned();
    let kernel = Kernel { image: place.join("bzImage"), release, origin, config: place.join("config") };
    check_config(&kernel.config)?;
    Ok(kernel)
}

/// The archive of the source that the kernel is made from.
pub(crate) fn source_archive(cache: &Cache) -> Result<PathBuf> {
    Ok(source::obtain(cache, &read_pin()?)?.tarball)
}

/// Compiles in `work`, which may hold the beginning of the same work.
fn compile(work: &Path, source: &source::Source, out: &Path) -> Result<()> {
    eprintln!("building linux {}; on two processors this takes about ten minutes", source.origin.version);
    let fragments = work.join("all.config");
    let make = |target: &str| {
        Tool::new("make")
            .directory(work)
            .env("KBUILD_BUILD_TIMESTAMP", "Thu Jan  1 00:00:00 UTC 2026")
            .env("KBUILD_BUILD_USER", "aios")
            .env("KBUILD_BUILD_HOST", "aios")
            .env("KBUILD_BUILD_VERSION", "1")
            .env("KCONFIG_ALLCONFIG", &fragments)
            .arg(format!("-j{}", std::thread::available_parallelism().map_or(2, usize::from)))
            .arg(target)
    };
    let configured = work.join("configured-by-xtask");
    if configured.exists() {
        eprintln!("going on where an earlier build stopped");
    } else {
        crate::cache::remove_tree(work)?;
        fs::create_dir_all(work).on("make", work)?;
        Tool::new("tar").arg("-xf").arg(&source.tarball).args(["--strip-components=1", "-C"]).arg(work).run()?;
        fs::write(&fragments, all_fragments()?).on("write", &fragments)?;
        make("allnoconfig").run()?;
        // Before the long part: a row that did not survive is known after a second.
        check_config(&work.join(".config"))?;
        fs::write(&configured, "").on("write", &configured)?;
    }
    make("bzImage").logged(&out.join("build.log"))?;
    let copy = |from: &str, to: &str| {
        let from = work.join(from);
        fs::copy(&from, out.join(to)).map(|_| ()).on("copy", &from)
    };
    copy("arch/x86/boot/bzImage", "bzImage")?;
    copy(".config", "config")?;
    copy("include/config/kernel.release", "release")?;
    source.origin.write(&out.join("origin.json"))?;
    crate::cache::remove_tree(work)
}

/// Everything that decides the image's bytes: source, configuration, compiler.
fn key(pin: &Pin) -> Result<Key> {
    let compiler = Tool::new("gcc").arg("--version").output()?;
    let linker = Tool::new("ld").arg("--version").output()?;
    let first = |text: &str| text.lines().next().unwrap_or_default().to_owned();
    let mut key = Key::new("kernel 1")
        .text("version", &pin.version)
        .text("sha256", &pin.sha256)
        .text("fragments", &all_fragments()?)
        .text("compiler", &first(&compiler))
        .text("linker", &first(&linker));
    if let Some(tarball) = source::given() {
        key = key.file("source", &tarball)?;
    }
    Ok(key)
}

fn check_config(config: &Path) -> Result<usize> {
    let text = fs::read_to_string(config).on("read", config)?;
    let required = config::Required::parse(&project::read("kernel-config/required.toml")?)?;
    config::check(&text, &all_fragments()?, &required)
}

fn all_fragments() -> Result<String> {
    let mut all = String::new();
    for name in project::list("kernel-config/fragments")? {
        all += &project::read(&format!("kernel-config/fragments/{name}"))?;
    }
    Ok(all)
}

fn read_pin() -> Result<Pin> {
    toml::from_str(&project::read("kernel-config/kernel.toml")?)
        .map_err(|source| Error::library("kernel-config/kernel.toml is not understood", source))
}

fn bump(cache: &Cache) -> Result<()> {
    let old = read_pin()?;
    let source = source::newest(cache, &old.series)?;
    let path = project::path("kernel-config/kernel.toml");
    let text = project::read("kernel-config/kernel.toml")?
        .replace(&old.version, &source.origin.version)
        .replace(&old.sha256, &source.origin.sha256);
    fs::write(&path, text).on("write", &path)?;
    println!("{} -> {}", old.version, source.origin.version);
    Ok(())
}
