//! What was built, handed over by `cargo xtask`.

use std::path::{Path, PathBuf};

/// The built system, and a way to order another release of it.
pub struct Context {
    /// The release that the ISO holds, such as `0.1.0`.
    pub version: String,
    /// How long the run may take.
    pub extent: Extent,
    /// The live ISO.
    pub iso: PathBuf,
    /// The kernel alone, for machines that start without firmware.
    pub kernel: PathBuf,
    /// A variable store of the firmware with our keys enrolled.
    pub enrolled_vars: PathBuf,
    /// One with the keys that PCs are sold with.
    pub ordinary_vars: PathBuf,
    /// The same where the machine's owner has enrolled our certificate.
    pub owner_vars: PathBuf,
    /// What was built, in JSON.
    pub manifest: PathBuf,
    /// The Python that has virt-firmware, which edits variable stores.
    pub variable_editor: PathBuf,
    /// The folder of static programs built for the image; `aios` there also runs on this machine.
    pub programs: PathBuf,
    /// The repository.
    pub workspace: PathBuf,
    /// What every start of our kernel has on its command line.
    pub kernel_line: &'static str,
    /// Fetches Debian's kernel of our series.
    pub debian_kernel: Box<dyn Fn() -> Result<PathBuf, String>>,
    /// Where results go: `target/aios`.
    pub output: PathBuf,
    /// Makes an update repository; the text says why it could not.
    pub make_release: ReleaseMaker,
    /// Makes the minimal Debian that measurements stand beside.
    pub make_debian: Box<dyn Fn() -> Result<Debian, String>>,
    /// Fetches a container runtime, unpacked, that measurements stand beside.
    pub container_runtime: Box<dyn Fn() -> Result<PathBuf, String>>,
    /// Fetches s6 and runit, unpacked, that measurements stand beside.
    pub supervisors: Box<dyn Fn() -> Result<PathBuf, String>>,
    /// Makes the kernel image that carries its own root, and starts with nothing else.
    pub make_standalone: Box<dyn Fn() -> Result<PathBuf, String>>,
    /// Makes an installed disk as an image file.
    pub make_disk: DiskMaker,
    /// Packs and signs a policy from sources of (file name, text).
    pub make_bundle: BundleMaker,
}

/// How long showing and measuring may take, where more rounds say more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Minutes.
    Usual,
    /// Hours.
    Long,
}

impl Extent {
    /// One of two numbers that the same code takes.
    pub fn choose<T>(self, usual: T, long: T) -> T {
        match self {
            Self::Usual => usual,
            Self::Long => long,
        }
    }
}

/// A minimal Debian. It says `console ready` and the seconds since its kernel's start when it would ask for a login.
#[derive(Debug, Clone)]
pub struct Debian {
    /// Its own kernel.
    pub kernel: PathBuf,
    /// What that kernel starts with.
    pub initrd: PathBuf,
    /// Its root, without a partition table. Not to be written to.
    pub disk: PathBuf,
}

/// Fills a folder with an update repository.
pub type ReleaseMaker = Box<dyn Fn(&ReleaseOrder) -> Result<(), String>>;

/// Packs and signs a policy.
pub type BundleMaker = Box<dyn Fn(&[(String, String)]) -> Result<Vec<u8>, String>>;

/// Writes an image of an installed disk.
pub type DiskMaker = Box<dyn Fn(&DiskOrder) -> Result<(), String>>;

/// An installed disk to be made.
#[derive(Debug, Clone)]
pub struct DiskOrder {
    /// The answers, as for an installation.
    pub answers: PathBuf,
    /// As `cargo xtask disk --format` calls it.
    pub format: &'static str,
    /// How large the disk is.
    pub bytes: u64,
    /// The image.
    pub out: PathBuf,
}

/// An update repository to be made.
#[derive(Debug, Clone)]
pub struct ReleaseOrder {
    /// Its version.
    pub version: String,
    /// The folder to fill; it can be served as static files.
    pub out: PathBuf,
    /// Whether it works.
    pub payload: Payload,
}

/// What a release that is ordered for a test does when it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payload {
    /// It is the same system under another version.
    Works,
    /// Its first process ends at once, so the kernel panics and the machine starts again.
    PanicsAtBoot,
}

impl Context {
    /// The folder where scenarios leave their console logs and disks.
    #[must_use]
    pub fn results(&self) -> PathBuf {
        self.output.join("qa")
    }

    /// One of the image's programs.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }

    /// A file of the repository.
    #[must_use]
    pub fn source(&self, path: impl AsRef<Path>) -> PathBuf {
        self.workspace.join(path)
    }
}
