//! A person's public key, and what `ssh-keygen` on the build machine signs with the other half of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::bundles::change;
use super::policy::waiting;
use super::{Aios, COMMAND, OPERATOR, Status, list, text};
use crate::scenario::{Failure, ensure};

/// What the machine takes signatures for.
const NAMESPACE: &str = "aios-approval";

/// A pair of keys in a folder of the build machine.
pub(crate) struct Key {
    folder: PathBuf,
    line: String,
    fingerprint: String,
}

impl Key {
    pub(crate) fn make(folder: &Path) -> Result<Self, Failure> {
        let folder = folder.join("key");
        fs::create_dir_all(&folder).map_err(Failure::file("make", &folder))?;
        ssh_keygen(&folder, &["-q", "-t", "ed25519", "-N", "", "-C", "ada@desk", "-f", "key"])?;
        let path = folder.join("key.pub");
        let line = fs::read_to_string(&path).map_err(Failure::file("read", &path))?.trim().to_owned();
        let said = ssh_keygen(&folder, &["-l", "-f", "key.pub"])?;
        let fingerprint = said.split(' ').nth(1).unwrap_or_default().to_owned();
        Ok(Self { folder, line, fingerprint })
    }

    fn sign(&self, namespace: &str, said: &str) -> Result<String, Failure> {
        let (path, signature) = (self.folder.join("text"), self.folder.join("text.sig"));
        fs::write(&path, said).map_err(Failure::file("write", &path))?;
        // Nothing is there the first time; ssh-keygen asks before it writes over anything.
        let _ = fs::remove_file(&signature);
        ssh_keygen(&self.folder, &["-q", "-Y", "sign", "-n", namespace, "-f", "key", "text"])?;
        fs::read_to_string(&signature).map_err(Failure::file("read", &signature))
    }
}

fn ssh_keygen(folder: &Path, words: &[&str]) -> Result<String, Failure> {
    let output = Command::new("ssh-keygen").args(words).current_dir(folder).output().map_err(|error| {
        Failure::broken(format!("cannot start ssh-keygen ({error}); install the package openssh-client"))
    })?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ssh-keygen {words:?} failed: {said}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Who is logged in takes the key as theirs, with their pass phrase; the list shows it as ssh-keygen does.
pub(crate) fn added(aios: &mut Aios, key: &Key) -> Result<(), Failure> {
    change(aios, &format!("user key add {OPERATOR} {}", key.line), &[])?;
    let shown = aios.ok(&format!("user key list {OPERATOR}"))?;
    ensure!(shown.contains(&format!("{} ada@desk", key.fingerprint)), "the key is not listed:\n{shown}");
    let view = aios.json_of(&format!("action submit user.key.add name=grace key='{}'", key.line), Status::Denied)?;
    ensure!(view["state"]["reason"] == "ForeignKey", "it was denied otherwise: {view:#}");
    Ok(())
}

/// What the key signed for another purpose or another request is no answer to this one, and is on record.
pub(crate) fn for_something_else(aios: &mut Aios, key: &Key) -> Result<(), Failure> {
    let (first, approval) = waiting(aios, "action submit node.reboot --reason signed")?;
    let (second, other) = waiting(aios, "action submit node.reboot --reason other")?;
    let (said, of_another) = (to_sign(aios, &approval)?, to_sign(aios, &other)?);
    for (namespace, said, reason) in [("file", &said, "SignatureForOther"), (NAMESPACE, &of_another, "SignatureWrong")]
    {
        brought(aios, &approval, &key.sign(namespace, said)?, Status::Denied)?;
        let records = aios.json(&format!("evidence query --action {first} --kind decision"))?;
        let last = list(&records)?.last().map(|record| &record["payload"]);
        let recorded = last.is_some_and(|last| last["reason"] == reason && last["key"] == key.fingerprint.as_str());
        ensure!(recorded, "there is no record of {reason}: {records:#}");
    }
    let shown = aios.json(&format!("approval show {approval}"))?;
    ensure!(shown["state"]["state"] == "waiting", "a wrong signature changed the request: {shown:#}");
    for action in [first, second] {
        aios.ok(&format!("action cancel {action}"))?;
    }
    Ok(())
}

/// A signature is the person's yes; the record names the key, and the same signature says nothing more.
pub(crate) fn approves_its_own_removal(aios: &mut Aios, key: &Key) -> Result<(), Failure> {
    let line = format!("action submit user.key.remove name={OPERATOR} fingerprint={}", key.fingerprint);
    let (action, approval) = waiting(aios, &line)?;
    let said = to_sign(aios, &approval)?;
    let printed = aios.ok(&format!("approval show {approval} --to-sign"))?;
    ensure!(printed.lines().eq(said.lines()), "it prints another text than it tells:\n{printed}\n{said}");
    let signature = key.sign(NAMESPACE, &said)?;
    brought(aios, &approval, &signature, Status::Done)?;
    aios.until(&format!("action show {action}"), "the removal", COMMAND, |view| view["state"]["state"] == "succeeded")?;
    let records = aios.json(&format!("evidence query --action {action} --kind approval-granted"))?;
    let [record] = list(&records)? else {
        return Err(Failure::broken(format!("there is not one record of the yes: {records:#}")));
    };
    let payload = &record["payload"];
    ensure!(payload["key"] == key.fingerprint.as_str(), "the record does not name the key: {payload:#}");
    ensure!(payload["by"]["name"] == OPERATOR && payload["by"]["strength"] == "signature", "{payload:#}");
    let attested = aios.ok(&format!("attest {action}"))?;
    ensure!(attested.contains(&key.fingerprint), "the attestation does not name the key:\n{attested}");
    brought(aios, &approval, &signature, Status::Denied).map(drop)
}

/// What the key signs after its removal is nobody's answer.
pub(crate) fn removed_is_nobodys(aios: &mut Aios, key: &Key) -> Result<(), Failure> {
    let people = aios.json("user list")?;
    let keys = |person: &Value| person["keys"].as_array().map_or(0, Vec::len);
    ensure!(list(&people["operators"])?.iter().all(|person| keys(person) == 0), "a key is left: {people:#}");
    let (action, approval) = waiting(aios, "action submit node.reboot --reason removed")?;
    let said = to_sign(aios, &approval)?;
    let answer = brought(aios, &approval, &key.sign(NAMESPACE, &said)?, Status::Denied)?;
    ensure!(answer.contains("SignerUnknown"), "it was refused otherwise:\n{answer}");
    aios.ok(&format!("action cancel {action}")).map(drop)
}

fn to_sign(aios: &mut Aios, approval: &str) -> Result<String, Failure> {
    let shown = aios.json(&format!("approval show {approval}"))?;
    Ok(text(&shown, "to_sign")?.to_owned())
}

/// Types a signature at the console, as a person does who has it on another screen.
fn brought(aios: &mut Aios, approval: &str, signature: &str, expected: Status) -> Result<String, Failure> {
    let line = format!("approval approve {approval} --signature -");
    aios.machine.console.start(&line, COMMAND)?;
    aios.machine.console.wait_for("the signature, down to its last line:", COMMAND)?;
    std::thread::sleep(Duration::from_millis(500));
    for line in signature.lines() {
        aios.machine.console.type_line(line)?;
    }
    let output = aios.machine.console.finish(&line, COMMAND)?;
    ensure!(output.status == expected as u8, "'{line}' ended with status {} and said:\n{}", output.status, output.text);
    Ok(output.text)
}
