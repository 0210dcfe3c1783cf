//! Predictions of register 11, beside those of `systemd-measure` (package systemd).

use std::fs;
use std::path::Path;
use std::process::Command;

use aios_image::pcr::Register;
use aios_image::uki;
use aios_slots::phase::Way;

const STUB: &str = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub";
const MEASURE: &str = "/usr/lib/systemd/systemd-measure";

#[test]
fn systemd_predicts_the_same() {
    if !Path::new(STUB).exists() || !Path::new(MEASURE).exists() {
        eprintln!("skipped: needs {STUB} and {MEASURE}");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let sections = [
        ("osrel", ".osrel", b"ID=aios\n".to_vec()),
        ("cmdline", ".cmdline", b"quiet aios.version=1".to_vec()),
        ("pcrpkey", ".pcrpkey", b"-----BEGIN PUBLIC KEY-----\n".to_vec()),
        ("initrd", ".initrd", vec![3; 5001]),
        ("linux", ".linux", vec![7; 70_001]),
    ];
    let mut measure = Command::new(MEASURE);
    measure.args(["calculate", "--bank=sha256"]);
    for (option, _, content) in &sections {
        let path = folder.path().join(option);
        fs::write(&path, content).expect("written");
        measure.arg(format!("--{option}={}", path.display()));
    }
    // Every state that a start goes through, for each way.
    let ways = [Way::Live, Way::Installed, Way::Recovery];
    for way in ways {
        measure.arg(format!("--phase={}", way.words().join(":")));
    }
    let output = measure.output().expect("systemd-measure starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let theirs: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("11:sha256=")).collect();
    let added: Vec<(&str, &[u8])> = sections.iter().map(|(_, name, content)| (*name, content.as_slice())).collect();
    let image = uki::append(&fs::read(STUB).expect("the stub"), &added).expect("fits");
    let register = Register::of_image(&image).expect("an image");
    let mut ours: Vec<String> = ways
        .map(|way| register.started(way).bytes().iter().map(|byte| format!("{byte:02x}")).collect::<String>())
        .into();
    // It prints them in the order of their words.
    ours.sort();
    let mut theirs: Vec<String> = theirs.into_iter().map(str::to_owned).collect();
    theirs.sort();
    assert_eq!(ours, theirs, "{text}");
}
