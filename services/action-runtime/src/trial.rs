//! Trying a program that was handed in, before anybody is asked about it.
//!
//! Each test runs in quarantine, where everything that the program reaches for is refused and recorded, and, when it declared
//! rights, once more with these. What came of it is recorded and becomes a part of the envelope. A trial changes nothing: it
//! runs under the budget of a test, and a runtime that ends in the middle leaves a record that it began, and no action.

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use action_runtime::journal::JournalError;
use action_runtime::launch::{self, Finished, Given, LaunchError, User};
use aios_action::Request;
use aios_action::allowance::Use;
use aios_action::app::{
    AppError, Manifest, PROGRAM_LIMIT, ProgramError, Refused, Test, Tested, Trial, Witnessed, program_around,
};
use aios_identity::Peer;
use aios_ids::{ActionId, Digest};
use aios_wire::launch::{Ending, Limits, Opens, Program, Tier};
use serde_json::{Value, json};

use crate::peers::{self, PeerError};
use crate::runtime::Runtime;
use crate::{app, perform};

/// Enough for a test; a program that needs more is not tried so.
const TEST: Limits = Limits {
    memory: 48 << 20,
    processes: 8,
    cpu_percent: 100,
    time_ms: 2_000,
    cpu_ms: 2_000,
    output: 64 << 10,
    written: 1 << 20,
};

/// A program of ours that makes one call which no sandbox allows, and ends. Refusals are written down in the order in which
/// they were made, so when this one is in the log all of the tried program's are. One that never comes is one that was
/// counted together with others, or lost: then not all was seen.
const LAST_WORD: &str = "acct";
const LAST_WORD_CODE: &[u8] = &[0xb8, 163, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05, 0xb8, 60, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05];

/// How often the log is asked for it, and how long in all.
const TURN: Duration = Duration::from_millis(200);
const TURNS: u32 = 75;

