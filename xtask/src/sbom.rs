//! `sbom.spdx.json`: from each file that ships to the crates, the Debian package or the kernel source that it is made
//! from, in SPDX 2.3.
//!
//! A file is GENERATED_FROM packages; a crate DEPENDS_ON the crates that are linked into it. Nothing depends on the time
//! or the machine: equal files give equal documents. [`check`] looks at the finished document and did not write it.

pub(crate) mod crates;
pub(crate) mod debian;
mod licence;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use aios_ids::Digest;
use serde_json::{Value, json};

use self::crates::{Crate, CrateId};
use self::debian::{Licence, Package};
use self::licence::Allowed;
use crate::error::{Error, Result};
use crate::kernel::Kernel;
use crate::programs::{self, cargo};
use crate::project::EPOCH;
use crate::shipped::{MadeFrom, Shipped};
use crate::tool::Tool;

/// The published file.
pub(crate) const NAME: &str = "sbom.spdx.json";

/// The whole, which contains every file.
const WHOLE: &str = "SPDXRef-aios";
/// This tree, from which everything of ours is made.
const TREE: &str = "SPDXRef-tree";
const KERNEL: &str = "SPDXRef-kernel";
const STANDARD_LIBRARY: &str = "SPDXRef-rust-std";

/// The package with the C library that is linked into every program.
const C_LIBRARY: &str = "libc6-dev";

/// What the files that ship are made from.
pub(crate) struct Materials {
    /// The package that builds each program.
    programs: BTreeMap<String, String>,
    pub(crate) crates: BTreeMap<CrateId, Crate>,
    /// The package of each file of the build machine.
    hosts: BTreeMap<String, Package>,
    c_library: Package,
}

/// A document being written.
#[derive(Default)]
struct Document {
    packages: Vec<Value>,
    files: Vec<Value>,
    relationships: Vec<Value>,
    /// Texts of licences without an identifier, by the name they get here.
    texts: BTreeMap<String, String>,
}

impl Materials {
    /// Those of these files.
    pub(crate) fn of(shipped: &[Shipped]) -> Result<Self> {
        let programs = programs::names()?;
        let mut linked = BTreeSet::new();
        let mut hosts = BTreeMap::new();
        for source in shipped.iter().flat_map(|file| &file.made_from) {
            match source {
                MadeFrom::Program(name) => {
                    linked.insert(programs.get(name).ok_or_else(|| unknown(&format!("program {name}")))?.as_str());
                }
                MadeFrom::Host(path) if !hosts.contains_key(path) => {
                    hosts.insert(path.clone(), Package::of_file(Path::new(path))?);
                }
                _ => {}
            }
        }
        let crates = crates::linked(&linked)?;
        Ok(Self { programs, crates, hosts, c_library: Package::installed(C_LIBRARY)? })
    }

    /// Whether a file that is made from `source` has something of this package in it.
    pub(crate) fn is_from(&self, package: &Package, source: &MadeFrom) -> bool {
        match source {
            MadeFrom::Host(path) => self.hosts.get(path) == Some(package),
            MadeFrom::Program(_) => *package == self.c_library,
            MadeFrom::Tree(_) | MadeFrom::Build(_) | MadeFrom::Kernel => false,
        }
    }

    /// Every package of Debian that is in what ships.
    pub(crate) fn debian(&self) -> BTreeSet<&Package> {
        self.hosts.values().chain([&self.c_library]).collect()
    }
}

/// The document about these files.
pub(crate) fn document(
    version: &str,
    commit: &str,
    kernel: &Kernel,
    materials: &Materials,
    shipped: &[Shipped],
) -> Result<String> {
    let mut document = Document::default();
    document.own(version, commit);
    document.kernel(kernel);
    document.crates(&materials.crates)?;
    for package in materials.debian() {
        document.debian(package)?;
    }
    for file in shipped {
        let mut made_from = BTreeSet::new();
        for source in &file.made_from {
            made_from.extend(match source {
                MadeFrom::Program(name) => {
                    let package = &materials.programs[name];
                    let id =
                        materials.crates.keys().find(|(name, _)| name == package).ok_or_else(|| unknown(package))?;
                    vec![crate_ref(id), STANDARD_LIBRARY.to_owned(), debian_ref(&materials.c_library)]
                }
                MadeFrom::Tree(_) | MadeFrom::Build(_) => vec![TREE.to_owned()],
                MadeFrom::Host(path) => vec![debian_ref(&materials.hosts[path])],
                MadeFrom::Kernel => vec![KERNEL.to_owned()],
            });
        }
        document.file(file, &made_from);
    }
    document.whole(version, shipped);
    let document = document.finish(version, shipped)?;
    check(&document, shipped)?;
    let text = serde_json::to_string_pretty(&document)
        .map_err(|source| Error::library("the bill of materials cannot be written", source))?;
    Ok(text + "\n")
}

