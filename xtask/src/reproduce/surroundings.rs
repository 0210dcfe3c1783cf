//! Where and as whom a build runs.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::cache::Cache;
use crate::error::{Error, OnFile, Result};
use crate::host::present;
use crate::keys::{Keys, Name};
use crate::project;
use crate::tool::Tool;

/// Makes every dynamic program see another date.
const DATE_SHIFTER: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

/// The compiler stands still when its clock is shifted; cargo, build scripts and tools do not.
const COMPILER: &str = "#!/bin/sh\nunset LD_PRELOAD\nexec RUSTC \"$@\"\n";

/// A user that exists nowhere.
const STRANGER: u32 = 21_345;

/// What a build must not depend on.
#[derive(Debug)]
pub(super) struct Surroundings {
    pub(super) name: &'static str,
    folder: PathBuf,
    user: User,
    umask: &'static str,
    locale: &'static str,
    zone: &'static str,
    date: Date,
    processors: Processors,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum User {
    /// Who runs this.
    Same,
    /// Needs root here.
    Stranger,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Date {
    Today,
    NextYear,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Processors {
    All,
    One,
}

impl Surroundings {
    pub(super) fn usual(place: &Path) -> Self {
        Self {
            name: "build one",
            folder: place.join("one"),
            user: User::Same,
            umask: "022",
            locale: "C.UTF-8",
            zone: "UTC",
            date: Date::Today,
            processors: Processors::All,
        }
    }

    pub(super) fn strange(place: &Path) -> Self {
        Self {
            name: "build two",
            folder: place.join("another/deeper/place-for-two"),
            user: if rustix::process::geteuid().is_root() { User::Stranger } else { User::Same },
            umask: "027",
            locale: "tr_TR.UTF-8",
            zone: "XYZ-13:45",
            date: if present(DATE_SHIFTER) { Date::NextYear } else { Date::Today },
            processors: Processors::One,
        }
    }

    /// Where its files are.
    pub(super) fn outputs(&self) -> PathBuf {
        self.target().join("aios")
    }

    fn tree(&self) -> PathBuf {
        self.folder.join("tree")
    }

    fn target(&self) -> PathBuf {
        self.folder.join("made")
    }

    fn cache(&self) -> PathBuf {
        self.folder.join("cache")
    }

    fn home(&self) -> PathBuf {
        self.folder.join("home")
    }

    /// Copies the tree and what builds only read: crates, the kernel's source, and its result if that is wanted.
    pub(super) fn prepare(&self, cache: &Cache, commit: &str, with_cached_kernel: bool) -> Result<()> {
        fs::create_dir_all(&self.folder).on("make", &self.folder)?;
        let git = || Tool::new("git").args(["-c", "safe.directory=*"]);
        if !self.tree().exists() {
            git()
                .args(["clone", "--quiet", "--no-hardlinks", "--no-checkout"])
                .arg(project::root())
                .arg(self.tree())
                .run()?;
        }
        let in_tree = || git().arg("-C").arg(self.tree());
        // What is checked out here need not be a branch.
        in_tree().args(["fetch", "--quiet"]).arg(project::root()).arg("HEAD").run()?;
        in_tree().args(["checkout", "--quiet", "--force", "--detach", commit]).run()?;
        let registry = self.home().join(".cargo/registry");
        fs::create_dir_all(&registry).on("make", &registry)?;
        let cargo_home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
        let cargo_home =
            cargo_home.or_else(|| std::env::home_dir().map(|home| home.join(".cargo"))).unwrap_or_default();
        let mut copies = vec![
            (cargo_home.join("registry/index"), registry.join("index")),
            (cargo_home.join("registry/cache"), registry.join("cache")),
            (cargo_home.join("config.toml"), self.home().join(".cargo/config.toml")),
            (cache.results_of("kernel-source"), self.cache().join("kernel-source")),
        ];
        if with_cached_kernel {
            Tool::new(builder()?).env(project::TREE, self.tree()).args(["--no-install", "kernel", "build"]).run()?;
            copies.push((cache.results_of("kernel"), self.cache().join("kernel")));
        }
        fs::create_dir_all(self.cache()).on("make", &self.cache())?;
        for (from, to) in copies.iter().filter(|(from, to)| from.exists() && !to.exists()) {
            Tool::new("cp").args(["--recursive", "--no-target-directory"]).arg(from).arg(to).run()?;
        }
        if self.user == User::Stranger {
            self.copy_toolchain()?;
        }
        // Written once: cargo takes a newer file for another compiler and begins again.
        let compiler = self.compiler()?;
        if self.date == Date::NextYear && !compiler.exists() {
            let real = self.toolchain()?.join("bin/rustc");
            fs::write(&compiler, COMPILER.replace("RUSTC", &real.to_string_lossy())).on("write", &compiler)?;
            fs::set_permissions(&compiler, fs::Permissions::from_mode(0o755)).on("set the mode of", &compiler)?;
        }
        if self.user == User::Stranger {
            Tool::new("chown").arg("--recursive").arg(format!("{STRANGER}:{STRANGER}")).arg(&self.folder).run()?;
        }
        Ok(())
    }

    /// Builds the ISO and what is beside it.
    pub(super) fn build(&self, keys: &Keys) -> Result<()> {
        let mut words: Vec<String> = Vec::new();
        let mut add = |more: &[&str]| words.extend(more.iter().map(ToString::to_string));
        if self.user == User::Stranger {
            // Another user, who may still read this one's keys.
            let id = STRANGER.to_string();
            add(&["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups"]);
            add(&["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]);
        }
        if self.processors == Processors::One {
            add(&["taskset", "--cpu-list", "0"]);
        }
        // The date only now: what shifts it leaves something that belongs to the user of its first process.
        add(&["sh", "-c", "umask \"$1\"; shift; exec env \"$@\"", "sh", self.umask]);
        if self.date == Date::NextYear {
            add(&[&format!("LD_PRELOAD={DATE_SHIFTER}"), "FAKETIME=+400d", "NO_FAKE_STAT=1"]);
            add(&["FAKETIME_DONT_FAKE_MONOTONIC=1"]);
        }
        Tool::new(&words[0])
            .args(&words[1..])
            .env("AIOS_CACHE", self.cache())
            .env("AIOS_KEYS", keys.public(Name::Release).parent().unwrap_or(Path::new("/")))
            .env("CARGO_HOME", self.home().join(".cargo"))
            .env("CARGO_NET_OFFLINE", "true")
            .env("CARGO_TARGET_DIR", self.target())
            .env("CARGO", self.toolchain()?.join("bin/cargo"))
            .env("RUSTC", self.compiler()?)
            .env("PATH", self.programs()?)
            .env("HOME", self.home())
            .env("LC_ALL", self.locale)
            .env("LANG", self.locale)
            .env("TZ", self.zone)
            .env(project::TREE, self.tree())
            // Cargo names its own compiler's libraries to what it runs; another compiler would take that for its home.
            .without_env("LD_LIBRARY_PATH")
            .arg(builder()?)
            .args(["--no-install", "iso"])
            .run()
    }

    /// Where cargo and the compiler are themselves, not what chooses them by the home of its user.
    fn toolchain(&self) -> Result<PathBuf> {
        match self.user {
            User::Same => toolchain_here(&self.tree()),
            User::Stranger => Ok(self.folder.with_file_name("toolchain")),
        }
    }

    /// What cargo and build scripts are to call.
    fn compiler(&self) -> Result<PathBuf> {
        match self.date {
            Date::Today => Ok(self.toolchain()?.join("bin/rustc")),
            Date::NextYear => Ok(self.folder.join("rustc")),
        }
    }

    /// Where programs are looked for: the kernel's configuration asks the first `rustc` there for its version, and a
    /// compiler with a shifted clock would never answer.
    fn programs(&self) -> Result<OsString> {
        let usual = std::env::var_os("PATH").unwrap_or_default();
        let folder = self.compiler()?.parent().map(Path::to_owned);
        let folders = folder.into_iter().chain(std::env::split_paths(&usual));
        std::env::join_paths(folders).map_err(|error| {
            Error::refused(
                format!("{} cannot be searched for programs: {error}", self.folder.display()),
                "name a folder without ':' in its path with --place",
            )
        })
    }

    /// The compiler may be in a home that only its owner enters. Links suffice, and nothing in them is changed.
    fn copy_toolchain(&self) -> Result<()> {
        let (from, to) = (toolchain_here(&self.tree())?, self.toolchain()?);
        if to.exists() {
            return Ok(());
        }
        let copy = |how: &str| Tool::new("cp").args(["--archive", how]).arg(&from).arg(&to).run();
        // Links are for one file system only.
        copy("--link").or_else(|_| crate::cache::remove_tree(&to).and_then(|()| copy("--no-target-directory")))
    }
}

fn toolchain_here(tree: &Path) -> Result<PathBuf> {
    let sysroot = Tool::new("rustc").directory(tree).args(["--print", "sysroot"]).output()?;
    Ok(PathBuf::from(sysroot.trim()))
}

/// This program.
fn builder() -> Result<PathBuf> {
    std::env::current_exe().on("find", Path::new("/proc/self/exe"))
}

impl fmt::Display for Surroundings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = match self.user {
            User::Same => "this user".to_owned(),
            User::Stranger => format!("user {STRANGER}"),
        };
        let date = match self.date {
            Date::Today => "today's date",
            Date::NextYear => "a date 400 days from now (but for the compiler, which stands still then)",
        };
        let processors = match self.processors {
            Processors::All => "all processors",
            Processors::One => "one processor",
        };
        let Self { umask, locale, zone, .. } = self;
        write!(formatter, "{user}, umask {umask}, {locale}, time zone {zone}, {date}, {processors}, ")?;
        write!(formatter, "{}", self.folder.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_for_a_compiler_by_name_gets_the_one_whose_clock_is_right() {
        let strange = Surroundings { date: Date::NextYear, ..Surroundings::strange(Path::new("/nowhere")) };
        let programs = strange.programs().expect("a path");
        let first = std::env::split_paths(&programs).next().expect("a folder");
        assert_eq!(first.join("rustc"), strange.compiler().expect("a compiler"));
        let colon = Surroundings { date: Date::NextYear, ..Surroundings::strange(Path::new("/no:where")) };
        let error = colon.programs().expect_err("no path can hold it");
        assert!(error.to_string().contains("/no:where"), "{error}");
        assert!(error.hint().is_some_and(|hint| hint.contains("--place")), "{error}");
    }
}
