//! What a run would do, before anything is done.

use std::collections::BTreeMap;
use std::os::fd::AsFd;

use aios_action::{Envelope, Request, canonical};
use aios_ids::{ActionId, Digest};
use aios_wire::policy::{Decision, Verdict};
use aios_workflow::{Act, Condition, Definition, Step, Typed, Work, most_actions};
use rustix::process::{PidfdFlags, getpid, pidfd_open};
use serde::Serialize;
use serde_json::Value;
use zbus::Fd;

use crate::failure::Failure;
use crate::policy;
use crate::show::{Format, harmless, read, table};

/// A definition as it would run.
#[derive(Debug, Serialize)]
struct Plan {
    name: String,
    digest: Digest,
    most_actions: u32,
    most_seconds: u64,
    steps: Vec<Line>,
}

/// One step of a plan.
#[derive(Debug, Serialize)]
struct Line {
    id: String,
    does: String,
    only_if: String,
    /// The most actions.
    most: u32,
    policy: String,
}

pub(super) async fn show(definition: &Definition, format: Format) -> Result<(), Failure> {
    let mut said = Said::default();
    let mut steps = Vec::with_capacity(definition.steps.len());
    for step in &definition.steps {
        steps.push(Line {
            id: step.id.to_string(),
            does: does(step),
            only_if: conditions(definition, step),
            most: most_actions(step),
            policy: said.of_step(step).await,
        });
    }
    let plan = Plan {
        name: definition.name().to_string(),
        digest: definition.digest(),
        most_actions: definition.budget.actions,
        most_seconds: definition.budget.time_ms / 1000,
        steps,
    };
    format.print(&plan, |plan| {
        println!("{}  digest {}", plan.name, plan.digest);
        println!("at most {} actions and {} s", plan.most_actions, plan.most_seconds);
        table(
            ["STEP", "DOES", "IF", "AT MOST", "POLICY SAYS"],
            plan.steps.iter().map(|line| {
                [
                    line.id.clone(),
                    harmless(&line.does),
                    harmless(&line.only_if),
                    line.most.to_string(),
                    line.policy.clone(),
                ]
            }),
        );
    });
    Ok(())
}

fn does(step: &Step) -> String {
    match &step.work {
        Work::Ask { question } => format!("asks: {question}"),
        Work::Act(Act { goal, retry, repair }) => {
            let parameters = canonical::write(&Value::Object(goal.parameters.clone()));
            let mut text = format!("{} {}", goal.action_type, parameters.chars().take(60).collect::<String>());
            if retry.times > 0 {
                text += &format!(", again {} times", retry.times);
            }
            if repair.rounds > 0 {
                let types: Vec<_> = repair.actions.iter().map(|typed| typed.action_type.as_str()).collect();
                text += &format!(", repaired {} times by {}", repair.rounds, types.join(", "));
            }
            text
        }
    }
}

fn conditions(definition: &Definition, step: &Step) -> String {
    let id = |place: &usize| definition.steps[*place].id.as_str();
    let after = step.after.iter().map(|place| format!("{} succeeded", id(place)));
    let when = step.when.iter().map(|condition| match condition {
        Condition::Succeeded(place) => format!("{} succeeded", id(place)),
        Condition::Failed(place) => format!("{} failed", id(place)),
        Condition::Skipped(place) => format!("{} was passed over", id(place)),
        Condition::Output { step, pointer, equals } => format!("{pointer} of {} is {equals}", id(step)),
    });
    after.chain(when).collect::<Vec<_>>().join(", ")
}

/// What policy says to each action, asked once.
#[derive(Default)]
struct Said(BTreeMap<Digest, String>);

impl Said {
    async fn of_step(&mut self, step: &Step) -> String {
        let Work::Act(act) = &step.work else { return String::new() };
        let mut answers = Vec::new();
        for typed in std::iter::once(&act.goal).chain(&act.repair.actions) {
            let answer = match self.0.get(&typed.digest()) {
                Some(known) => known.clone(),
                None => explain(typed).await.unwrap_or_else(|_| "cannot say now".into()),
            };
            self.0.insert(typed.digest(), answer.clone());
            if !answers.contains(&answer) {
                answers.push(answer);
            }
        }
        answers.join("; ")
    }
}

async fn explain(typed: &Typed) -> Result<String, Failure> {
    let request =
        Request { reason: typed.reason.clone(), ..Request::new(typed.action_type.clone(), typed.parameters.clone()) };
    // The id stands for an action that does not exist; who asks is found by the policy kernel.
    let envelope = Envelope::new(ActionId::new(0, [0; 10]), String::new(), request);
    let me = pidfd_open(getpid(), PidfdFlags::empty())
        .map_err(|error| Failure::failed(format!("cannot name this process: {error}")))?;
    let answer = policy::connect().await?.explain(&envelope.canonical(), Fd::from(me.as_fd())).await?;
    let decision: Decision = read("policy-kernel", &answer)?;
    Ok(match decision.verdict {
        Verdict::Allowed => "allowed".into(),
        Verdict::NeedsApproval { .. } => "needs approval".into(),
        Verdict::Denied => format!("denied ({})", decision.reason),
    })
}
