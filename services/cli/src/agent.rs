//! `aios agent …`: supervised, confined programs that propose.

use aios_action::ActionView;
use aios_identity::Peer;
use aios_wire::init::Service;
use serde_json::{Value, json};

use crate::action;
use crate::args::AgentCommand;
use crate::failure::Failure;
use crate::service;
use crate::show::{Format, table};

pub(crate) async fn run(command: AgentCommand, format: Format) -> Result<(), Failure> {
    match command {
        AgentCommand::List => {
            let agents = agents()?;
            format.print(&agents, |agents| {
                table(
                    ["AGENT", "STATE", "STARTS", "NOTE"],
                    agents.iter().map(|a| {
                        [a.name.clone(), service::state_word(a.state).into(), a.starts.to_string(), a.note.clone()]
                    }),
                );
            });
            Ok(())
        }
        AgentCommand::Run { name } => action::submit("agent.run", [("name", name.into())], format).await,
        AgentCommand::Show { name } => {
            let agent = agents()?.into_iter().find(|agent| agent.name == name).ok_or_else(|| {
                Failure::failed(format!("there is no agent '{}'", name.escape_default())).hint("aios agent list")
            })?;
            let subject = Peer::Agent { name: name.clone() }.to_string();
            let asked: Vec<ActionView> =
                action::all().await?.into_iter().filter(|view| view.subject == subject).collect();
            let shown: Value = json!({"agent": agent, "actions": asked});
            format.print(&shown, |_| {
                println!(
                    "{name}: {}, started {} times; {}",
                    service::state_word(agent.state),
                    agent.starts,
                    agent.note
                );
                table(
                    ["ACTION", "TYPE", "STATE"],
                    asked
                        .iter()
                        .map(|view| [view.id.to_string(), view.request.action_type.clone(), view.state.word().into()]),
                );
            });
            Ok(())
        }
    }
}

/// The agents among what PID 1 supervises.
pub(crate) fn agents() -> Result<Vec<Service>, Failure> {
    Ok(service::services()?.into_iter().filter(|unit| unit.role.is_an_agent()).collect())
}
