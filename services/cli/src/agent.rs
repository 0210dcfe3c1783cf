//! `aios agent …`: supervised, confined programs that propose.

use aios_action::ActionView;
use serde_json::{Value, json};

use crate::action;
use crate::args::AgentCommand;
use crate::failure::Failure;
use crate::service;
use crate::show::{Format, table};

/// PID 1 names an agent's unit so.
const PREFIX: &str = "agent:";

pub(crate) async fn run(command: AgentCommand, format: Format) -> Result<(), Failure> {
    match command {
        AgentCommand::List => {
            let agents: Vec<_> = service::services()?.into_iter().filter(|s| s.name.starts_with(PREFIX)).collect();
            format.print(&agents, |agents| {
                table(
                    ["AGENT", "STATE", "STARTS", "NOTE"],
                    agents.iter().map(|a| {
                        [
                            a.name.trim_start_matches(PREFIX).to_owned(),
                            service::state_word(a.state).into(),
                            a.starts.to_string(),
                            a.note.clone(),
                        ]
                    }),
                );
            });
            Ok(())
        }
        AgentCommand::Run { name } => action::submit("agent.run", [("name", name.into())], format).await,
        AgentCommand::Show { name } => {
            let unit = format!("{PREFIX}{name}");
            let agent = service::services()?.into_iter().find(|s| s.name == unit).ok_or_else(|| {
                Failure::failed(format!("there is no agent '{}'", name.escape_default())).hint("aios agent list")
            })?;
            let asked: Vec<ActionView> = action::all().await?.into_iter().filter(|view| view.subject == unit).collect();
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
