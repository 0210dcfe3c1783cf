//! `aios workflow …`: many actions in an order that was written down before.
//!
//! A run speaks for the session that it was started in, not for this command: the command may end and the run goes on
//! until the person logs out, and then until somebody resumes it.

mod plan;
mod replay;

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use aios_daemon::proxy::Workflows1Proxy;
use aios_workflow::{Definition, FILE_LIMIT, Now, Outcome, RunLine, RunView};
use clap::{Subcommand, ValueEnum};
use rustix::process::{PidfdFlags, getpid, getppid, pidfd_open};
use zbus::Fd;

use crate::failure::Failure;
use crate::object;
use crate::show::{Format, Ink, Tone, harmless, read, table};

/// What stands in front of the name of an object that is a definition.
const OBJECT: &str = "object:";

/// How long a run is left alone before it is looked at again: a long one would be told of a thousand times a second.
const PAUSE: Duration = Duration::from_millis(200);

#[derive(Debug, Subcommand)]
pub(crate) enum WorkflowCommand {
    /// Whether a definition could run, and if not, where it is wrong
    Check {
        /// A file in TOML or JSON, '-' for the terminal, or object:NAME
        file: String,
    },
    /// What a run would do, in its order, and what policy would say to you
    Plan {
        /// A file in TOML or JSON, '-' for the terminal, or object:NAME
        file: String,
    },
    /// The form of a definition as JSON Schema
    Schema,
    /// Runs a definition
    Run {
        /// A file in TOML or JSON, '-' for the terminal, or object:NAME
        file: String,
    },
    /// Runs of this machine, newest last
    List,
    /// One run, step by step
    Show {
        /// The run's id
        id: String,
    },
    /// Follows a run until it ends or wants a person
    Watch {
        /// The run's id
        id: String,
    },
    /// Goes on with a run of yours that was interrupted
    Resume {
        /// The run's id
        id: String,
    },
    /// Ends a run; what it did stays done
    Cancel {
        /// The run's id
        id: String,
    },
    /// Answers the question of a step
    Answer {
        /// The run's id
        id: String,
        /// The step
        step: String,
        /// yes goes on, no lets the step fail
        #[arg(value_enum)]
        answer: YesOrNo,
    },
    /// Decides a run again from its journal, and compares with it and with the evidence log
    Replay {
        /// The run's id
        id: String,
        /// Another definition in place of the one that ran
        #[arg(long)]
        definition: Option<String>,
        /// Prints every line of the trace
        #[arg(long)]
        trace: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum YesOrNo {
    Yes,
    No,
}

pub(crate) async fn run(command: WorkflowCommand, format: Format) -> Result<(), Failure> {
    match command {
        WorkflowCommand::Check { file } => {
            let definition = definition(&file).await?;
            println!("{} is good: {} steps, digest {}", definition.name(), definition.steps.len(), definition.digest());
            Ok(())
        }
        WorkflowCommand::Plan { file } => plan::show(&definition(&file).await?, format).await,
        WorkflowCommand::Schema => {
            let schema = aios_workflow::schema();
            println!("{}", serde_json::to_string_pretty(&schema).expect("a schema has only text keys"));
            Ok(())
        }
        WorkflowCommand::Run { file } => {
            // The runtime checks again; here a mistake gets its answer without a record.
            let definition = definition(&file).await?;
            let session = session()?;
            let runs = connect().await?;
            let view = read("action-runtime", &runs.run(&definition.canonical(), Fd::from(session.as_fd())).await?)?;
            begin(&view, format);
            follow(&runs, view, format).await
        }
        WorkflowCommand::List => {
            let lines: Vec<RunLine> = read("action-runtime", &connect().await?.list().await?)?;
            format.print(&lines, |lines| {
                table(
                    ["RUN", "WORKFLOW", "SUBJECT", "STATE"],
                    lines.iter().map(|line| {
                        [line.id.to_string(), line.name.to_string(), line.subject.clone(), line.state.clone()]
                    }),
                );
            });
            Ok(())
        }
        WorkflowCommand::Show { id } => {
            let view: RunView = read("action-runtime", &connect().await?.show(&id).await?)?;
            format.print(&view, print);
            Ok(())
        }
        WorkflowCommand::Watch { id } => {
            let runs = connect().await?;
            let view = read("action-runtime", &runs.show(&id).await?)?;
            follow(&runs, view, format).await
        }
        WorkflowCommand::Resume { id } => {
            let session = session()?;
            let runs = connect().await?;
            let view = read("action-runtime", &runs.resume(&id, Fd::from(session.as_fd())).await?)?;
            begin(&view, format);
            follow(&runs, view, format).await
        }
        WorkflowCommand::Cancel { id } => Ok(connect().await?.cancel(&id).await?),
        WorkflowCommand::Answer { id, step, answer } => {
            let answer = match answer {
                YesOrNo::Yes => "yes",
                YesOrNo::No => "no",
            };
            Ok(connect().await?.answer(&id, &step, answer).await?)
        }
        WorkflowCommand::Replay { id, definition: other, trace } => {
            let other = match other {
                Some(file) => Some(definition(&file).await?),
                None => None,
            };
            replay::run(&id, other, trace, format).await
        }
    }
}

/// The runs of this machine, for completion.
pub(crate) async fn all() -> Result<Vec<RunLine>, Failure> {
    read("action-runtime", &connect().await?.list().await?)
}

/// Reads a definition from where a person says it is.
async fn definition(place: &str) -> Result<Definition, Failure> {
    let cannot = |error: std::io::Error| Failure::failed(format!("cannot read {}: {error}", harmless(place)));
    let limit = FILE_LIMIT as u64 + 1;
    let mut text = String::new();
    if let Some(name) = place.strip_prefix(OBJECT) {
        let content: OwnedFd = object::connect().await?.get(name, 0).await?.into();
        File::from(content).take(limit).read_to_string(&mut text).map_err(cannot)?;
    } else if place == "-" {
        std::io::stdin().lock().take(limit).read_to_string(&mut text).map_err(cannot)?;
    } else {
        let file = File::open(Path::new(place)).map_err(cannot)?;
        file.take(limit).read_to_string(&mut text).map_err(cannot)?;
    }
    Definition::parse(&text).map_err(|error| {
        Failure::usage(format!("{}: {error}", harmless(place))).hint("'aios workflow schema' shows the form")
    })
}

/// A handle on the session that this command was typed in: the program that started it, while that runs.
fn session() -> Result<OwnedFd, Failure> {
    let session = getppid().unwrap_or_else(getpid);
    pidfd_open(session, PidfdFlags::empty())
        .map_err(|error| Failure::failed(format!("cannot name the session of this command: {error}")))
}

fn begin(view: &RunView, format: Format) {
    if format == Format::People {
        println!("{} of {} runs; Ctrl-C leaves it running, 'aios workflow watch {0}' comes back", view.id, view.name);
    }
}

/// Tells of each step as it ends, until the run has ended or wants a person.
async fn follow(runs: &Workflows1Proxy<'_>, mut view: RunView, format: Format) -> Result<(), Failure> {
    let mut told = 0;
    loop {
        if format == Format::People {
            let ended = view.steps.iter().take_while(|step| step.state != "now" && step.state != "later").count();
            view.steps.iter().take(ended).skip(told).for_each(print_step);
            told = told.max(ended);
        }
        if !matches!(view.now, Now::Running { .. }) {
            return conclude(&view, format);
        }
        tokio::time::sleep(PAUSE).await;
        view = read("action-runtime", &runs.watch(view.id.as_str(), &view.mark).await?)?;
    }
}

fn conclude(view: &RunView, format: Format) -> Result<(), Failure> {
    if format == Format::Json {
        format.print(view, |_| {});
    }
    let id = &view.id;
    match &view.now {
        Now::Ended(Outcome::Succeeded) => {
            if format == Format::People {
                println!("{id} succeeded: {} actions, record {}", view.submitted, records(view));
            }
            Ok(())
        }
        Now::Ended(Outcome::Failed { step, text }) => {
            Err(Failure::failed(format!("{id} failed at step '{step}': {}", harmless(text)))
                .hint(format!("'aios workflow show {id}' shows every step")))
        }
        Now::Ended(Outcome::Cancelled { by }) => Err(Failure::failed(format!("{id} was cancelled by {by}"))),
        Now::Approval { action, approval } => {
            Err(Failure::waits(format!("{id} waits for a person: {action} needs approval")).hint(format!(
                "'aios approval show {approval}', then 'aios approval approve {approval}'; the run goes on by itself"
            )))
        }
        Now::Question { question } => {
            let step = view.steps.iter().find(|step| step.state == "now").map_or("", |step| step.id.as_str());
            Err(Failure::waits(format!("{id} asks: {}", harmless(question)))
                .hint(format!("'aios workflow answer {id} {step} yes' or 'no'; the run goes on by itself")))
        }
        Now::Suspended { why } => Err(Failure::waits(format!("{id} stands still: {}", harmless(why)))
            .hint(format!("'aios workflow resume {id}', as {}", view.subject))),
        Now::Running { .. } => Ok(()),
    }
}

fn records(view: &RunView) -> String {
    view.evidence.iter().map(u64::to_string).collect::<Vec<_>>().join(" to ")
}

fn print(view: &RunView) {
    println!("{}  {}  {}", view.id, view.name, view.now.word());
    println!("  run by     {}", harmless(&view.subject));
    println!("  definition {}", view.digest);
    println!("  taken      {} actions, {} s", view.submitted, view.spent_ms / 1000);
    println!("  evidence   {}", records(view));
    match &view.now {
        Now::Running { action: Some(action) } => println!("  now        {action}"),
        Now::Approval { action, approval } => println!("  now        {action} waits for {approval}"),
        Now::Question { question } => println!("  asks       {}", harmless(question)),
        Now::Suspended { why } => {
            println!("  stands     {}; 'aios workflow resume {}' goes on", harmless(why), view.id)
        }
        Now::Running { action: None } | Now::Ended(_) => {}
    }
    view.steps.iter().for_each(print_step);
}

fn print_step(step: &aios_workflow::StepView) {
    let tone = match step.state.as_str() {
        "succeeded" => Tone::Good,
        "failed" => Tone::Bad,
        "now" => Tone::Waits,
        _ => Tone::Plain,
    };
    let state = Ink::of_stdout().paint(tone, &format!("{:9}", step.state));
    let text = if step.text.is_empty() { String::new() } else { format!("  {}", harmless(&step.text)) };
    println!("  {state}  {}{text}", step.id);
}

async fn connect() -> Result<Workflows1Proxy<'static>, Failure> {
    let connection = aios_daemon::connect("action-runtime")
        .await
        .map_err(|error| Failure::not_reachable("action-runtime", error))?;
    Ok(Workflows1Proxy::new(&connection).await?)
}
