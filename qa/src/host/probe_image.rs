//! A test image: the released root with one more unit, which does to the system what no program of it can.
//!
//! The root is unpacked from the ISO, gets the unit with what it runs, and is sealed again with a hash tree of its own.
//! Nobody signs the result: it starts without firmware, from the release's kernel and initial file system.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use aios_verity::{BLOCK, Tree};

use super::guest::BUSYBOX;
use crate::Context;
use crate::scenario::Failure;
use crate::vm::process::output;
use crate::vm::{DirectKernel, DirectStart, Options};

/// The release's files on the ISO.
const ROOT: &str = "aios/root.erofs";
const UKI: &str = "aios/aios.efi";

/// A file that the release's root does not have.
pub struct Added {
    /// Where, from the root and without the first slash.
    pub path: String,
    /// What is in it.
    pub content: Vec<u8>,
    /// Its mode.
    pub mode: u32,
}

impl Added {
    /// A unit of this name.
    #[must_use]
    pub fn unit(name: &str, content: impl Into<Vec<u8>>) -> Self {
        Self { path: format!("usr/share/aios/units/{name}.toml"), content: content.into(), mode: 0o644 }
    }

    /// A script for busybox's shell, at `/usr/lib/aios/NAME`.
    #[must_use]
    pub fn script(name: &str, content: &str) -> Self {
        Self { path: format!("usr/lib/aios/{name}"), content: content.into(), mode: 0o644 }
    }
}

/// Prepares a machine that runs the test image. The unit is `qa/guest-probe`.
pub fn options(context: &Context, folder: &Path) -> Result<Options, Failure> {
    let read = |name: &str| {
        let path = context.source(format!("qa/guest-probe/{name}"));
        fs::read_to_string(&path).map_err(Failure::file("read", &path))
    };
    let added = [
        Added::script("guest-probe.sh", &read("guest-probe.sh")?),
        Added::unit("guest-probe", read("guest-probe.toml")?),
    ];
    with(context, folder, &added)
}

/// Prepares a machine whose root holds these files and busybox besides the release's.
pub fn with(context: &Context, folder: &Path, added: &[Added]) -> Result<Options, Failure> {
    let image = Image { folder: folder.join("probe-image") };
    fs::create_dir_all(&image.folder).map_err(Failure::file("make", &image.folder))?;
    let (root, uki) = (image.extract(context, ROOT)?, image.extract(context, UKI)?);
    let tree = image.folder.join("tree");
    image.run(
        "fsck.erofs",
        "erofs-utils",
        &[&format!("--extract={}", tree.display()), "--no-preserve-owner", &text(&root)],
    )?;
    let busybox = fs::read(BUSYBOX).map_err(Failure::file("read", Path::new(BUSYBOX)))?;
    let busybox = Added { path: "usr/lib/aios/busybox".into(), content: busybox, mode: 0o755 };
    for file in std::iter::once(&busybox).chain(added) {
        let to = tree.join(&file.path);
        fs::write(&to, &file.content).map_err(Failure::file("write", &to))?;
        fs::set_permissions(&to, fs::Permissions::from_mode(file.mode)).map_err(Failure::file("open", &to))?;
    }
    let medium = image.folder.join("medium/aios");
    fs::create_dir_all(&medium).map_err(Failure::file("make", &medium))?;
    let (hash, blocks) = image.seal(&tree, &medium)?;
    let iso = image.folder.join("probe.iso");
    image.run(
        "xorriso",
        "xorriso",
        &["-as", "mkisofs", "-quiet", "-r", "-V", "AIOS", "-o", &text(&iso), &text(&image.folder.join("medium"))],
    )?;
    let line = with_root(&image.line(&uki)?, &hash, blocks);
    let direct = image.direct(context, &uki, line)?;
    Ok(Options { iso: Some(iso), direct: Some(direct), ..Options::default() })
}

