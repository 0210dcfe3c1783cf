//! Keys and signatures that OpenSSH itself makes. Without its `ssh-keygen` nothing is tried, and the test says so.

use std::path::Path;
use std::process::{Command, Stdio};

use aios_policy::keys::{NAMESPACE, PublicKey, Signature, SignatureError};

fn ssh_keygen(folder: &Path, words: &[&str]) -> Option<String> {
    let output = Command::new("ssh-keygen").args(words).current_dir(folder).stdin(Stdio::null()).output().ok()?;
    assert!(output.status.success(), "ssh-keygen {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).expect("text"))
}

#[test]
fn what_ssh_keygen_makes_is_taken_and_is_what_it_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let text = "aios approval v1\nanswer approve\n";
    std::fs::write(folder.join("text"), text).expect("written");
    for kind in ["ed25519", "ecdsa"] {
        if ssh_keygen(folder, &["-q", "-t", kind, "-N", "", "-C", "ada@desk", "-f", kind]).is_none() {
            eprintln!("SKIPPED: this machine has no ssh-keygen; install the package openssh-client");
            return;
        }
        let read = |name: &str| std::fs::read_to_string(folder.join(name)).expect("written by ssh-keygen");
        let public = format!("{kind}.pub");
        let key: PublicKey = read(&public).parse().expect("a key");
        assert_eq!(key.to_string(), read(&public).trim());
        let said = ssh_keygen(folder, &["-l", "-f", &public]).expect("it was there");
        assert!(said.contains(&format!(" {} ada@desk ", key.fingerprint())), "{said}");

        let signed = |namespace: &str| -> Signature {
            let _ = std::fs::remove_file(folder.join("text.sig"));
            ssh_keygen(folder, &["-q", "-Y", "sign", "-n", namespace, "-f", kind, "text"]).expect("it was there");
            read("text.sig").parse().expect("a signature")
        };
        assert_eq!(key.has_signed(text, &signed(NAMESPACE)), Ok(()));
        assert_eq!(key.has_signed("another", &signed(NAMESPACE)), Err(SignatureError::Wrong));
        assert!(matches!(key.has_signed(text, &signed("git")), Err(SignatureError::Namespace { .. })));
    }
}
