//! `aios approval …`: a person says yes or no to exactly one envelope.

use std::io::{BufRead, IsTerminal, Read, Write};
use std::path::Path;

use aios_daemon::proxy::Policy1Proxy;
use aios_identity::{Peer, SessionStrength};
use aios_wire::policy::{Approval, ApprovalState};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use crate::args::ApprovalCommand;
use crate::failure::Failure;
use crate::show::{Format, harmless, read, table};
use crate::status;

pub(crate) async fn run(command: ApprovalCommand, format: Format) -> Result<(), Failure> {
    match command {
        ApprovalCommand::List => {
            format.print(&all().await?, |approvals| {
                table(
                    ["REQUEST", "STATE", "SUBJECT", "TYPE", "RISK"],
                    approvals.iter().map(|a| {
                        [
                            a.id.to_string(),
                            state_text(&a.state),
                            a.subject.to_string(),
                            a.action_type.clone(),
                            a.risk.clone(),
                        ]
                    }),
                );
            });
            Ok(())
        }
        ApprovalCommand::Show { id, to_sign: true } => {
            let text = find(&id).await?.to_sign.ok_or_else(|| {
                Failure::failed(format!("{} does not wait for anybody", harmless(&id))).hint("aios approval list")
            })?;
            format.print(&text, |text| print!("{text}"));
            Ok(())
        }
        ApprovalCommand::Show { id, to_sign: false } => {
            format.print(&find(&id).await?, print);
            Ok(())
        }
        ApprovalCommand::Approve { id, signature: Some(path), .. } => {
            let signature = read_signature(&path)?;
            policy().await?.approve_signed(&id, &signature).await?;
            say_what_is_next(&find(&id).await?, format);
            Ok(())
        }
        ApprovalCommand::Approve { id, code, signature: None } => {
            let approval = find(&id).await?;
            if format == Format::People {
                print(&approval);
            }
            let code = match code {
                Some(code) => code,
                // Only who has the request before them is asked for what stands there.
                None if format == Format::People => ask_code(&approval)?,
                None => String::new(),
            };
            let pass_phrase = match status::session_strength() {
                Some(SessionStrength::PassPhrase) => ask_hidden("pass phrase: ")?,
                _ => String::new(),
            };
            policy().await?.approve(&id, &code, &pass_phrase).await?;
            say_what_is_next(&find(&id).await?, format);
            Ok(())
        }
        ApprovalCommand::Reject { id, reason } => {
            policy().await?.reject(&id, &reason).await?;
            format.print(&find(&id).await?, |approval| println!("rejected: {}", approval.id));
            Ok(())
        }
    }
}

fn say_what_is_next(approval: &Approval, format: Format) {
    format.print(approval, |after| match &after.state {
        ApprovalState::Waiting => println!("it needs {}, and {} said yes", after.wanted, names(&after.yes)),
        _ => println!("approved; the action runs now: 'aios action watch {}'", after.action),
    });
}

/// The last line of a signature.
const SIGNATURE_ENDS: &str = "-----END SSH SIGNATURE-----";

/// More than this is no signature; the policy kernel takes less.
const SIGNATURE_LIMIT: u64 = 8192;

/// Reads a signature from a file. From the terminal it is read up to its last line, so that nobody has to end the input.
fn read_signature(path: &Path) -> Result<String, Failure> {
    let cannot = |error| Failure::failed(format!("cannot read the signature from {}: {error}", path.display()));
    let from: Box<dyn Read> = match path.to_str() {
        Some("-") => {
            if std::io::stdin().is_terminal() {
                eprintln!("the signature, down to its last line:");
            }
            Box::new(std::io::stdin())
        }
        _ => Box::new(std::fs::File::open(path).map_err(cannot)?),
    };
    signature_from(from).map_err(cannot)
}

fn signature_from(from: impl Read) -> std::io::Result<String> {
    let mut lines = std::io::BufReader::new(from.take(SIGNATURE_LIMIT));
    let mut text = String::new();
    let mut begins = 0;
    while lines.read_line(&mut text)? > 0 && text[begins..].trim() != SIGNATURE_ENDS {
        begins = text.len();
    }
    Ok(text)
}

