//! A web server on this machine's loopback that answers with what it was asked, in the clear or in TLS: `qa/echo-server.py`.
//! A machine reaches it at 10.0.2.2.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::scenario::Failure;

/// A certificate for 10.0.2.2, its key, and the root that signed it; the vault's own tests use them too.
const CERTIFICATE: &[u8] = include_bytes!("../../../services/vault/tests/tls/server.der");
const KEY: &[u8] = include_bytes!("../../../services/vault/tests/tls/server.key");
const ROOT: &[u8] = include_bytes!("../../../services/vault/tests/tls/root.der");

/// How the server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speech {
    Clear,
    Tls,
}

/// A running server; it ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Echo {
    child: Child,
    log: PathBuf,
    origin: String,
}

impl Echo {
    /// Starts one that keeps its files in `folder` under `name`.
    pub(crate) fn serve(folder: &Path, name: &str, speech: Speech) -> Result<Self, Failure> {
        let failed = |error: std::io::Error| Failure::broken(format!("cannot run qa/echo-server.py: {error}"));
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("echo-server.py");
        let log = folder.join(format!("{name}.log"));
        fs::write(&log, "").map_err(failed)?;
        let mut command = Command::new("python3");
        command.arg(script).arg(&log).stdin(Stdio::null()).stdout(Stdio::piped());
        let scheme = match speech {
            Speech::Clear => "http",
            Speech::Tls => {
                for (kind, der, name) in [("CERTIFICATE", CERTIFICATE, "tls.crt"), ("PRIVATE KEY", KEY, "tls.key")] {
                    let file = folder.join(name);
                    fs::write(&file, pem(kind, der)).map_err(failed)?;
                    command.arg(file);
                }
                "https"
            }
        };
        let mut child = command.spawn().map_err(failed)?;
        let mut port = String::new();
        if let Some(output) = child.stdout.take() {
            BufReader::new(output).read_line(&mut port).map_err(failed)?;
        }
        let origin = format!("{scheme}://10.0.2.2:{}", port.trim());
        let server = Self { child, log, origin };
        if port.trim().is_empty() { Err(Failure::broken("qa/echo-server.py gave no port")) } else { Ok(server) }
    }

    /// Scheme, host and port as a machine of this fixture sees them.
    pub(crate) fn origin(&self) -> &str {
        &self.origin
    }

    /// Every head that it was asked with so far.
    pub(crate) fn asked(&self) -> Result<String, Failure> {
        fs::read_to_string(&self.log)
            .map_err(|error| Failure::broken(format!("cannot read {}: {error}", self.log.display())))
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is gone afterwards.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The root that vouches for servers in TLS, as `fetch.roots` has it.
pub(crate) fn root() -> String {
    BASE64_STANDARD.encode(ROOT)
}

fn pem(kind: &str, der: &[u8]) -> String {
    format!("-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n", BASE64_STANDARD.encode(der))
}
