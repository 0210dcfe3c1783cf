//! People's public keys, and what they signed elsewhere.

use aios_policy::keys::{PublicKey, Signature};

use crate::{Taken, choice, text};

/// What `ssh-keygen` wrote: a key, and its signature over the text beside it.
const KEY: &str = include_str!("../../../services/core/policy/src/keys/tests/ecdsa.pub");
const SIGNATURE: &str = include_str!("../../../services/core/policy/src/keys/tests/ecdsa.sig");
const SIGNED: &str = "aios\n";

const LINES: [&str; 2] = [
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHeRuMaK1JUGpprU/AlfDyl/sGC+R2/nknB1ZLTY348A ada@desk",
    "sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAIHeRuMaK1JUGpprU/AlfDyl/sGC+R2/nknB1ZLTY348AAAAABHNzaDo= ada@desk",
];

pub(crate) fn lines_and_signatures() -> Vec<Vec<u8>> {
    let lines = LINES.into_iter().chain([KEY]).map(|line| format!("0{line}").into_bytes());
    lines.chain([format!("1{SIGNATURE}").into_bytes()]).collect()
}

pub(crate) fn line_or_signature(bytes: &[u8]) -> Taken {
    let Some((way, rest)) = choice(bytes) else { return Taken::No };
    let Some(rest) = text(rest) else { return Taken::No };
    if way == b'0' {
        let Ok(key) = rest.parse::<PublicKey>() else { return Taken::No };
        let written = key.to_string();
        assert_eq!(written.parse(), Ok(key.clone()), "a key is another one when it is read again");
        assert!(written.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()), "a key that a terminal obeys");
        assert_eq!(key.fingerprint().to_string().parse(), Ok(key.fingerprint()));
        return Taken::Yes;
    }
    let Ok(signature) = rest.parse::<Signature>() else { return Taken::No };
    let key: PublicKey = KEY.parse().expect("ssh-keygen wrote it");
    if key.has_signed(SIGNED, &signature).is_ok() {
        assert_eq!(SIGNATURE.parse(), Ok(signature), "a signature was forged");
    }
    Taken::Yes
}
