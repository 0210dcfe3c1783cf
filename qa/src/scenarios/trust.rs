//! What firmware and TPM make of our signatures, and what a machine with other keys does.

use std::fs;

use serde_json::Value;

use super::boot::{live, never_runs, start};
use crate::host::iso::IsoCopy;
use crate::scenario::{Failure, Scenario, Set, Stage, ensure};
use crate::steps::{Aios, Entry, services};
use crate::vm::process::output;
use crate::vm::{BOOT, Login, Options, SecureBoot};

pub(super) const ALL: &[Scenario] = &[
    Scenario {
        name: "shim-mok",
        promise: "an ordinary PC refuses the ISO with a reason, and boots it, Secure Boot on, once its owner enrolled our key",
        set: Set::Ci,
        boots: 2,
        show: shim_mok,
    },
    Scenario {
        name: "measured-boot",
        promise: "what the TPM holds of a start is what the manifest predicted, for the live system and for recovery",
        set: Set::Ci,
        boots: 2,
        show: measured_boot,
    },
    Scenario {
        name: "secure-boot-setup",
        promise: "a machine whose firmware has no keys yet boots the ISO, and the system says so",
        set: Set::Long,
        boots: 1,
        show: setup_mode,
    },
    Scenario {
        name: "foreign-key-refused",
        promise: "a kernel image that somebody else signed does not start",
        set: Set::Long,
        boots: 1,
        show: foreign_key,
    },
    Scenario {
        name: "vendor-refused",
        promise: "where only our keys are enrolled, shim starts nothing because of the key that is built into it",
        set: Set::Long,
        boots: 2,
        show: vendor,
    },
];

/// What firmware, shim and loader say of a program that they do not start.
const REFUSALS: [&str; 4] = ["Security Violation", "Security violation", "Access Denied", "Access denied"];

/// What MokManager says when it was started.
const MOK_MANAGER: [&str; 2] = ["perform MOK management", "Perform MOK management"];

fn shim_mok(stage: &Stage<'_>) -> Result<(), Failure> {
    let pc = |variables: &std::path::Path| Options {
        secure_boot: SecureBoot::On,
        enrolled_vars: Some(variables.to_owned()),
        ..live(stage)
    };
    {
        let mut machine = start(stage, "stranger", pc(&stage.context.ordinary_vars))?;
        machine.console.wait_for_any(&REFUSALS, BOOT)?;
        never_runs(&mut machine)?;
    }
    let mut aios = Aios::boot(stage, "owner", pc(&stage.context.owner_vars), Login::Already)?;
    services::all_ready(&mut aios)?;
    let status = aios.json("status")?;
    ensure!(status["system"]["secure_boot"] == true, "the firmware enforces signatures, and yet: {status:#}");
    aios.power_off()
}

fn measured_boot(stage: &Stage<'_>) -> Result<(), Failure> {
    let options = Options { tpm: true, ..live(stage) };
    let mut aios = Aios::boot(stage, "live", options.clone(), Login::Already)?;
    services::all_ready(&mut aios)?;
    let is_over = |status: &Value| status["system"]["measured"]["state"] != "ongoing";
    let status = aios.until("status", "the last measurement", BOOT, is_over)?;
    let measured = &status["system"]["measured"];
    let (predicted, words) = prediction(stage, "live")?;
    ensure!(measured["pcr11"] == predicted && measured["words"] == words, "predicted {predicted}, and {measured:#}");
    aios.power_off()?;

    let mut machine = start(stage, "recovery", options)?;
    Entry::Recovery.choose(&mut machine)?;
    machine.console.forget_marks();
    machine.console.prompt(BOOT)?;
    let shown = machine.console.run("shell cat /sys/class/tpm/tpm0/pcr-sha256/11", BOOT)?;
    let (predicted, _) = prediction(stage, "recovery")?;
    let value = shown.text.trim().to_ascii_lowercase();
    ensure!(predicted == value, "predicted {predicted}, and the TPM holds {value}");
    Ok(())
}

