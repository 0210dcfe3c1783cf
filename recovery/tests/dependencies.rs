//! What recovery is made of. A release in which policy, agents or a service are broken must still be recoverable, so
//! none of their code may be in it, not even unused.

use std::collections::BTreeSet;
use std::process::Command;

fn crates() -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--package", "recovery", "--edges", "normal,build", "--prefix", "none"])
        .args(["--format", "{p}"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

#[test]
fn no_agent_model_policy_or_bus_is_in_recovery() {
    let crates = crates();
    assert!(crates.contains("recovery"), "the tree is recovery's: {crates:?}");
    for name in
        ["zbus", "tokio", "rmcp", "cedar-policy", "agent-door", "aios-daemon", "aios-policy", "aios-wire", "ureq"]
    {
        assert!(!crates.contains(name), "{name} is in recovery");
    }
}

#[test]
fn our_own_crates_in_recovery_are_these() {
    let ours: Vec<String> = crates().into_iter().filter(|name| name.starts_with("aios-")).collect();
    let expected = [
        "aios-action",
        "aios-evidence",
        "aios-fetch",
        "aios-ids",
        "aios-image",
        "aios-linux",
        "aios-luks",
        "aios-slots",
        "aios-verity",
    ];
    assert_eq!(ours, expected, "a new one brings its own dependencies and must be meant");
}

#[test]
fn the_image_has_this_program_and_busybox_and_no_other() {
    let list = concat!(env!("CARGO_MANIFEST_DIR"), "/../rootfs/recovery.toml");
    let list = std::fs::read_to_string(list).expect("the image's list");
    let sources: Vec<&str> =
        list.lines().filter(|line| line.starts_with("program") || line.starts_with("host")).collect();
    assert_eq!(sources, [r#"program = "recovery""#, r#"host = "/bin/busybox""#]);
}
