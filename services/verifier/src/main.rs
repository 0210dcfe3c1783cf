//! Measures what actions did: by its own eyes, never by what the adapter or the runtime says.
//!
//! Before an effect it looks at what will change; afterwards it looks again and says whether the type's post-condition
//! holds. It alone may append `outcome` records, and it can change nothing. The exceptions are named in the outcome's
//! text: how a confined program ended is known only to the launcher, and the verifier repeats it as that.

use std::process::ExitCode;

use aios_daemon::Fatal;

mod door;
mod judge;
mod look;

use door::Verifier1;

fn main() -> ExitCode {
    aios_daemon::run(run())
}

async fn run() -> Result<(), Fatal> {
    aios_daemon::ready()?;
    aios_daemon::serve("/org/aios/Verifier1", Verifier1::new).await?;
    Ok(())
}