/// What the manifest says of a start: the register and the words.
fn prediction(stage: &Stage<'_>, runs: &str) -> Result<(Value, Value), Failure> {
    let path = &stage.context.manifest;
    let text = fs::read_to_string(path).map_err(Failure::file("read", path))?;
    let manifest: Value = serde_json::from_str(&text).map_err(|error| Failure::broken(error.to_string()))?;
    let all = manifest["measured"].as_array().map(Vec::as_slice).unwrap_or_default();
    let found = all.iter().find(|one| one["runs"] == runs);
    found
        .map(|one| (one["pcr11"].clone(), one["words"].clone()))
        .ok_or_else(|| Failure::broken(format!("{} predicts nothing for {runs}", path.display())))
}

fn setup_mode(stage: &Stage<'_>) -> Result<(), Failure> {
    let options = Options { secure_boot: SecureBoot::Setup, ..live(stage) };
    let mut aios = Aios::boot(stage, "setup", options, Login::Already)?;
    let status = aios.json("status")?;
    let system = &status["system"];
    ensure!(system["secure_boot"] == false && system["firmware_keys"] == "none", "{status:#}");
    let people = aios.ok("status")?;
    ensure!(people.contains("no keys are enrolled"), "it does not say that the firmware has no keys:\n{people}");
    aios.power_off()
}

fn foreign_key(stage: &Stage<'_>) -> Result<(), Failure> {
    let copy = IsoCopy::make(&stage.context.iso, &stage.folder.join("foreign.iso"))?;
    let file = |name: &str| stage.folder.join(name).into_os_string();
    let request = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=somebody/", "-keyout"];
    let request = request.map(Into::into).into_iter().chain([file("key"), "-out".into(), file("certificate")]);
    output("openssl", "openssl", &request.collect::<Vec<_>>())?;
    copy.strip_signatures(&stage.folder)?;
    let (esp, image) = (copy.esp()?, stage.folder.join("image.efi"));
    let path = "EFI/aios/aios.efi";
    esp.get(path, &image)?;
    let key = ["--key".into(), file("key"), "--cert".into(), file("certificate"), "--output".into()];
    output("sbsign", "sbsigntool", &[&key[..], &[image.clone().into(), image.clone().into()]].concat())?;
    esp.put(&image, path)?;
    refused(stage, "foreign", &copy)
}

fn vendor(stage: &Stage<'_>) -> Result<(), Failure> {
    let copy = IsoCopy::make(&stage.context.iso, &stage.folder.join("vendor.iso"))?;
    // A program that the vendor signed, in the place of our loader.
    let (esp, theirs) = (copy.esp()?, stage.folder.join("theirs.efi"));
    esp.get("EFI/BOOT/mmx64.efi", &theirs)?;
    esp.put(&theirs, "EFI/BOOT/grubx64.efi")?;
    {
        // On an ordinary PC shim does start it; otherwise a refusal would prove nothing.
        let ordinary = Options {
            iso: Some(copy.path.clone()),
            secure_boot: SecureBoot::On,
            enrolled_vars: Some(stage.context.ordinary_vars.clone()),
            ..live(stage)
        };
        let mut machine = start(stage, "ordinary", ordinary)?;
        machine.console.wait_for_any(&MOK_MANAGER, BOOT)?;
    }
    refused(stage, "vendor", &copy)
}

fn refused(stage: &Stage<'_>, name: &str, copy: &IsoCopy) -> Result<(), Failure> {
    let options = Options { iso: Some(copy.path.clone()), secure_boot: SecureBoot::On, ..live(stage) };
    let mut machine = start(stage, name, options)?;
    machine.console.wait_for_any(&REFUSALS, BOOT)?;
    never_runs(&mut machine)?;
    let said = machine.console.said();
    ensure!(!MOK_MANAGER.iter().any(|words| said.contains(words)), "shim started what its vendor signed");
    Ok(())
}
