//! What is published, judged by other people's tools: each image, partition, signature, tree and document by a program
//! that we did not write. `cargo xtask iso --judge`, and a part of `cargo xtask test`.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use aios_ids::Digest;
use aios_image::gpt::{Geometry, Table};
use aios_image::layout::{Layout, Part, Place};
use aios_image::uki;
use aios_verity::SALT;

use crate::cache::{Cache, Key, remove_tree};
use crate::disk;
use crate::error::{Error, OnFile, Result};
use crate::format::{DiskFormat, Format};
use crate::iso::{self, Iso};
use crate::keys::{Keys, Name};
use crate::tool::Tool;
use crate::{project, sbom};

/// Reads SPDX documents; in no package of Debian 12, so it is kept in an environment of its own in the cache.
const SPDX_READER: &str = "spdx-tools==0.8.5";

/// The smallest disk that can be installed on.
const DISK: u64 = 2 << 30;

/// The verdicts so far.
struct Court {
    folder: PathBuf,
    refused: Vec<String>,
}

/// Builds the system in all forms and has everything judged.
pub(crate) fn run() -> Result<()> {
    let (cache, keys) = (Cache::open()?, Keys::open()?);
    let forms = [Format::Uki, Format::Qcow2, Format::Vhdx];
    judge(&cache, &keys, &iso::make(&cache, &keys, project::VERSION, &forms)?)
}

/// Has everything of a build judged. Every tool is heard, also when one refuses.
pub(crate) fn judge(cache: &Cache, keys: &Keys, iso: &Iso) -> Result<()> {
    let mut court = Court { folder: cache.scratch("foreign")?, refused: Vec::new() };
    court.programs(keys, iso)?;
    court.root(iso);
    court.medium(iso)?;
    court.disk(keys, iso)?;
    court.forms(iso);
    court.document(cache, iso)?;
    remove_tree(&court.folder)?;
    if court.refused.is_empty() {
        return Ok(());
    }
    Err(Error::refused(format!("{} tools refuse what was built", court.refused.len()), court.refused.join("; ")))
}

impl Court {
    /// Hears one tool: it must end well, and say `expected`.
    fn hear(&mut self, what: &str, tool: Tool, expected: &[&str]) {
        let verdict = match tool.output() {
            Ok(said) => {
                expected.iter().find(|part| !said.contains(**part)).map(|part| format!("it did not say '{part}'"))
            }
            Err(error) => Some(error.to_string()),
        };
        println!("  {}  {what}", if verdict.is_none() { "pass" } else { "FAIL" });
        self.refused.extend(verdict.map(|why| format!("{what}: {why}")));
    }

    /// What firmware starts: signatures and sections.
    fn programs(&mut self, keys: &Keys, iso: &Iso) -> Result<()> {
        let system = &iso.system;
        let mut programs =
            vec![("aios.efi", &system.uki), ("recovery.efi", &system.recovery), ("loader", &system.loader)];
        let standalone = iso.published.iter().filter(|path| path.extension().is_some_and(|ending| ending == "efi"));
        programs.extend(standalone.map(|path| ("the image with its own root", path)));
        for (name, path) in programs {
            let verify = Tool::new("sbverify").arg("--cert").arg(keys.public(Name::Programs)).arg(path);
            self.hear(&format!("sbverify: {name}"), verify, &["Signature verification OK"]);
            let bytes = fs::read(path).on("read", path)?;
            let sections = uki::sections(&bytes)
                .map_err(|source| Error::library(format!("{} cannot be read", path.display()), source))?;
            // Name, size and address of each, as the line of objdump has them.
            let line = |section: &uki::Section| {
                let (start, size) = (section.addresses.start, section.addresses.end - section.addresses.start);
                format!("{:<13} {size:08x}  {start:016x} ", section.name)
            };
            let lines: Vec<String> = sections.iter().map(line).collect();
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            self.hear(&format!("objdump: sections of {name}"), Tool::new("objdump").arg("-h").arg(path), &lines);
        }
        Ok(())
    }

    fn root(&mut self, iso: &Iso) {
        let root = &iso.system.root;
        self.hear("fsck.erofs: the root", Tool::new("fsck.erofs").arg(&root.image), &[]);
        let verify = Tool::new("veritysetup")
            .args(["verify", "--no-superblock", "--format=1", "--hash=sha256"])
            .args(["--data-block-size=4096", "--hash-block-size=4096"])
            .arg(format!("--salt={}", Digest::from_bytes(SALT)))
            .arg(format!("--data-blocks={}", root.blocks))
            .arg(&root.image)
            .arg(&root.tree)
            .arg(root.hash.to_string());
        self.hear("veritysetup: root and hash tree", verify, &[]);
    }

    /// The hybrid image as a CD and as a disk.
    fn medium(&mut self, iso: &Iso) -> Result<()> {
        let table = Tool::new("sgdisk").arg("-v").arg(&iso.path);
        self.hear("sgdisk: the ISO as a disk", table, &["No problems found"]);
        let loaded = |command: &str| Tool::new("xorriso").arg("-indev").arg(&iso.path).args([command, "plain"]);
        let expected = ["El Torito boot img", "UEFI", "BIOS"];
        self.hear("xorriso: what starts from the CD", loaded("-report_el_torito"), &expected);
        let media = Tool::new("xorriso").args(["-abort_on", "FAILURE", "-indev"]).arg(&iso.path).args([
            "-check_media",
            "use=indev",
            "what=tracks",
            "--",
            "-rollback_end",
        ]);
        self.hear("xorriso: every block of the CD", media, &["+ good"]);
        let size = fs::metadata(&iso.path).on("look at", &iso.path)?.len();
        let geometry = Geometry::of(size, 512).map_err(|source| Error::library("the ISO is no disk", source))?;
        let file = fs::File::open(&iso.path).on("read", &iso.path)?;
        let table = Table::read(&file, geometry).map_err(|source| Error::library("the ISO is no disk", source))?;
        let esp = table
            .entries
            .iter()
            .flatten()
            .find(|entry| entry.kind == Part::Esp.kind())
            .ok_or_else(|| Error::refused("the ISO's partition table has no EFI system partition", ""))?;
        let place = Place { start: esp.first * 512, length: (esp.last - esp.first + 1) * 512 };
        let partition = self.extract(&iso.path, place, "medium.esp")?;
        self.hear("fsck.vfat: the ISO's EFI system partition", Tool::new("fsck.vfat").arg("-n").arg(partition), &[]);
        Ok(())
    }

