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
            Command::Service { command } => service::run(command, format).await,
            Command::Action { command } => action::run(command, format).await,
            Command::Workflow { command } => workflow::run(command, format).await,
            Command::Approval { command } => approval::run(command, format).await,
            Command::Policy { command } => policy::run(command, format).await,
            Command::User { command } => user::run(command, format).await,
            Command::Secret { command } => secret::run(command, format).await,
            Command::Evidence { command } => evidence::run(command, format).await,
            Command::Attest { action } => attest::run(&action, format).await,
            Command::Agent { command } => agent::run(command, format).await,
            Command::Object { command } => object::run(command, format).await,
            Command::App { command } => app::run(command, format).await,
            Command::Store { command } => store::run(command, format).await,
            Command::Settings { command } => settings::run(command, format).await,
            Command::Network { command: NetworkCommand::Status } => network::run(format),
            Command::Update { command } => update::run(command, format).await,
            Command::Complete { words } => {
                complete::run(&words).await;
                Ok(())
            }
        }
    })
}
