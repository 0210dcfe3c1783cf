//! `aios policy …`: the rules, and why they decide what they decide.

use std::os::fd::AsFd;

use aios_action::Envelope;
use aios_daemon::proxy::Policy1Proxy;
use aios_ids::ActionId;
use aios_wire::policy::{Decision, PolicyView, Verdict};
use zbus::Fd;

use crate::action;
use crate::args::PolicyCommand;
use crate::failure::Failure;
use crate::show::{Format, harmless, read};

pub(crate) async fn run(command: PolicyCommand, format: Format) -> Result<(), Failure> {
    let policy = connect().await?;
    match command {
        PolicyCommand::Show => {
            let shown: PolicyView = read("policy-kernel", &policy.show().await?)?;
            format.print(&shown, |shown| {
                println!("policy epoch {}", shown.epoch);
                println!("signed by    {}", if shown.signer.is_empty() { "nobody" } else { &shown.signer });
                println!("\n{}", shown.text.trim_end());
            });
            Ok(())
        }
        PolicyCommand::Explain { action_type, parameters, file } => {
            let request = action::request(action_type.as_deref(), &parameters, file.as_deref())?;
            // The id stands for an action that does not exist; who asks is found by the policy kernel, not taken from here.
            let envelope = Envelope::new(ActionId::new(0, [0; 10]), String::new(), request);
            let me = rustix::process::pidfd_open(rustix::process::getpid(), rustix::process::PidfdFlags::empty())
                .map_err(|error| Failure::failed(format!("cannot name this process: {error}")))?;
            let decision: Decision =
                read("policy-kernel", &policy.explain(&envelope.canonical(), Fd::from(me.as_fd())).await?)?;
            format.print(&decision, print);
            match decision.verdict {
                Verdict::Allowed | Verdict::NeedsApproval { .. } => Ok(()),
                Verdict::Denied => Err(Failure::denied(format!("it would be denied ({})", decision.reason))),
            }
        }
    }
}

fn print(decision: &Decision) {
    let answer = match decision.verdict {
        Verdict::Allowed => "allowed",
        Verdict::NeedsApproval { .. } => "allowed once a person approves",
        Verdict::Denied => "denied",
    };
    println!("{} may ask for this: {answer}", decision.subject);
    println!("  why    {} ({})", harmless(&decision.text), decision.reason);
    println!("  rules  {}", if decision.rules.is_empty() { "none".to_owned() } else { decision.rules.join(", ") });
    println!("  epoch  {}", decision.epoch);
}

/// A connection to the policy kernel.
pub(crate) async fn connect() -> Result<Policy1Proxy<'static>, Failure> {
    let connection =
        aios_daemon::connect("policy-kernel").await.map_err(|error| Failure::not_reachable("policy-kernel", error))?;
    Ok(Policy1Proxy::new(&connection).await?)
}
