//! Takes what is published apart, so that a difference can be named: files of an image, sections of an EFI program,
//! files of a root or of an initial RAM file system.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::cache::remove_tree;
use crate::error::{Error, OnFile, Result};
use crate::tool::Tool;

/// Every part by its name. The parts of a part have its name, ` > ` and their own.
pub(super) type Parts = BTreeMap<String, Vec<u8>>;

/// Between the name of a whole and that of its part.
pub(super) const IN: &str = " > ";

/// How deep images lie in images: ISO, partition, program, section, archive, file.
const DEPTH: usize = 6;

/// The files of a folder and everything in them. Hidden files are not published.
pub(super) fn of_folder(folder: &Path, scratch: &Path) -> Result<Parts> {
    let mut parts = Parts::new();
    for entry in fs::read_dir(folder).on("list", folder)? {
        let path = entry.on("list", folder)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_file() && !name.starts_with('.') {
            let bytes = fs::read(&path).on("read", &path)?;
            add(&mut parts, name, bytes, scratch, DEPTH)?;
        }
    }
    Ok(parts)
}

fn add(parts: &mut Parts, name: String, bytes: Vec<u8>, scratch: &Path, depth: usize) -> Result<()> {
    let work = scratch.join(format!("part-{depth}"));
    remove_tree(&work)?;
    fs::create_dir_all(work.join("out")).on("make", &work)?;
    let whole = work.join("whole");
    let out = work.join("out");
    let mut inner = Parts::new();
    let mut take_files = |tool: Tool| -> Result<()> {
        fs::write(&whole, &bytes).on("write", &whole)?;
        tool.run()?;
        Tool::new("chmod").args(["--recursive", "u+rwX"]).arg(&out).run()?;
        files_below(&out, "", &mut inner)
    };
    if depth > 0 {
        match kind_of(&bytes) {
            Kind::Iso => {
                let tool = Tool::new("xorriso").args(["-osirrox", "on:auto_chmod_on", "-indev"]).arg(&whole);
                take_files(tool.args(["-extract", "/"]).arg(&out).arg("-extract_boot_images").arg(out.join("boot")))?;
            }
            Kind::Erofs => {
                let extract = format!("--extract={}", out.display());
                take_files(Tool::new("fsck.erofs").arg(extract).arg("--force").arg(&whole))?;
            }
            Kind::Fat => take_files(Tool::new("mcopy").args(["-s", "-n", "-i"]).arg(&whole).arg("::/*").arg(&out))?,
            Kind::Program => {
                for section in aios_image::uki::sections(&bytes).unwrap_or_default() {
                    inner.insert(section.name, bytes[section.content].to_vec());
                }
            }
            Kind::Zstd => {
                fs::write(&whole, &bytes).on("write", &whole)?;
                let unpacked = work.join("unpacked");
                Tool::new("zstd").args(["-d", "-q", "-o"]).arg(&unpacked).arg(&whole).run()?;
                inner.insert("unpacked".to_owned(), fs::read(&unpacked).on("read", &unpacked)?);
            }
            Kind::Cpio => inner = in_archive(&bytes),
            Kind::Other => {}
        }
    }
    for (part, bytes) in inner {
        add(parts, format!("{name}{IN}{part}"), bytes, scratch, depth - 1)?;
    }
    parts.insert(name, bytes);
    Ok(())
}

enum Kind {
    Iso,
    Erofs,
    Fat,
    Program,
    Zstd,
    Cpio,
    Other,
}

fn kind_of(bytes: &[u8]) -> Kind {
    let at = |offset: usize, sign: &[u8]| bytes.get(offset..).is_some_and(|rest| rest.starts_with(sign));
    if at(32769, b"CD001") {
        Kind::Iso
    } else if at(1024, &0xE0F5_E1E2_u32.to_le_bytes()) {
        Kind::Erofs
    } else if at(510, &[0x55, 0xaa]) && (at(54, b"FAT") || at(82, b"FAT")) {
        Kind::Fat
    } else if at(0, b"MZ") && aios_image::uki::sections(bytes).is_ok() {
        Kind::Program
    } else if at(0, &[0x28, 0xb5, 0x2f, 0xfd]) {
        Kind::Zstd
    } else if at(0, b"070701") {
        Kind::Cpio
    } else {
        Kind::Other
    }
}

fn files_below(folder: &Path, prefix: &str, found: &mut Parts) -> Result<()> {
    for entry in fs::read_dir(folder).on("list", folder)? {
        let entry = entry.on("list", folder)?;
        let name = format!("{prefix}/{}", entry.file_name().to_string_lossy());
        let kind = entry.file_type().on("look at", &entry.path())?;
        if kind.is_dir() {
            files_below(&entry.path(), &name, found)?;
        } else if kind.is_symlink() {
            let target = fs::read_link(entry.path()).on("read", &entry.path())?;
            found.insert(name, target.into_os_string().into_encoded_bytes());
        } else if kind.is_file() {
            found.insert(name, fs::read(entry.path()).on("read", &entry.path())?);
        }
    }
    Ok(())
}

