//! `aios policy …`: the rules, and why they decide what they decide.

use std::io::{IsTerminal, Read};
use std::os::fd::AsFd;
use std::path::Path;

use aios_action::Envelope;
use aios_daemon::proxy::Policy1Proxy;
use aios_identity::SessionStrength;
use aios_ids::ActionId;
use aios_wire::policy::{BundleReport, CaseReport, Decision, OverrideView, PolicyOrigin, PolicyView, Verdict};
use serde_json::Value;
use zbus::Fd;

use crate::args::{OverrideCommand, PolicyCommand};
use crate::failure::Failure;
use crate::show::{Format, harmless, read};
use crate::{action, approval, status};

/// No bundle is longer, and what is longer is not sent.
const BUNDLE_LIMIT: u64 = 1024 * 1024;

pub(crate) async fn run(command: PolicyCommand, format: Format) -> Result<(), Failure> {
    let policy = connect().await?;
    match command {
        PolicyCommand::Show => {
            let shown: PolicyView = read("policy-kernel", &policy.show().await?)?;
            format.print(&shown, |shown| {
                println!("policy epoch {}", shown.epoch);
                println!("signed by    {}", if shown.signer.is_empty() { "nobody" } else { &shown.signer });
                println!(
                    "from         {}",
                    match shown.origin {
                        PolicyOrigin::Image => "the image",
                        PolicyOrigin::Loaded => "a bundle that an operator loaded",
                    }
                );
                if !shown.note.is_empty() {
                    println!("! {}", harmless(&shown.note));
                }
                println!("\n{}", shown.text.trim_end());
            });
            Ok(())
        }
        PolicyCommand::Check { bundle } => {
            let report: BundleReport = read("policy-kernel", &policy.check(&read_bundle(&bundle)?).await?)?;
            format.print(&report, print_report);
            match report.refused {
                None => Ok(()),
                Some(why) => Err(Failure::failed(format!("it cannot be loaded: {}", harmless(&why)))),
            }
        }
        PolicyCommand::Load { bundle } => {
            let report: BundleReport = read("policy-kernel", &policy.offer(&read_bundle(&bundle)?).await?)?;
            if format == Format::People {
                print_report(&report);
            }
            action::submit("policy.load", [("digest", Value::from(report.digest.to_string()))], format).await
        }
        PolicyCommand::Test => {
            let cases: Vec<CaseReport> = read("policy-kernel", &policy.test().await?)?;
            let wrong = cases.iter().filter(|case| case.wrong.is_some()).count();
            format.print(&cases, |cases| {
                for case in cases {
                    println!(
                        "{}  {}: {}",
                        if case.wrong.is_none() { "ok " } else { "BAD" },
                        harmless(&case.asks),
                        case.expected
                    );
                    if let Some(why) = &case.wrong {
                        println!("     {}", harmless(why));
                    }
                }
                println!("{} cases, {wrong} come out otherwise", cases.len());
            });
            match (cases.len(), wrong) {
                (0, _) => Err(Failure::failed("no policy is in force").hint("aios policy show")),
                (_, 0) => Ok(()),
                _ => Err(Failure::failed(format!("{wrong} cases come out otherwise than they say"))),
            }
        }
        PolicyCommand::Override { command } => emergency(&policy, command, format).await,
        PolicyCommand::Explain { subject: Some(subject), action_type, parameters, file } => {
            let request = action::request(action_type.as_deref(), &parameters, file.as_deref())?;
            let envelope = Envelope::new(ActionId::new(0, [0; 10]), subject.to_string(), request);
            let subject = serde_json::to_string(&subject).expect("a peer has only text keys");
            let decision = read("policy-kernel", &policy.decide_again(&envelope.canonical(), &subject).await?)?;
            explained(&decision, format)
        }
        PolicyCommand::Explain { subject: None, action_type, parameters, file } => {
            let request = action::request(action_type.as_deref(), &parameters, file.as_deref())?;
            // The id stands for an action that does not exist; who asks is found by the policy kernel, not taken from here.
            let envelope = Envelope::new(ActionId::new(0, [0; 10]), String::new(), request);
            let me = rustix::process::pidfd_open(rustix::process::getpid(), rustix::process::PidfdFlags::empty())
                .map_err(|error| Failure::failed(format!("cannot name this process: {error}")))?;
            let decision = read("policy-kernel", &policy.explain(&envelope.canonical(), Fd::from(me.as_fd())).await?)?;
            explained(&decision, format)
        }
    }
}

