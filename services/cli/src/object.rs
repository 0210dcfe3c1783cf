//! `aios object …`: named objects with versions.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

use aios_daemon::proxy::Objects1Proxy;
use aios_wire::objects::{ObjectTag, ObjectVersion};

use crate::action;
use crate::args::ObjectCommand;
use crate::failure::Failure;
use crate::show::{Format, read, table};

pub(crate) async fn run(command: ObjectCommand, format: Format) -> Result<(), Failure> {
    match command {
        ObjectCommand::List => {
            let all: Vec<ObjectVersion> = read("object-store", &connect().await?.list().await?)?;
            format.print(&all, |all| versions(all));
            Ok(())
        }
        ObjectCommand::Log { name } => {
            let all: Vec<ObjectVersion> = read("object-store", &connect().await?.log(&name).await?)?;
            format.print(&all, |all| versions(all));
            Ok(())
        }
        ObjectCommand::Tags { name } => {
            let all: Vec<ObjectTag> = read("object-store", &connect().await?.tags(&name).await?)?;
            format.print(&all, |all| {
                table(["TAG", "VERSION"], all.iter().map(|one| [one.tag.clone(), one.version.to_string()]));
            });
            Ok(())
        }
        ObjectCommand::Rollback { name, version } => {
            action::submit("object.rollback", [("name", name.into()), ("version", version.into())], format).await
        }
        ObjectCommand::Tag { name, tag, version } => {
            let parameters = [("name", name.into()), ("tag", tag.into()), ("version", version.into())];
            action::submit("object.tag", parameters, format).await
        }
        ObjectCommand::Untag { name, tag } => {
            action::submit("object.untag", [("name", name.into()), ("tag", tag.into())], format).await
        }
        ObjectCommand::Put { name, content } => {
            let content = if content == "-" { action::read_file(Path::new("-"))? } else { content };
            action::submit("object.put", [("name", name.into()), ("content", content.into())], format).await
        }
        ObjectCommand::Get { name, version } => {
            let content: OwnedFd = connect().await?.get(&name, version).await?.into();
            std::io::copy(&mut File::from(content), &mut std::io::stdout().lock())
                .map_err(|error| Failure::failed(format!("cannot read the object '{name}' to its end: {error}")))?;
            Ok(())
        }
    }
}

fn versions(all: &[ObjectVersion]) {
    table(
        ["OBJECT", "VERSION", "SIZE", "SHA-256"],
        all.iter().map(|v| [v.name.clone(), v.version.to_string(), v.size.to_string(), v.digest.to_string()]),
    );
}

/// A connection to the object store.
pub(crate) async fn connect() -> Result<Objects1Proxy<'static>, Failure> {
    let connection =
        aios_daemon::connect("object-store").await.map_err(|error| Failure::not_reachable("object-store", error))?;
    Ok(Objects1Proxy::new(&connection).await?)
}