/// The files of an archive of form `newc`, as far as it can be read.
fn in_archive(bytes: &[u8]) -> Parts {
    /// Magic and 13 numbers of eight digits.
    const HEADER: usize = 110;
    let mut parts = Parts::new();
    let mut at = 0;
    while let Some(header) = bytes.get(at..at + HEADER).filter(|header| header.starts_with(b"070701")) {
        let number = |index: usize| {
            let digits = std::str::from_utf8(&header[6 + index * 8..14 + index * 8]).ok()?;
            usize::from_str_radix(digits, 16).ok()
        };
        let (Some(size), Some(name_size)) = (number(6), number(11)) else { break };
        let content = (at + HEADER + name_size).next_multiple_of(4);
        let name = bytes.get(at + HEADER..at + HEADER + name_size.saturating_sub(1));
        let (Some(name), Some(data)) = (name, bytes.get(content..content + size)) else { break };
        if name == b"TRAILER!!!" {
            break;
        }
        // What is not in the content, such as the mode, is a difference too.
        let mut whole = header.to_vec();
        whole.extend_from_slice(data);
        parts.insert(format!("/{}", String::from_utf8_lossy(name)), whole);
        at = (content + size).next_multiple_of(4);
    }
    parts
}

/// A program of the firmware without what its signer added; anything else as it is.
pub(super) fn without_signature(bytes: &[u8]) -> Result<Vec<u8>> {
    match kind_of(bytes) {
        Kind::Program => aios_image::authenticode::strip(bytes)
            .map_err(|source| Error::library("a program's signature cannot be taken off", source)),
        _ => Ok(bytes.to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aios_image::cpio::Archive;
    use proptest::prelude::*;

    fn archive(files: &[(&str, u32, &[u8])]) -> Vec<u8> {
        let mut archive = Archive::new();
        for (path, mode, content) in files {
            archive.file(path, *mode, content).expect("added");
        }
        archive.finish()
    }

    #[test]
    fn the_files_of_an_archive_are_parts() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let published = folder.path().join("published");
        fs::create_dir(&published).expect("made");
        let bytes = archive(&[("init", 0o755, b"program"), ("key", 0o644, b"")]);
        fs::write(published.join("a.cpio"), bytes).expect("written");
        fs::write(published.join(".hidden"), "").expect("written");
        let parts = of_folder(&published, folder.path()).expect("parts");
        let names: Vec<&str> = parts.keys().map(String::as_str).collect();
        assert_eq!(names, ["a.cpio", "a.cpio > /init", "a.cpio > /key"]);
        assert!(parts["a.cpio > /init"].ends_with(b"program"));
    }

    #[test]
    fn a_changed_mode_is_a_changed_part() {
        let parts = |mode| in_archive(&archive(&[("init", mode, b"program")]));
        assert_ne!(parts(0o755), parts(0o700));
    }

    #[test]
    fn images_in_images_are_taken_apart_by_the_tools_of_the_build_machine() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let at = |path: &str| folder.path().join(path);
        for path in ["root/usr", "tree/aios", "published"] {
            fs::create_dir_all(at(path)).expect("made");
        }
        fs::write(at("root/usr/tool"), "program").expect("written");
        std::os::unix::fs::symlink("usr/tool", at("root/link")).expect("linked");
        Tool::new("mkfs.erofs").arg("--quiet").arg(at("tree/aios/root.erofs")).arg(at("root")).run().expect("a root");
        let esp = at("tree/esp.img");
        fs::write(&esp, vec![0; 2 << 20]).expect("written");
        let fat = |tool: &str| Tool::new(tool).arg("-i").arg(&esp);
        fat("mformat").args(["-N", "61696f73", "::"]).run().expect("a file system");
        fat("mmd").arg("::EFI").run().expect("a folder");
        fat("mcopy").arg(at("root/usr/tool")).arg("::EFI/tool.efi").run().expect("a file");
        let iso = at("published/a.iso");
        Tool::new("xorriso")
            .args(["-as", "mkisofs", "-quiet", "-r", "-o"])
            .arg(&iso)
            .arg(at("tree"))
            .run()
            .expect("a medium");
        let parts = of_folder(&at("published"), &at("scratch")).expect("parts");
        for name in ["a.iso > /aios/root.erofs > /usr/tool", "a.iso > /esp.img > /EFI/tool.efi"] {
            assert_eq!(parts.get(name).map(Vec::as_slice), Some(&b"program"[..]), "{name} in {:?}", parts.keys());
        }
        assert_eq!(parts["a.iso > /aios/root.erofs > /link"], b"usr/tool");
    }

    proptest! {
        #[test]
        fn no_archive_panics(start in 0usize..400, value: u8, cut in 0usize..400) {
            let mut bytes = archive(&[("init", 0o755, b"program"), ("key", 0o644, b"0123456789")]);
            if let Some(byte) = bytes.get_mut(start) {
                *byte = value;
            }
            bytes.truncate(cut);
            let _ = in_archive(&bytes);
        }
    }
}
