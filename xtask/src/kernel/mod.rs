//! `cargo xtask kernel`: our kernel from its pinned source with our configuration.
//!
//! One image without modules. The configuration is `allnoconfig` plus the fragments; what came out is read again, because
//! Kconfig drops an option whose dependencies do not hold without a word.

mod apt;
mod config;
mod debian;
mod firmware;
mod hardware;
mod modinfo;
mod source;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cache::{Cache, Key};
use crate::error::{Error, OnFile, Result};
use crate::tool::Tool;
use crate::{project, uki};

pub(crate) use firmware::Blob;
pub(crate) use source::Origin;

/// Names the public hardening checker, a Python program, to be asked as well.
const CHECKER: &str = "KHC";

/// What `cargo xtask kernel` is asked for.
#[derive(Debug, Clone, Copy, clap::Subcommand)]
pub(crate) enum Command {
    /// Checks what the kernel is told against the fragments and `required.toml`, and lists the exceptions.
    ///
    /// With KHC=path the public kernel-hardening-checker at that path is asked too.
    Config,
    /// Builds the kernel, unless the cache has it.
    Build,
    /// Moves the pin to the newest version of the series.
    Bump,
    /// Computes which of the devices that Debian's kernel is for ours is for, and compares docs/hardware.md.
    Hardware {
        /// Write docs/hardware.md in place of comparing it.
        #[arg(long)]
        write: bool,
    },
}

/// A built kernel.
pub(crate) struct Kernel {
    /// The image, an EFI program.
    pub(crate) image: PathBuf,
    /// What `uname -r` says.
    pub(crate) release: String,
    /// Which source it was made from.
    pub(crate) origin: Origin,
    /// The firmware files that were added to it.
    pub(crate) firmware: Vec<Blob>,
    /// The folder of everything that its build left.
    place: PathBuf,
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
            let place = cache.place("kernel", &key(&pin, &firmware::blobs()?)?);
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
            let required = required()?;
            print!("{}", kernel.check(&required)?);
            kernel.ask_checker()
        }
        Some(Command::Bump) => bump(cache),
        Some(Command::Hardware { write }) => {
            let page = if write { hardware::Page::Write } else { hardware::Page::Compare };
            hardware::run(cache, &build(cache)?, &read_pin()?, page)
        }
    }
}

/// The kernel, built now or earlier.
pub(crate) fn build(cache: &Cache) -> Result<Kernel> {
    let pin = read_pin()?;
    let firmware = firmware::blobs()?;
    let key = key(&pin, &firmware)?;
    let place = cache.step("kernel", &key, |out| {
        let source = source::obtain(cache, &pin)?;
        compile(&cache.unfinished("kernel", &key), &source, &firmware, out)
    })?;
    let origin = Origin::read(&place.join("origin.json"))?;
    origin.announce(&pin);
    let release = place.join("release");
    let release = fs::read_to_string(&release).on("read", &release)?.trim().to_owned();
    let kernel = Kernel { image: place.join("bzImage"), release, origin, firmware, place };
    kernel.check(&required()?)?;
    Ok(kernel)
}

/// Debian's kernel image of our series, a peer of the measurements.
pub(crate) fn debian_image(cache: &Cache) -> Result<PathBuf> {
    Ok(debian::Debian::obtain(cache, &read_pin()?)?.image())
}

/// The archive of the source that the kernel is made from.
pub(crate) fn source_archive(cache: &Cache) -> Result<PathBuf> {
    Ok(source::obtain(cache, &read_pin()?)?.tarball)
}

impl Kernel {
    /// Refuses a kernel that a release cannot be made from.
    pub(crate) fn must_be_pinned(&self) -> Result<()> {
        self.origin.must_be_pinned(&read_pin()?)
    }

    /// What its drivers say of themselves.
    fn modinfo(&self) -> PathBuf {
        self.place.join("modinfo")
    }

    fn config(&self) -> PathBuf {
        self.place.join("config")
    }

    fn check<'a>(&self, required: &'a config::Required) -> Result<config::Report<'a>> {
        let options = self.place.join("options");
        let options = fs::read_to_string(&options).on("read", &options)?;
        let known = options.lines().map(str::to_owned).collect();
        check_config(&self.config(), &known, &all_fragments()?, required)
    }

    /// Asks the public checker, when there is one: a second opinion, not a part of the build.
    fn ask_checker(&self) -> Result<()> {
        let Some(checker) = std::env::var_os(CHECKER).filter(|value| !value.is_empty()) else {
            return Ok(());
        };
        let line = project::output()?.join("cmdline");
        fs::write(&line, uki::HARDENING).on("write", &line)?;
        let checker = Tool::new("python3").arg(checker).arg("-c").arg(self.config()).arg("-l").arg(line);
        checker.args(["-m", "show_fail"]).shown()
    }
}