/// The program was not tried, so nobody is asked about it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TrialError {
    #[error("the manifest cannot be taken")]
    Manifest(#[from] AppError),
    #[error("the program's part '{part}' cannot be read")]
    Part {
        part: String,
        #[source]
        source: PeerError,
    },
    #[error(transparent)]
    Program(#[from] ProgramError),
    #[error("nothing is tried: {0}")]
    NotContained(String),
    #[error("the trial cannot be recorded")]
    Record(#[source] PeerError),
    #[error("what the program was refused cannot be asked")]
    Refused(#[source] PeerError),
    #[error("the program cannot be held in memory")]
    Memory(#[source] std::io::Error),
    #[error("what a test used cannot be kept")]
    Journal(#[from] JournalError),
    #[error("a test was not run")]
    Launch(#[source] LaunchError),
}

/// Tries the program that `request` hands in.
pub(crate) async fn run(
    runtime: &Arc<Runtime>,
    peer: &Peer,
    id: &ActionId,
    request: &Request,
) -> Result<Trial, TrialError> {
    let text = request.parameters.get("manifest").and_then(Value::as_str).unwrap_or_default();
    let manifest = Manifest::parse(text)?;
    let program = program(&manifest).await?;
    let size = program.len() as u64;
    runtime.require_containment(Tier::Quarantine).await.map_err(TrialError::NotContained)?;
    let user = runtime.users.take().map_err(TrialError::Launch)?;
    // From here on what the user is refused is found under the action.
    let begins = json!({
        "what": "begins",
        "type": request.action_type,
        "subject": peer,
        "uid": user.uid(),
        "manifest": manifest.digest().to_string(),
        "program": manifest.program.sha256.to_string(),
    });
    peers::append("trial", id.as_str(), &begins).await.map_err(TrialError::Record)?;
    let mut tests = Vec::new();
    for test in &manifest.tests {
        let quarantined = once(runtime, peer, id, &user, &program, test, Opens::NOTHING).await?;
        tests.push(if manifest.rights.is_empty() {
            quarantined
        } else {
            runtime.require_containment(Tier::Program).await.map_err(TrialError::NotContained)?;
            once(runtime, peer, id, &user, &program, test, app::opens(&manifest)).await?
        });
    }
    let (refused, witnessed) = refused(id, &user).await?;
    let trial = Trial::of(&manifest, size, tests, &refused, witnessed);
    let report = json!({"what": "report", "type": request.action_type, "subject": peer, "report": trial});
    peers::append("trial", id.as_str(), &report).await.map_err(TrialError::Record)?;
    drop(user);
    Ok(trial)
}

/// The program from its parts, as the manifest names it.
async fn program(manifest: &Manifest) -> Result<Vec<u8>, TrialError> {
    let mut program = Vec::new();
    for part in &manifest.program.parts {
        // One byte more than there may be is enough to be refused.
        let room = PROGRAM_LIMIT + 1 - program.len();
        let content = peers::object(part, room).await;
        program.extend(content.map_err(|source| TrialError::Part { part: part.clone(), source })?);
    }
    manifest.check_program(&program)?;
    Ok(program)
}

/// Runs one test.
async fn once(
    runtime: &Arc<Runtime>,
    peer: &Peer,
    id: &ActionId,
    user: &User,
    program: &[u8],
    test: &Test,
    opens: Opens,
) -> Result<Tested, TrialError> {
    let began = Instant::now();
    let args = test.args.iter().map(|word| word.as_bytes().to_vec()).collect();
    let finished = launch(id, user, program, opens, args, test.input.as_bytes()).await?;
    let time_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let used = Use { time_ms, cpu_ms: finished.exit.cpu_us / 1000, output: finished.printed, ..Use::default() };
    let subject = peer.to_string();
    runtime.journal.charge(&subject, runtime.charge(&subject, used))?;
    Ok(judge(test, &finished))
}

async fn launch(
    id: &ActionId,
    user: &User,
    program: &[u8],
    opens: Opens,
    args: Vec<Vec<u8>>,
    input: &[u8],
) -> Result<Finished, TrialError> {
    let mut file = launch::memory("program").map_err(TrialError::Memory)?;
    file.write_all(program).map_err(TrialError::Memory)?;
    let app = Program::App { sha256: Digest::of(program), opens };
    let launched = perform::launch(user, id.clone(), app, args, input.to_vec(), Given::Program(file.into()), TEST);
    launched.await.map_err(TrialError::Launch)
}

/// Whether a test came out as its manifest says.
fn judge(test: &Test, finished: &Finished) -> Tested {
    let wanted = Ending::Status(test.status.into());
    if finished.exit.ending != wanted {
        return Tested::Failed(format!("it {}, and not with status {}", finished.exit.ending, test.status));
    }
    let found = Digest::of(&finished.output);
    match test.output_sha256 {
        Some(wanted) if wanted != found => {
            Tested::Failed(format!("what it printed has the digest {found} and not {wanted}"))
        }
        _ => Tested::Passed,
    }
}

/// What the kernel refused meanwhile. The records come by way of PID 1 and the log.
async fn refused(id: &ActionId, user: &User) -> Result<(Vec<Refused>, Witnessed), TrialError> {
    launch(id, user, &program_around(LAST_WORD_CODE), Opens::NOTHING, Vec::new(), &[]).await?;
    let is_last_word = |refused: &Refused| refused.blocker == "seccomp" && refused.what == LAST_WORD;
    let mut refused = Vec::new();
    for _ in 0..TURNS {
        tokio::time::sleep(TURN).await;
        refused = peers::denials(id).await.map_err(TrialError::Refused)?;
        if refused.iter().any(is_last_word) {
            refused.retain(|refused| !is_last_word(refused));
            return Ok((refused, Witnessed::All));
        }
    }
    Ok((refused, Witnessed::NotAll))
}

#[cfg(test)]
mod tests {
    use aios_action::app::check_program;
    use aios_wire::launch::Exit;

    use super::*;

    #[test]
    fn the_last_word_is_a_program() {
        assert_eq!(check_program(&program_around(LAST_WORD_CODE)), Ok(()));
        // What it calls is the call that is waited for.
        assert_eq!(aios_linux::calls::name_of(LAST_WORD_CODE[1].into()), Some(LAST_WORD));
    }

    #[test]
    fn a_test_passes_when_status_and_output_are_the_manifests() {
        let test = |status, output: Option<&[u8]>| Test {
            args: Vec::new(),
            input: String::new(),
            status,
            output_sha256: output.map(Digest::of),
        };
        let finished = |ending| Finished {
            exit: Exit { ending, cpu_us: 0, memory_peak: 0 },
            output: b"hello".to_vec(),
            complaints: Vec::new(),
            printed: 5,
        };
        assert_eq!(judge(&test(0, None), &finished(Ending::Status(0))), Tested::Passed);
        assert_eq!(judge(&test(3, Some(b"hello")), &finished(Ending::Status(3))), Tested::Passed);
        for (test, ending) in [
            (test(0, None), Ending::Status(1)),
            (test(0, None), Ending::TimeOver),
            (test(0, None), Ending::Signal(0)),
            (test(0, Some(b"other")), Ending::Status(0)),
        ] {
            assert!(matches!(judge(&test, &finished(ending)), Tested::Failed(_)), "{test:?} {ending}");
        }
    }
}
