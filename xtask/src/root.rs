//! The root file system: EROFS from `rootfs/files.toml`, and its dm-verity tree.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use aios_ids::Digest;
use aios_verity::{BLOCK, Tree};

use crate::cache::{Cache, Key};
use crate::error::{Error, OnFile, Result};
use crate::files_list::{Content, Staged};
use crate::project::EPOCH;
use crate::tool::Tool;

/// The file system's own id. Fixed: the root hash is what tells two roots apart.
const UUID: &str = "61696f73-726f-4f74-8000-000000000001";

/// A root file system with its tree.
pub(crate) struct Root {
    pub(crate) image: PathBuf,
    pub(crate) tree: PathBuf,
    pub(crate) hash: Digest,
    /// How many blocks of 4096 bytes the image has.
    pub(crate) blocks: u64,
}

/// The root with these files.
pub(crate) fn make(cache: &Cache, files: &[Staged]) -> Result<Root> {
    let version = Tool::new("mkfs.erofs").arg("-V").said().unwrap_or_default();
    let mut key = Key::new("root 2").text("mkfs", &version);
    for file in files {
        key = key.text("path", &file.path).text("mode", &format!("{:o}", file.mode));
        key = match &file.content {
            Content::Directory => key.text("directory", ""),
            Content::Link(target) => key.text("link", target),
            Content::File(bytes) => key.bytes("file", bytes),
            Content::Device { .. } => return Err(no_device(&file.path)),
        };
    }
    check_size(files)?;
    let place = cache.step("root", &key, |out| {
        let stage = cache.scratch("root")?;
        fill(&stage, files)?;
        let image = out.join("root.erofs");
        Tool::new("mkfs.erofs")
            .args(["--quiet", "-zlz4hc,12", "-C65536", "-x-1", "--force-uid=0", "--force-gid=0"])
            .arg(format!("-T{EPOCH}"))
            .arg(format!("-U{UUID}"))
            .arg(&image)
            .arg(&stage)
            .run()?;
        crate::cache::remove_tree(&stage)?;
        let mut bytes = fs::read(&image).on("read", &image)?;
        if bytes.len() % BLOCK != 0 {
            bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
            fs::write(&image, &bytes).on("write", &image)?;
        }
        let tree = Tree::over(&bytes).map_err(|source| Error::library("the root has no hash tree", source))?;
        let path = out.join("root.verity");
        fs::write(&path, tree.bytes()).on("write", &path)?;
        let path = out.join("root.hash");
        fs::write(&path, format!("{}\n", tree.root())).on("write", &path)
    })?;
    let hash_file = place.join("root.hash");
    let text = fs::read_to_string(&hash_file).on("read", &hash_file)?;
    let hash = text.trim().parse().map_err(|source| Error::library("the cache is damaged", source))?;
    let image = place.join("root.erofs");
    let blocks = fs::metadata(&image).on("read", &image)?.len() / BLOCK as u64;
    Ok(Root { image, tree: place.join("root.verity"), hash, blocks })
}

/// More than this is not meant to be in a root; compressed it has to fit a slot of the smallest disk, with room to grow.
const BUDGET: usize = 256 << 20;

/// Says before anything is written what is too much.
fn check_size(files: &[Staged]) -> Result<()> {
    let size = |file: &Staged| match &file.content {
        Content::File(bytes) => bytes.len(),
        _ => 0,
    };
    let total: usize = files.iter().map(size).sum();
    if total <= BUDGET {
        return Ok(());
    }
    let mut by_size: Vec<&Staged> = files.iter().collect();
    by_size.sort_by_key(|file| std::cmp::Reverse(size(file)));
    let biggest: Vec<String> = by_size.iter().take(4).map(|file| format!("/{} {}", file.path, size(file))).collect();
    Err(Error::refused(
        format!("the root's files have {total} bytes, the budget is {BUDGET}; the biggest: {}", biggest.join(", ")),
        "rootfs/files.toml lists them; manifest.json of an earlier build shows what grew",
    ))
}

/// Puts everything into the folder that becomes `/`, whose mode is not left to the umask of who builds.
fn fill(stage: &Path, files: &[Staged]) -> Result<()> {
    fs::set_permissions(stage, fs::Permissions::from_mode(0o755)).on("set the mode of", stage)?;
    files.iter().try_for_each(|file| write(stage, file))
}

fn write(stage: &Path, file: &Staged) -> Result<()> {
    let path = stage.join(&file.path);
    match &file.content {
        Content::Directory => fs::create_dir(&path).on("make", &path)?,
        Content::Link(target) => return symlink(target, &path).on("make the link", &path),
        Content::File(bytes) => fs::write(&path, bytes).on("write", &path)?,
        Content::Device { .. } => return Err(no_device(&file.path)),
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(file.mode)).on("set the mode of", &path)
}

fn no_device(path: &str) -> Error {
    Error::refused(format!("/{path} is a device"), "the root has none: the kernel fills /dev")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_that_is_too_big_names_its_biggest_files() {
        let file = |path: &str, size: usize| Staged {
            path: path.to_owned(),
            mode: 0o644,
            content: Content::File(vec![0; size]),
            made_from: None,
        };
        check_size(&[file("a", 1), file("b", BUDGET - 1)]).expect("it fits");
        let error = check_size(&[file("small", 1), file("usr/big", BUDGET)]).expect_err("too big");
        assert!(error.to_string().contains(&format!("the biggest: /usr/big {BUDGET}, /small 1")), "{error}");
    }

    #[test]
    fn everybody_may_enter_a_root_whoever_built_it() {
        let stage = tempfile::tempdir().expect("a folder");
        fs::set_permissions(stage.path(), fs::Permissions::from_mode(0o750)).expect("as under another umask");
        let etc = Staged { path: "etc".into(), mode: 0o755, content: Content::Directory, made_from: None };
        fill(stage.path(), &[etc]).expect("filled");
        for path in [stage.path(), &stage.path().join("etc")] {
            assert_eq!(path.metadata().expect("there").permissions().mode() & 0o777, 0o755, "{}", path.display());
        }
    }
}