/// Compiles in `work`, which may hold the beginning of the same work.
fn compile(work: &Path, source: &source::Source, firmware: &[Blob], out: &Path) -> Result<()> {
    eprintln!("building linux {}; on two processors this takes about twelve minutes", source.origin.version);
    let fragments = work.join("all.config");
    let make = |target: &str| {
        Tool::new("make")
            .directory(work)
            .env("KBUILD_BUILD_TIMESTAMP", "Thu Jan  1 00:00:00 UTC 2026")
            .env("KBUILD_BUILD_USER", "aios")
            .env("KBUILD_BUILD_HOST", "aios")
            .env("KBUILD_BUILD_VERSION", "1")
            .env("KCONFIG_ALLCONFIG", &fragments)
            // Tools that the kernel has no use for: their versions would be written into its configuration.
            .args(["RUSTC=false", "BINDGEN=false", "PAHOLE=false"])
            .arg(format!("-j{}", std::thread::available_parallelism().map_or(2, usize::from)))
            .arg(target)
    };
    let configured = work.join("configured-by-xtask");
    if configured.exists() {
        eprintln!("going on where an earlier build stopped");
    } else {
        crate::cache::remove_tree(work)?;
        fs::create_dir_all(work).on("make", work)?;
        source::unpack(&source.tarball, work)?;
        firmware::place(firmware, work)?;
        let asked = all_fragments()? + &firmware::fragment(firmware);
        fs::write(&fragments, &asked).on("write", &fragments)?;
        make("allnoconfig").run()?;
        let mut known = BTreeSet::new();
        collect_options(work, &mut known)?;
        // Before the long part: a row that did not survive is known after a second.
        check_config(&work.join(".config"), &known, &asked, &required()?)?;
        let names: Vec<&str> = known.iter().map(String::as_str).collect();
        let options = work.join("options");
        fs::write(&options, names.join("\n") + "\n").on("write", &options)?;
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
    copy("modules.builtin.modinfo", "modinfo")?;
    copy("options", "options")?;
    source.origin.write(&out.join("origin.json"))?;
    crate::cache::remove_tree(work)
}

/// Every option that the Kconfig files of a source declare.
fn collect_options(folder: &Path, known: &mut BTreeSet<String>) -> Result<()> {
    for entry in fs::read_dir(folder).on("list", folder)? {
        let entry = entry.on("list", folder)?;
        let path = entry.path();
        if entry.file_type().on("look at", &path)?.is_dir() {
            collect_options(&path, known)?;
        } else if entry.file_name().to_string_lossy().starts_with("Kconfig") {
            let text = fs::read(&path).on("read", &path)?;
            known.extend(config::declared(&String::from_utf8_lossy(&text)).map(str::to_owned));
        }
    }
    Ok(())
}

/// Everything that decides the image's bytes: source, configuration, firmware, compiler.
fn key(pin: &Pin, firmware: &[Blob]) -> Result<Key> {
    let compiler = Tool::new("gcc").arg("--version").output()?;
    let linker = Tool::new("ld").arg("--version").output()?;
    let first = |text: &str| text.lines().next().unwrap_or_default().to_owned();
    let mut key = Key::new("kernel 3")
        .text("version", &pin.version)
        .text("sha256", &pin.sha256)
        .text("fragments", &all_fragments()?)
        .text("firmware", &firmware::summary(firmware))
        .text("compiler", &first(&compiler))
        .text("linker", &first(&linker));
    if let Some(tarball) = source::given() {
        key = key.file("source", &tarball)?;
    }
    Ok(key)
}

fn check_config<'a>(
    config: &Path,
    known: &BTreeSet<String>,
    fragments: &str,
    required: &'a config::Required,
) -> Result<config::Report<'a>> {
    let config = fs::read_to_string(config).on("read", config)?;
    config::check(&config::Told { config: &config, fragments, known, line: uki::HARDENING }, required)
}

fn required() -> Result<config::Required> {
    config::Required::parse(&project::read("kernel-config/required.toml")?)
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
    let (version, sha256) = source::newest(cache, &old.series)?;
    let path = project::path("kernel-config/kernel.toml");
    let text = moved(&project::read("kernel-config/kernel.toml")?, &old, &version, &sha256);
    fs::write(&path, text).on("write", &path)?;
    println!("{} -> {version}", old.version);
    Ok(())
}

/// The text of `kernel.toml` with another pin; its comments stay.
fn moved(text: &str, old: &Pin, version: &str, sha256: &str) -> String {
    text.replace(&format!("\"{}\"", old.version), &format!("\"{version}\"")).replace(&old.sha256, sha256)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pin_moves_and_comments_stay() {
        let text = "# Version 7.2.1-1 was the first.\nseries = \"7.2\"\nversion = \"7.2.1-1\"\nsha256 = \"aa\"\n";
        let old: Pin = toml::from_str(text).expect("understood");
        let new = moved(text, &old, "7.2.12-1", "bb");
        let pin: Pin = toml::from_str(&new).expect("understood");
        assert_eq!((pin.series.as_str(), pin.version.as_str(), pin.sha256.as_str()), ("7.2", "7.2.12-1", "bb"));
        assert!(new.starts_with("# Version 7.2.1-1"));
    }
}
