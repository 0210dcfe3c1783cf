//! `aios`: what a person types on the machine. It asks services and shows answers; it decides nothing and holds no right.
//! Every command that changes something submits a typed action.

mod action;
mod agent;
mod app;
mod approval;
mod args;
mod attest;
mod boot;
mod complete;
mod evidence;
mod failure;
mod follow;
mod lazily;
mod logs;
mod network;
mod object;
mod policy;
mod previous;
mod secret;
mod sentence;
mod service;
mod settings;
mod show;
mod status;
mod store;
mod update;
mod user;
mod when;
mod workflow;

use std::process::ExitCode;

use clap::Parser as _;

use crate::args::{Args, Command, NetworkCommand};
use crate::failure::Failure;
use crate::lazily::Lazily;

fn main() -> ExitCode {
    // clap ends with status 2 by itself when the words are wrong, and 0 after help.
    let args = Args::parse();
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            failure.exit_code()
        }
    }
}

fn run(args: Args) -> Result<(), Failure> {
    let format = args.format();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("cannot start the event loop: {error}")))?;
    runtime.block_on(async {
        match args.command {
            Command::Status => status::run(format).await,
            Command::Boot => boot::run(format).await,
            Command::Service { command: Lazily(command) } => service::run(command, format).await,
            Command::Action { command: Lazily(command) } => action::run(command, format).await,
            Command::Workflow { command: Lazily(command) } => workflow::run(command, format).await,
            Command::Approval { command: Lazily(command) } => approval::run(command, format).await,
            Command::Policy { command: Lazily(command) } => policy::run(command, format).await,
            Command::User { command: Lazily(command) } => user::run(command, format).await,
            Command::Secret { command: Lazily(command) } => secret::run(command, format).await,
            Command::Evidence { command: Lazily(command) } => evidence::run(command, format).await,
            Command::Attest { action } => attest::run(&action, format).await,
            Command::Agent { command: Lazily(command) } => agent::run(command, format).await,
            Command::Object { command: Lazily(command) } => object::run(command, format).await,
            Command::App { command: Lazily(command) } => app::run(command, format).await,
            Command::Store { command: Lazily(command) } => store::run(command, format).await,
            Command::Settings { command: Lazily(command) } => settings::run(command, format).await,
            Command::Network { command: Lazily(NetworkCommand::Status) } => network::run(format),
            Command::Update { command: Lazily(command) } => update::run(command, format).await,
            Command::Complete { words } => {
                complete::run(&words).await;
                Ok(())
            }
        }
    })
}