/// Prepares a machine that runs the release as it is, with `words` added to its command line.
pub fn with_line(context: &Context, folder: &Path, words: &str) -> Result<Options, Failure> {
    let image = Image { folder: folder.join("probe-image") };
    fs::create_dir_all(&image.folder).map_err(Failure::file("make", &image.folder))?;
    let uki = image.extract(context, UKI)?;
    let line = image.line(&uki)?;
    let direct = image.direct(context, &uki, format!("{} {words}", line.trim_end_matches('\0')))?;
    Ok(Options { iso: Some(context.iso.clone()), direct: Some(direct), ..Options::default() })
}

struct Image {
    folder: PathBuf,
}

impl Image {
    fn extract(&self, context: &Context, path: &str) -> Result<PathBuf, Failure> {
        let to = self.folder.join(path.rsplit('/').next().unwrap_or(path));
        let from = format!("/{path}");
        self.run(
            "xorriso",
            "xorriso",
            &["-osirrox", "on", "-indev", &text(&context.iso), "-extract", &from, &text(&to)],
        )?;
        Ok(to)
    }

    /// Makes the root with its tree; gives its hash and how many blocks it has.
    fn seal(&self, tree: &Path, medium: &Path) -> Result<(String, u64), Failure> {
        let root = medium.join("root.erofs");
        self.run(
            "mkfs.erofs",
            "erofs-utils",
            &["--quiet", "--force-uid=0", "--force-gid=0", &text(&root), &text(tree)],
        )?;
        let mut bytes = fs::read(&root).map_err(Failure::file("read", &root))?;
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        fs::write(&root, &bytes).map_err(Failure::file("write", &root))?;
        let hashes = Tree::over(&bytes).map_err(|error| Failure::broken(format!("no hash tree: {error}")))?;
        let file = medium.join("root.verity");
        fs::write(&file, hashes.bytes()).map_err(Failure::file("write", &file))?;
        Ok((hashes.root().to_string(), hashes.blocks()))
    }

    /// The sealed command line.
    fn line(&self, uki: &Path) -> Result<String, Failure> {
        let file = self.section(uki, ".cmdline")?;
        fs::read_to_string(&file).map_err(Failure::file("read", &file))
    }

    /// The release's kernel and initial file system, started without firmware.
    fn direct(&self, context: &Context, uki: &Path, command_line: String) -> Result<DirectKernel, Failure> {
        let initrd = Some(self.section(uki, ".initrd")?);
        Ok(DirectKernel { kernel: context.kernel.clone(), initrd, command_line, start: DirectStart::Alone })
    }

    fn section(&self, uki: &Path, name: &str) -> Result<PathBuf, Failure> {
        let to = self.folder.join(name.trim_start_matches('.'));
        self.run("objcopy", "binutils", &["-O", "binary", "--only-section", name, &text(uki), &text(&to)])?;
        Ok(to)
    }

    fn run(&self, program: &str, package: &'static str, arguments: &[&str]) -> Result<(), Failure> {
        let arguments: Vec<_> = arguments.iter().map(Into::into).collect();
        output(program, package, &arguments)?;
        Ok(())
    }
}

/// The sealed command line with another root.
fn with_root(line: &str, hash: &str, blocks: u64) -> String {
    let word = |word: &str| match word.split_once('=') {
        Some(("aios.root", _)) => format!("aios.root={hash}"),
        Some(("aios.blocks", _)) => format!("aios.blocks={blocks}"),
        _ => word.to_owned(),
    };
    line.trim_end_matches('\0').split_whitespace().map(word).collect::<Vec<_>>().join(" ")
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_root_is_replaced() {
        let line = "aios.root=ab aios.blocks=1 aios.version=0.1.0 lockdown=integrity\0";
        assert_eq!(with_root(line, "cd", 2), "aios.root=cd aios.blocks=2 aios.version=0.1.0 lockdown=integrity");
    }
}