impl Document {
    /// This tree and the compiler's library.
    fn own(&mut self, version: &str, commit: &str) {
        self.package(
            TREE,
            "aios-source",
            version,
            "Apache-2.0 OR MIT",
            json!({ "sourceInfo": format!("commit {commit}") }),
        );
    }

    fn kernel(&mut self, kernel: &Kernel) {
        let version = &kernel.origin.version;
        let more = json!({
            "checksums": [{ "algorithm": "SHA256", "checksumValue": kernel.origin.sha256 }],
            "sourceInfo": "the archive with the source; the configuration is kernel-config/ of the tree",
        });
        self.package(KERNEL, "linux", version, "GPL-2.0-only", more);
    }

    fn crates(&mut self, crates: &BTreeMap<CrateId, Crate>) -> Result<()> {
        let compiler = Tool::new("rustc").arg("--version").directory(crate::project::root()).output()?;
        let release = compiler.split_ascii_whitespace().nth(1).unwrap_or("unknown");
        let more = json!({ "downloadLocation": format!("https://static.rust-lang.org/dist/rust-std-{release}-x86_64-unknown-linux-gnu.tar.xz") });
        self.package(STANDARD_LIBRARY, "rust-std", release, "MIT OR Apache-2.0", more);
        let allowed = Allowed::read()?;
        for (id @ (name, version), found) in crates {
            match allowed.permits(&found.licence) {
                Ok(true) => {}
                Ok(false) => {
                    return Err(Error::refused(
                        format!(
                            "crate {name} {version} has the licence {}, which deny.toml does not allow",
                            found.licence
                        ),
                        "do without the crate, or allow the licence after reading it",
                    ));
                }
                Err(why) => {
                    return Err(Error::refused(
                        format!("crate {name} {version} has no licence that can be read ({why}): '{}'", found.licence),
                        "do without the crate",
                    ));
                }
            }
            let mut more = json!({ "externalRefs": [purl(&format!("pkg:cargo/{name}@{version}"))] });
            if let Some(sha256) = &found.sha256 {
                more["checksums"] = json!([{ "algorithm": "SHA256", "checksumValue": sha256 }]);
            }
            let own = crate_ref(id);
            self.package(&own, name, version, &found.licence, more);
            for used in &found.uses {
                self.relate(&own, "DEPENDS_ON", &crate_ref(used));
            }
        }
        Ok(())
    }

    fn debian(&mut self, package: &Package) -> Result<()> {
        let licence = match package.licence()? {
            Licence::Known(id) => id.to_owned(),
            Licence::Text(text) => {
                let name = format!("LicenseRef-debian-{}", package.name);
                self.texts.insert(name.clone(), text);
                name
            }
        };
        let (source, source_version) = (&package.source, &package.source_version);
        let version = package.version.replace(':', "%3A").replace('+', "%2B");
        let more = json!({
            "supplier": "Organization: Debian",
            "sourceInfo": format!("built by Debian from source package {source} {source_version}"),
            "externalRefs": [purl(&format!("pkg:deb/debian/{}@{version}?arch=amd64", package.name))],
        });
        self.package(&debian_ref(package), &package.name, &package.version, &licence, more);
        Ok(())
    }

    fn file(&mut self, file: &Shipped, made_from: &BTreeSet<String>) {
        let own = file_ref(&file.path);
        self.files.push(json!({
            "SPDXID": own,
            "fileName": format!("./{}", file.path),
            "checksums": [
                { "algorithm": "SHA1", "checksumValue": file.sha1 },
                { "algorithm": "SHA256", "checksumValue": file.sha256.to_string() },
            ],
            "licenseConcluded": "NOASSERTION",
            "copyrightText": "NOASSERTION",
        }));
        self.relate(WHOLE, "CONTAINS", &own);
        for source in made_from {
            self.relate(&own, "GENERATED_FROM", source);
        }
    }

