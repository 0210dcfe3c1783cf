//! Unified kernel images as foreign tools see them. Needs the stub, binutils and sbsigntool, as every image build does.

use std::fs;
use std::path::Path;
use std::process::Command;

use aios_image::uki;

const STUB: &str = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub";

fn tools_are_there() -> bool {
    let has = |program: &str| Command::new(program).arg("--version").output().is_ok();
    let there = Path::new(STUB).exists() && has("objdump") && has("sbsign") && has("openssl");
    if !there {
        eprintln!("skipped: needs {STUB}, objdump, sbsign and openssl");
    }
    there
}

fn run(folder: &Path, program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(folder).output().expect("the program starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

#[test]
fn foreign_tools_read_and_sign_it() {
    if !tools_are_there() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let stub = fs::read(STUB).expect("the stub");
    let kernel = vec![0x5a; 70_001];
    let added: [(&str, &[u8]); 3] = [(".osrel", b"ID=aios\n"), (".cmdline", b"aios.version=1"), (".linux", &kernel)];
    let image = uki::append(&stub, &added).expect("fits");
    fs::write(folder.join("a.efi"), &image).expect("written");

    // Name, size and address of each section, as binutils reads the header.
    let headers = run(folder, "objdump", &["-h", "a.efi"]);
    let read: Vec<(String, u64, u64)> = headers
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|words| words.len() >= 7 && words[0].parse::<u32>().is_ok())
        .map(|words| {
            let number = |text: &str| u64::from_str_radix(text, 16).expect("hexadecimal");
            (words[1].to_owned(), number(words[2]), number(words[3]))
        })
        .collect();
    let ours: Vec<(String, u64, u64)> = uki::sections(&image)
        .expect("a program")
        .into_iter()
        .map(|section| {
            let size = (section.addresses.end - section.addresses.start).into();
            (section.name, size, section.addresses.start.into())
        })
        .collect();
    assert_eq!(read, ours);

    let words = "req -x509 -newkey rsa:2048 -nodes -subj /CN=test -keyout key -out certificate";
    run(folder, "openssl", &words.split(' ').collect::<Vec<_>>());
    run(folder, "sbsign", &["--key", "key", "--cert", "certificate", "--output", "signed.efi", "a.efi"]);
    run(folder, "sbverify", &["--cert", "certificate", "signed.efi"]);
    let signed = fs::read(folder.join("signed.efi")).expect("signed");
    assert_eq!(uki::section(&signed, ".linux"), Ok(Some(&kernel[..])));
    assert_eq!(uki::append(&signed, &[(".more", b"x")]), Err(uki::PeError::Signed));

    // One bit of what is sealed, and the signature no longer holds.
    let line = uki::sections(&signed).expect("a program").into_iter().find(|section| section.name == ".cmdline");
    let mut altered = signed;
    altered[line.expect("sealed").content.start] ^= 1;
    fs::write(folder.join("altered.efi"), altered).expect("written");
    let verdict = Command::new("sbverify").args(["--cert", "certificate", "altered.efi"]).current_dir(folder).output();
    assert!(!verdict.expect("sbverify starts").status.success(), "an altered command line must not verify");
}
