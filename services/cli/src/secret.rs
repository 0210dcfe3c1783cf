//! `aios secret …`: what the vault keeps. A value goes from this program to the vault and nowhere else; the action that
//! follows names it by what the vault called it. There is no word that shows one.

use aios_daemon::proxy::Vault1Proxy;
use aios_wire::vault::{SecretState, SecretView};

use crate::action;
use crate::approval::ask_hidden;
use crate::args::SecretCommand;
use crate::failure::Failure;
use crate::show::{Format, harmless, read, table};

/// The header that most hosts want a secret in.
const USUAL_HEADER: &str = "Authorization: Bearer {}";

pub(crate) async fn run(command: SecretCommand, format: Format) -> Result<(), Failure> {
    match command {
        SecretCommand::List => {
            let all: Vec<SecretView> = read("vault", &connect().await?.list().await?)?;
            format.print(&all, |all| table(["SECRET", "FOR", "HEADER"], all.iter().map(row)));
            Ok(())
        }
        SecretCommand::Add { name, hosts, header } => {
            let value = ask_hidden(&format!("value of {name}: "))?;
            if let Some(host) = hosts.iter().find(|host| host.starts_with("http://")) {
                eprintln!("it will travel in the clear to {}: whoever is on the way reads it", harmless(host));
            }
            let offer = connect().await?.offer(&value).await?;
            let header = header.unwrap_or_else(|| USUAL_HEADER.into());
            let parameters =
                [("name", name.into()), ("hosts", hosts.into()), ("offer", offer.into()), ("header", header.into())];
            action::submit("secret.put", parameters, format).await
        }
        SecretCommand::Remove { name } => action::submit("secret.remove", [("name", name.into())], format).await,
    }
}

fn row(secret: &SecretView) -> [String; 3] {
    match &secret.state {
        SecretState::Kept { hosts, header, .. } => [secret.name.clone(), hosts.join(" "), header.clone()],
        SecretState::Damaged { why } => {
            [secret.name.clone(), format!("cannot be used: {}", harmless(why)), String::new()]
        }
    }
}

async fn connect() -> Result<Vault1Proxy<'static>, Failure> {
    let connection = aios_daemon::connect("vault").await.map_err(|error| Failure::not_reachable("vault", error))?;
    Ok(Vault1Proxy::new(&connection).await?)
}