pub(crate) fn print(approval: &Approval) {
    println!("{}  {}", approval.id, state_text(&approval.state));
    println!("  asked by   {}", approval.subject);
    println!("  action     {}  {}", approval.action, approval.action_type);
    println!("  parameters {}", harmless(&approval.parameters));
    if let Some(target) = &approval.target {
        println!("  for        {}", harmless(target));
    }
    println!(
        "  risk       {}; {}",
        approval.risk,
        if approval.reversible { "can be undone" } else { "cannot be undone" }
    );
    println!("  digest     {}", approval.digest);
    if let Some(code) = approval.code.as_ref().filter(|_| approval.state == ApprovalState::Waiting) {
        println!("  code       {code}");
    }
    if approval.wrong_codes > 0 {
        println!("  ! wrong codes were typed: {}", approval.wrong_codes);
    }
    println!("  needs      {}", approval.wanted);
    if !approval.yes.is_empty() {
        println!("  yes from   {}", names(&approval.yes));
    }
    for line in &approval.shows {
        println!("  ! {}", harmless(line));
    }
    if !approval.reason.is_empty() {
        println!("  they say   \"{}\"", harmless(&approval.reason));
    }
}

fn state_text(state: &ApprovalState) -> String {
    match state {
        ApprovalState::Waiting => "waiting".into(),
        ApprovalState::Granted { by, .. } => format!("granted by {by}"),
        ApprovalState::Rejected { by, .. } => format!("rejected by {by}"),
        ApprovalState::Consumed { .. } => "consumed".into(),
        ApprovalState::Expired { why } => format!("expired: {why}"),
    }
}

fn names(people: &[Peer]) -> String {
    people.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Every request of this machine, as the policy kernel tells.
pub(crate) async fn all() -> Result<Vec<Approval>, Failure> {
    read("policy-kernel", &policy().await?.approvals().await?)
}

pub(crate) async fn find(id: &str) -> Result<Approval, Failure> {
    all().await?.into_iter().find(|approval| approval.id.as_str() == id).ok_or_else(|| {
        Failure::failed(format!("there is no request '{}'", id.escape_default())).hint("aios approval list")
    })
}

/// Asks for the code of a request that a person has before them; there is nothing to ask where it has none or is answered.
pub(crate) fn ask_code(approval: &Approval) -> Result<String, Failure> {
    if approval.code.is_none() || approval.state != ApprovalState::Waiting {
        return Ok(String::new());
    }
    ask_line(&format!("the risk is {}; type the code to approve: ", approval.risk))
}

/// Asks for a line that anybody may see.
pub(crate) fn ask_line(question: &str) -> Result<String, Failure> {
    let cannot = |error: std::io::Error| Failure::failed(format!("cannot ask '{}': {error}", question.trim()));
    print!("{question}");
    std::io::stdout().flush().map_err(cannot)?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).map_err(cannot)?;
    Ok(line.trim().to_owned())
}

/// Asks for a pass phrase without showing it; a program may write it to standard input instead.
pub(crate) fn ask_hidden(question: &str) -> Result<String, Failure> {
    let cannot = |error: std::io::Error| Failure::failed(format!("cannot ask for the pass phrase: {error}"));
    let stdin = std::io::stdin();
    let terminal = if stdin.is_terminal() { tcgetattr(&stdin).ok() } else { None };
    print!("{question}");
    std::io::stdout().flush().map_err(cannot)?;
    if let Some(modes) = &terminal {
        let mut hidden = modes.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&stdin, OptionalActions::Flush, &hidden).map_err(|error| cannot(error.into()))?;
    }
    let mut line = String::new();
    let asked = stdin.lock().read_line(&mut line).map_err(cannot);
    if let Some(modes) = &terminal {
        tcsetattr(&stdin, OptionalActions::Now, modes).map_err(|error| cannot(error.into()))?;
    }
    println!();
    asked?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

async fn policy() -> Result<Policy1Proxy<'static>, Failure> {
    crate::policy::connect().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_ends_with_its_last_line_and_is_never_long() {
        let signature = format!("-----BEGIN SSH SIGNATURE-----\r\nAAAA\r\n{SIGNATURE_ENDS}\r\n");
        let read = signature_from(format!("{signature}what is typed next\n").as_bytes()).expect("read");
        assert_eq!(read, signature);
        assert_eq!(signature_from("cut off".as_bytes()).expect("read"), "cut off");
        let endless = std::io::repeat(b'A');
        assert_eq!(signature_from(endless).expect("read").len() as u64, SIGNATURE_LIMIT);
    }
}
