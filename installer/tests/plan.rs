//! Answers and plans: what people read, and what is refused.

use aios_slots::Version;
use aios_wire::init::Afterwards;
use installer::answers::{Answers, Data, Existing, Selector};
use installer::disks::{Content, Disk};
use installer::plan::plan;
use installer::seed::{self, Users};
use proptest::prelude::*;

const GOOD: &str =
    "disk = \"only-empty\"\noperator = \"ada\"\npass_phrase = \"correct horse\"\nhostname = \"workshop\"\n";

fn disk(name: &str) -> Disk {
    Disk {
        name: name.into(),
        bytes: 4 << 30,
        sector: 512,
        serial: Some(format!("serial-of-{name}")),
        model: "QEMU".into(),
        read_only: false,
        in_use: None,
        is_medium: false,
        content: Content::Empty,
    }
}

fn version() -> Version {
    "1.2.0".parse().expect("a version")
}

fn refused(selector: Selector, existing: Existing, disks: &[Disk]) -> String {
    plan(&selector, existing, disks, &version()).expect_err("refused").to_string()
}

#[test]
fn a_plan_says_everything_that_will_happen() {
    let old = Disk { content: Content::Something("2 partitions: boot, home".into()), ..disk("vda") };
    let plan = plan(&Selector::Path("/dev/vda".into()), Existing::Erase, &[old, disk("vdb")], &version());
    let expected = "\
install AIOS 1.2.0 on /dev/vda (4096 MiB, QEMU, serial serial-of-vda)
  destroys  2 partitions: boot, home
  partition 1       512 MiB at      1 MiB  EFI system partition
  partition 2         1 MiB at    513 MiB  boot state
  partition 3       256 MiB at    514 MiB  root, slot a: the release
  partition 4         8 MiB at    770 MiB  hash tree, slot a
  partition 5       256 MiB at    778 MiB  root, slot b: empty until an update
  partition 6         8 MiB at   1034 MiB  hash tree, slot b: empty until an update
  partition 7      3053 MiB at   1042 MiB  data
";
    assert_eq!(plan.expect("a plan").to_string(), expected);
}

#[test]
fn data_is_encrypted_when_a_pass_phrase_for_it_is_given() {
    let with = |text: &str| Answers::parse(format!("{GOOD}{text}").as_bytes(), &[7; 16]);
    assert!(matches!(with("").expect("good").data, Data::Plain));
    let encrypted = with("data_pass_phrase = \"long enough\"\n").expect("good");
    assert!(matches!(&encrypted.data, Data::Encrypted(pass_phrase) if pass_phrase.bytes() == b"long enough"));
    assert!(!format!("{encrypted:?}").contains("long enough"), "{encrypted:?}");
    for wrong in ["", "7 bytes", "two\\nlines", &"x".repeat(513)] {
        let error = with(&format!("data_pass_phrase = \"{wrong}\"\n")).expect_err(wrong).to_string();
        assert!(error.contains("data_pass_phrase needs 8 to 512 bytes"), "{error}");
    }
}

#[test]
fn sectors_decide_the_table_and_are_never_guessed() {
    let large = Disk { sector: 4096, ..disk("vda") };
    let plan = plan(&Selector::OnlyEmpty, Existing::Keep, &[large], &version()).expect("a plan");
    assert_eq!(plan.layout.geometry.sector, 4096);
    let unknown = Disk { sector: 0, ..disk("vda") };
    let text = refused(Selector::OnlyEmpty, Existing::Keep, &[unknown]);
    assert!(text.contains("vda"), "{text}");
}

#[test]
fn a_disk_that_may_hold_something_is_not_taken() {
    let path = || Selector::Path("/dev/vda".into());
    let full = Disk { content: Content::Something("2 partitions: boot, home".into()), ..disk("vda") };
    let text = refused(path(), Existing::Keep, std::slice::from_ref(&full));
    assert!(text.contains("2 partitions: boot, home") && text.contains("erase = true"), "{text}");
    let mounted = Disk { in_use: Some("/dev/vda1 is mounted on /mnt".into()), ..disk("vda") };
    assert_eq!(refused(path(), Existing::Erase, &[mounted]), "/dev/vda is in use: /dev/vda1 is mounted on /mnt");
    let medium = Disk { is_medium: true, ..disk("vda") };
    let text = refused(path(), Existing::Erase, std::slice::from_ref(&medium));
    assert_eq!(text, "/dev/vda is the medium that this system was started from");
    let locked = Disk { read_only: true, ..disk("vda") };
    assert_eq!(refused(path(), Existing::Erase, &[locked]), "/dev/vda is write-protected");
    let small = Disk { bytes: 1 << 30, ..disk("vda") };
    assert_eq!(refused(path(), Existing::Keep, &[small]), "/dev/vda cannot be used");
    assert!(refused(Selector::OnlyEmpty, Existing::Erase, &[full, medium]).starts_with("no disk is an empty one"));
}