fn explained(decision: &Decision, format: Format) -> Result<(), Failure> {
    format.print(decision, print);
    match decision.verdict {
        Verdict::Allowed | Verdict::NeedsApproval { .. } => Ok(()),
        Verdict::Denied => Err(Failure::denied(format!("it would be denied ({})", decision.reason))),
    }
}

/// A bundle's bytes; a little more than there may be, so that whoever checks it can say that it is too long.
fn read_bundle(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = if path == Path::new("-") {
        if std::io::stdin().is_terminal() {
            return Err(Failure::usage("a terminal does not pass on lines as long as a bundle's; name a file"));
        }
        std::io::stdin().lock().take(BUNDLE_LIMIT + 1).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(BUNDLE_LIMIT + 1).read_to_end(&mut bytes))
    };
    read.map_err(|error| {
        Failure::failed(format!("cannot read {}: {error}", path.display()))
            .hint("a session sees /nix/store, /aios/groups and /root; 'aios store add' brings a bundle in a store path")
    })?;
    Ok(bytes)
}

fn print_report(report: &BundleReport) {
    println!("policy epoch {}, {} rules, {} cases hold", report.epoch, report.rules, report.cases);
    println!("  bundle     {}", report.digest);
    println!("  signed by  {}", report.signer);
    println!("  instead of {}", report.instead_of);
    if !report.widens_agents.is_empty() {
        println!("  AGENTS GET MORE:");
    }
    for line in &report.widens_agents {
        println!("    {}", harmless(line));
    }
    let heading = match (report.widens_agents.is_empty(), report.changes.is_empty()) {
        (true, true) => "no answer changes for anybody",
        (true, false) => "agents get nothing new; what changes:",
        (false, true) => "nothing else changes",
        (false, false) => "what else changes:",
    };
    println!("  {heading}");
    for line in &report.changes {
        println!("    {}", harmless(line));
    }
}

fn print(decision: &Decision) {
    let answer = match (&decision.verdict, decision.wanted) {
        (Verdict::Allowed, _) => "yes, at once".to_owned(),
        (Verdict::NeedsApproval { .. }, wanted) => format!("yes, once approved by {}", wanted.unwrap_or_default()),
        (Verdict::Denied, _) => "no".to_owned(),
    };
    println!("may {} do this? {answer}", decision.subject);
    println!("  why    {} ({})", harmless(&decision.text), decision.reason);
    println!("  rules  {}", if decision.rules.is_empty() { "none".to_owned() } else { decision.rules.join(", ") });
    println!("  epoch  {}", decision.epoch);
}

async fn emergency(policy: &Policy1Proxy<'_>, command: OverrideCommand, format: Format) -> Result<(), Failure> {
    match command {
        OverrideCommand::Start { minutes, reason } => {
            let pass_phrase = match status::session_strength() {
                Some(SessionStrength::PassPhrase) => approval::ask_hidden("pass phrase: ")?,
                _ => String::new(),
            };
            let begun = policy.start_override(minutes, &reason, &pass_phrase).await?;
            format.print(&read::<OverrideView>("policy-kernel", &begun)?, |begun| {
                println!("{}", override_line(begun));
                println!("it lifts nothing that is forbidden or compiled in; 'aios policy override end' ends it");
            });
            Ok(())
        }
        OverrideCommand::End => {
            policy.end_override().await?;
            format.print(&serde_json::json!({"override": null}), |_| println!("there is no emergency"));
            Ok(())
        }
        OverrideCommand::Show => {
            format.print(&override_now(policy).await?, |lasting| match lasting {
                Some(lasting) => println!("{}", override_line(lasting)),
                None => println!("there is no emergency"),
            });
            Ok(())
        }
    }
}

/// The emergency that lasts.
pub(crate) async fn override_now(policy: &Policy1Proxy<'_>) -> Result<Option<OverrideView>, Failure> {
    read("policy-kernel", &policy.override_now().await?)
}

/// An emergency in one line.
pub(crate) fn override_line(lasting: &OverrideView) -> String {
    format!(
        "{} has an emergency for {} more min ({} decisions so far): {}",
        lasting.by,
        lasting.left_s.div_ceil(60),
        lasting.uses,
        harmless(&lasting.reason)
    )
}

/// A connection to the policy kernel.
pub(crate) async fn connect() -> Result<Policy1Proxy<'static>, Failure> {
    let connection =
        aios_daemon::connect("policy-kernel").await.map_err(|error| Failure::not_reachable("policy-kernel", error))?;
    Ok(Policy1Proxy::new(&connection).await?)
}
