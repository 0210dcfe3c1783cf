//! The policy kernel: says what may be done, keeps what waits for a person, and checks who logs in.
//!
//! Every answer comes from `aios-policy`; this program brings what that crate must not touch: the signed bundle of the
//! image or one that was loaded, the kernel's word on who asks, the table of approvals that survives a power cut, and the
//! evidence log, which has every decision before the caller has it. What it changes is its own: which policy decides, and
//! who can log in. When no bundle can be used it runs on and denies everything, so that a person can read why.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use aios_daemon::Fatal;
use rustix::time::{ClockId, clock_gettime};

mod approvals;
mod evidence;
mod interface;
mod kernel;
mod login;
mod offers;
mod plans;
mod policy;

use approvals::Approvals;
use evidence::Evidence;
use interface::Policy1;
use kernel::Kernel;
use login::Login;
use policy::{Image, InForce};

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
    let state = Path::new(STATE);
    let policy = InForce::new(Image::read(Path::new(BUNDLE), Path::new(KEY)), state.join("bundles"));
    let approvals = Approvals::open(&state.join("approvals.redb"))?;
    let login = Login::new(state.join("operators.json"));
    let kernel = Arc::new(Kernel::new(policy, approvals, Evidence::new(), login, boot, Box::new(now)));
    aios_daemon::ready()?;
    tokio::spawn({
        let kernel = Arc::clone(&kernel);
        async move { kernel.watch_the_time().await }
    });
    aios_daemon::serve("/org/aios/Policy1", move |caller| Policy1::new(caller, Arc::clone(&kernel))).await?;
    Ok(())
}

/// Milliseconds since the boot, sleep included, and since 1970.
fn now() -> (u64, u64) {
    let up = clock_gettime(ClockId::Boottime);
    let up = u64::try_from(up.tv_sec).unwrap_or(0) * 1000 + u64::try_from(up.tv_nsec).unwrap_or(0) / 1_000_000;
    // A clock before 1970 counts as 1970.
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (up, u64::try_from(wall.as_millis()).unwrap_or(u64::MAX))
}