#[test]
fn a_selector_that_fits_two_disks_or_none_takes_neither() {
    let two = [disk("vda"), disk("vdb")];
    assert!(refused(Selector::OnlyEmpty, Existing::Erase, &two).starts_with("more than one disk is an empty one"));
    let text = refused(Selector::Serial("x".into()), Existing::Erase, &two);
    assert!(text.contains("serial number x") && text.contains("/dev/vdb (4096 MiB"), "{text}");
    assert!(refused(Selector::Path("/dev/vdc".into()), Existing::Keep, &[]).contains("no disk was found at all"));
    let chosen = plan(&Selector::Serial("serial-of-vdb".into()), Existing::Keep, &two, &version());
    assert_eq!(chosen.expect("one fits").disk.name, "vdb");
}

#[test]
fn good_answers_become_the_first_files() {
    let answers = Answers::parse(GOOD.as_bytes(), &[7; 16]).expect("good");
    assert_eq!(
        (answers.disk.clone(), answers.existing, answers.after),
        (Selector::OnlyEmpty, Existing::Keep, Afterwards::PowerOff)
    );
    assert!(answers.operators.verify("ada", "correct horse").is_some());
    let users = Users::parse("policy-kernel = 102\nsettings = 106\n").expect("users");
    let files = seed::files(&answers, &users).expect("files");
    let paths: Vec<(&str, u32)> = files.iter().map(|file| (file.path.as_str(), file.owner)).collect();
    assert_eq!(
        paths,
        [
            ("system/policy/operators.json", 102),
            ("system/settings/settings.json", 106),
            ("system/settings/generations/1.json", 106),
        ]
    );
    let settings: serde_json::Value = serde_json::from_slice(&files[1].bytes).expect("JSON");
    assert_eq!((&settings["generation"], &settings["values"]["hostname"]), (&1.into(), &"workshop".into()));
    assert!(!files.iter().any(|file| String::from_utf8_lossy(&file.bytes).contains("correct horse")));
    let error = seed::files(&answers, &Users::parse("").expect("no users")).expect_err("refused");
    assert!(error.to_string().contains("policy-kernel"), "{error}");
}

#[test]
fn wrong_answers_say_where() {
    let error = |text: &str| {
        let error = Answers::parse(text.as_bytes(), &[7; 16]).expect_err("refused");
        let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        format!("{error}: {cause}")
    };
    let unknown = error(&GOOD.replace("hostname", "hotsname"));
    assert!(unknown.contains("line 4") && unknown.contains("^^^^^^^^") && unknown.contains("hotsname"), "{unknown}");
    assert!(error(&GOOD.replace("only-empty", "sda")).contains("disk = \"sda\" selects nothing"));
    assert!(error(&GOOD.replace("only-empty", "/dev/../etc")).contains("selects nothing"));
    assert!(error(&GOOD.replace("\"ada\"", "\"Ada L\"")).contains("'Ada L' is not a name"));
    assert!(error(&GOOD.replace("correct horse", "")).contains("a pass phrase has 1 to"));
    assert!(error(&GOOD.replace("workshop", "work shop")).contains("hostname"));
    assert!(error(&(GOOD.to_owned() + "pass_phrase_hash = \"x\"")).contains("not both"));
    assert!(error(&GOOD.replace("pass_phrase =", "pass_phrase_hash =")).contains("Argon2id"));
    assert!(error(&(GOOD.to_owned() + "after = \"sleep\"")).contains("line 5"));
    assert!(error(&" ".repeat(70_000)).contains("longer than"));
}

proptest! {
    #[test]
    fn foreign_answers_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), selector in ".{0,40}") {
        let _ = Answers::parse(&bytes, &[7; 16]);
        let _ = Selector::parse(&selector);
        let _ = Users::parse(&selector);
    }
}