    /// The distribution: every file, and the code that SPDX makes of all their digests.
    fn whole(&mut self, version: &str, shipped: &[Shipped]) {
        use sha1::Digest as _;
        let mut digests: Vec<&str> = shipped.iter().map(|file| file.sha1.as_str()).collect();
        digests.sort_unstable();
        let code: String = sha1::Sha1::digest(digests.concat()).iter().map(|byte| format!("{byte:02x}")).collect();
        let more = json!({
            "filesAnalyzed": true,
            "packageVerificationCode": { "packageVerificationCodeValue": code },
            "licenseInfoFromFiles": ["NOASSERTION"],
            "primaryPackagePurpose": "OPERATING-SYSTEM",
        });
        self.package(WHOLE, "aios", version, "NOASSERTION", more);
        self.relate("SPDXRef-DOCUMENT", "DESCRIBES", WHOLE);
    }

    fn package(&mut self, id: &str, name: &str, version: &str, licence: &str, more: Value) {
        let mut package = json!({
            "SPDXID": id,
            "name": name,
            "versionInfo": version,
            "downloadLocation": "NOASSERTION",
            "filesAnalyzed": false,
            "licenseConcluded": "NOASSERTION",
            "licenseDeclared": licence,
            "copyrightText": "NOASSERTION",
        });
        if let (Some(package), Value::Object(more)) = (package.as_object_mut(), more) {
            package.extend(more);
        }
        self.packages.push(package);
    }

    fn relate(&mut self, from: &str, how: &str, to: &str) {
        self.relationships.push(json!({
            "spdxElementId": from,
            "relationshipType": how,
            "relatedSpdxElement": to,
        }));
    }

    fn finish(self, version: &str, shipped: &[Shipped]) -> Result<Value> {
        let epoch = format!("@{EPOCH}");
        let created = Tool::new("date").args(["--utc", "--date", &epoch, "+%Y-%m-%dT%H:%M:%SZ"]).output()?;
        let all: String = shipped.iter().map(|file| format!("{} {}\n", file.sha256, file.path)).collect();
        let texts: Vec<Value> = self
            .texts
            .into_iter()
            .map(|(name, text)| json!({ "licenseId": name, "name": name, "extractedText": text }))
            .collect();
        let cargo = cargo().arg("--version").output()?;
        Ok(json!({
            "spdxVersion": "SPDX-2.3",
            "dataLicense": "CC0-1.0",
            "SPDXID": "SPDXRef-DOCUMENT",
            "name": format!("aios-{version}"),
            "documentNamespace": format!("urn:aios:sbom:{version}:{}", Digest::of(all.as_bytes())),
            "creationInfo": {
                "created": created.trim(),
                "creators": ["Tool: xtask", format!("Tool: {}", cargo.trim())],
            },
            "packages": self.packages,
            "files": self.files,
            "relationships": self.relationships,
            "hasExtractedLicensingInfos": texts,
        }))
    }
}

/// Whether every file that ships is in the document once, with its digest and an origin that is in the document too.
fn check(document: &Value, shipped: &[Shipped]) -> Result<()> {
    let list = |key: &str| document[key].as_array().map_or(&[][..], Vec::as_slice);
    let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let packages: BTreeSet<String> = list("packages").iter().map(|package| text(package, "SPDXID")).collect();
    let with_origin: BTreeSet<String> = list("relationships")
        .iter()
        .filter(|relation| relation["relationshipType"] == "GENERATED_FROM")
        .filter(|relation| packages.contains(&text(relation, "relatedSpdxElement")))
        .map(|relation| text(relation, "spdxElementId"))
        .collect();
    let incomplete = |what: String| Err(Error::refused(format!("the bill of materials is not complete: {what}"), ""));
    if packages.len() != list("packages").len() {
        return incomplete("two packages have one identifier".to_owned());
    }
    let mut entries: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
    for file in list("files") {
        entries.entry(text(file, "fileName")).or_default().push(file);
    }
    for file in shipped {
        let name = format!("./{}", file.path);
        match entries.remove(&name).as_deref() {
            Some([entry]) => {
                if entry["checksums"][1]["checksumValue"] != file.sha256.to_string() {
                    return incomplete(format!("{name} has another digest"));
                }
                if !with_origin.contains(&text(entry, "SPDXID")) {
                    return incomplete(format!("{name} is made from nothing"));
                }
            }
            found => return incomplete(format!("{name} is in it {} times", found.map_or(0, <[_]>::len))),
        }
    }
    match entries.keys().next() {
        None => Ok(()),
        Some(name) => incomplete(format!("{name} does not ship")),
    }
}