    /// An installed disk, in every format.
    fn disk(&mut self, keys: &Keys, iso: &Iso) -> Result<()> {
        let release = self.folder.join("release");
        fs::create_dir_all(&release).on("make", &release)?;
        for sector in [512, 4096] {
            let raw = self.folder.join("disk.raw");
            let size = aios_image::disk::Size { bytes: DISK, sector };
            disk::assemble(keys, &iso.system, size, &[], &release, &raw)?;
            let layout =
                Layout::plan(DISK, sector).map_err(|source| Error::library("the disk has no layout", source))?;
            if sector == 512 {
                let table = Tool::new("sgdisk").arg("-v").arg(&raw);
                self.hear("sgdisk: an installed disk", table, &["No problems found"]);
            }
            let esp = self.extract(&raw, layout.place(Part::Esp), "disk.esp")?;
            let check = Tool::new("fsck.vfat").arg("-n").arg(esp);
            self.hear(&format!("fsck.vfat: its EFI system partition, sectors of {sector} bytes"), check, &[]);
            let data = self.extract(&raw, layout.place(Part::Data), "disk.data")?;
            let check = Tool::new("e2fsck").args(["-f", "-n"]).arg(data);
            self.hear(&format!("e2fsck: its data partition, sectors of {sector} bytes"), check, &[]);
            if sector == 512 {
                for format in [DiskFormat::Qcow2, DiskFormat::Vhdx] {
                    let out = self.folder.join("disk").with_extension(format.name());
                    format.write(&raw, sector, &out)?;
                    self.qemu("an installed disk", format.name(), &out, &raw);
                }
            }
        }
        Ok(())
    }

    /// The ISO in other formats.
    fn forms(&mut self, iso: &Iso) {
        for path in &iso.published {
            let format = path.extension().unwrap_or_default().to_string_lossy().into_owned();
            if matches!(format.as_str(), "qcow2" | "vhdx") {
                self.qemu("the ISO", &format, path, &iso.path);
            }
        }
    }

    fn qemu(&mut self, what: &str, format: &str, image: &Path, raw: &Path) {
        let check = Tool::new("qemu-img").args(["check", "-f", format]).arg(image);
        self.hear(&format!("qemu-img: {what} as {format}"), check, &["No errors were found"]);
        let same = Tool::new("qemu-img").args(["compare", "-f", "raw", "-F", format]).arg(raw).arg(image);
        self.hear(&format!("qemu-img: {what} as {format} has the same content"), same, &["Images are identical"]);
    }

    fn document(&mut self, cache: &Cache, iso: &Iso) -> Result<()> {
        let reader = cache.step("spdx-tools", &Key::new("spdx-tools 1").text("package", SPDX_READER), |out| {
            Tool::new("/usr/bin/python3").args(["-m", "venv"]).arg(out.join("env")).run()?;
            Tool::new(out.join("env/bin/python")).args(["-m", "pip", "install", "--quiet", SPDX_READER]).run()
        })?;
        let path = iso.path.with_file_name(sbom::NAME);
        let validate = Tool::new(reader.join("env/bin/python"))
            .args(["-m", "spdx_tools.spdx.clitools.pyspdxtools", "--infile"])
            .arg(path);
        self.hear("spdx-tools: the bill of materials", validate, &[]);
        Ok(())
    }

    /// Copies a stretch of an image into a file of its own.
    fn extract(&self, image: &Path, place: Place, name: &str) -> Result<PathBuf> {
        let out = self.folder.join(name);
        let from = fs::File::open(image).on("read", image)?;
        let to = fs::File::create(&out).on("make", &out)?;
        to.set_len(place.length).on("grow", &out)?;
        let mut buffer = vec![0; 1 << 20];
        let mut done = 0;
        while done < place.length {
            let count = (place.length - done).min(buffer.len() as u64) as usize;
            from.read_exact_at(&mut buffer[..count], place.start + done).on("read", image)?;
            if buffer[..count].iter().any(|byte| *byte != 0) {
                to.write_all_at(&buffer[..count], done).on("write", &out)?;
            }
            done += count as u64;
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_that_fails_or_says_something_else_refuses() {
        let mut court = Court { folder: PathBuf::new(), refused: Vec::new() };
        court.hear("good", Tool::new("echo").arg("no problems"), &["no problems"]);
        assert!(court.refused.is_empty(), "{:?}", court.refused);
        court.hear("silent", Tool::new("echo").arg("problems"), &["no problems"]);
        court.hear("failed", Tool::new("false"), &[]);
        court.hear("absent", Tool::new("no-such-judge"), &[]);
        let named = ["silent: it did not say 'no problems'", "failed: ", "absent: cannot start no-such-judge"];
        assert_eq!(court.refused.len(), named.len());
        for (refused, named) in court.refused.iter().zip(named) {
            assert!(refused.starts_with(named), "{refused}");
        }
    }
}
