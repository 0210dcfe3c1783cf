//! The policy kernel: says what may be done, keeps what waits for a person, and checks who logs in.
//!
//! Every answer comes from `aios-policy`; this program brings what that crate must not touch: the signed bundle of the
//! image, the kernel's word on who asks, the table of approvals that survives a power cut, and the evidence log, which
//! has every decision before the caller has it. It does nothing to the machine. When the bundle cannot be used it runs
//! on and denies everything, so that a person can read why.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use aios_daemon::Fatal;

mod approvals;
mod evidence;
mod interface;
mod kernel;
mod login;
mod policy;

use approvals::Approvals;
use evidence::Evidence;
use interface::Policy1;
use kernel::Kernel;
use login::Login;
use policy::Policy;

/// What must outlive a boot.
const STATE: &str = "/aios/system/policy";

/// The bundle of the image and the key that must have signed it; both are under the root's verity tree.
const BUNDLE: &str = "/usr/share/aios/policy/default.bundle";
const KEY: &str = "/usr/share/aios/keys/policy.pub";

fn main() -> ExitCode {
    aios_daemon::run(run())
}

async fn run() -> Result<(), Fatal> {
    let boot = std::env::var("AIOS_BOOT_ID").map_err(|error| Fatal::new("PID 1 gave no AIOS_BOOT_ID", &error))?;
    let policy = Policy::load(Path::new(BUNDLE), Path::new(KEY));
    if let Some(reason) = policy.why_none() {
        eprintln!("everything is denied, because there is no policy: {reason}");
    }
    let approvals = Approvals::open(&Path::new(STATE).join("approvals.redb"), &boot, policy.epoch())?;
    let login = Login::new(Path::new(STATE).join("operators.json"));
    aios_daemon::status(&format!("policy epoch {}", policy.epoch()))?;
    let kernel = Arc::new(Kernel::new(policy, approvals, Evidence::new(), login, boot));
    aios_daemon::ready()?;
    aios_daemon::serve("/org/aios/Policy1", move |caller| Policy1::new(caller, Arc::clone(&kernel))).await?;
    Ok(())
}