fn purl(locator: &str) -> Value {
    json!({ "referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": locator })
}

fn crate_ref((name, version): &CrateId) -> String {
    reference("crate", &format!("{name}-{version}"))
}

fn debian_ref(package: &Package) -> String {
    reference("debian", &package.name)
}

fn file_ref(path: &str) -> String {
    // Paths have more letters than identifiers; two of them must not become one.
    reference("file", &Digest::of(path.as_bytes()).to_string()[..20])
}

fn reference(kind: &str, name: &str) -> String {
    let plain = |letter: char| if letter.is_ascii_alphanumeric() || letter == '.' { letter } else { '-' };
    format!("SPDXRef-{kind}-{}", name.chars().map(plain).collect::<String>())
}

fn unknown(name: &str) -> Error {
    Error::refused(format!("{name} ships and no crate of this tree builds it"), "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shipped() -> Vec<Shipped> {
        let file = |path: &str, made_from: MadeFrom| Shipped::of(path.to_owned(), path.as_bytes(), vec![made_from]);
        vec![
            file("root/usr/lib/os-release", MadeFrom::Build("os-release".into())),
            file("root/etc/x", MadeFrom::Tree("rootfs/x".into())),
            file("initramfs/init", MadeFrom::Program("init".into())),
        ]
    }

    fn document() -> Value {
        let mut document = Document::default();
        document.own("1", "commit");
        for file in shipped() {
            document.file(&file, &[TREE.to_owned()].into());
        }
        document.whole("1", &shipped());
        document.finish("1", &shipped()).expect("a document")
    }

    fn check_refused(change: impl FnOnce(&mut Value), expected: &str) {
        let mut document = document();
        change(&mut document);
        let error = check(&document, &shipped()).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn every_file_is_there_once_and_comes_from_somewhere() {
        check(&document(), &shipped()).expect("complete");
        check_refused(
            |document| drop(document["files"].as_array_mut().map(|files| files.remove(1))),
            "etc/x is in it 0",
        );
        let twice = |document: &mut Value| {
            let file = document["files"][1].clone();
            document["files"].as_array_mut().expect("files").push(file);
        };
        check_refused(twice, "etc/x is in it 2 times");
        check_refused(|document| document["files"][0]["fileName"] = json!("./root/other"), "os-release is in it 0");
        check_refused(
            |document| document["files"][2]["checksums"][1]["checksumValue"] = json!("00"),
            "init has another digest",
        );
        check_refused(|document| document["packages"][0]["SPDXID"] = json!("SPDXRef-else"), "made from nothing");
        let more = |document: &mut Value| {
            let mut file = document["files"][1].clone();
            file["fileName"] = json!("./root/more");
            document["files"].as_array_mut().expect("files").push(file);
        };
        check_refused(more, "root/more does not ship");
    }

    #[test]
    fn equal_files_give_equal_documents_and_others_another_name() {
        assert_eq!(document(), document());
        let other = Document::default().finish("1", &shipped()[1..]).expect("a document");
        assert_ne!(document()["documentNamespace"], other["documentNamespace"]);
        assert_eq!(other["creationInfo"]["created"], "2026-01-01T00:00:00Z");
    }

    #[test]
    fn identifiers_have_plain_letters_and_differ() {
        assert_eq!(crate_ref(&("a_b".into(), "1.0+c".into())), "SPDXRef-crate-a-b-1.0-c");
        assert_ne!(file_ref("root/a-b"), file_ref("root/a/b"));
    }
}
