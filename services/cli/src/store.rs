//! `aios store …`: software by content, from binary caches, without packages.

use serde_json::Value;

use crate::action;
use crate::args::StoreCommand;
use crate::failure::Failure;
use crate::object;
use crate::show::{Format, read};

pub(crate) async fn run(command: StoreCommand, format: Format) -> Result<(), Failure> {
    match command {
        StoreCommand::List => {
            let paths: Vec<Value> = read("object-store", &object::connect().await?.store_list().await?)?;
            format.print(&paths, |paths| {
                for path in paths {
                    println!("{}", path["path"].as_str().or(path.as_str()).unwrap_or_default());
                }
            });
            Ok(())
        }
        StoreCommand::Info { path } => {
            let info: Value = read("object-store", &object::connect().await?.store_info(&path).await?)?;
            format.print(&info, |info| {
                for (key, value) in info.as_object().into_iter().flatten() {
                    println!("{key:12} {}", value.as_str().map_or_else(|| value.to_string(), str::to_owned));
                }
            });
            Ok(())
        }
        StoreCommand::Add { path, cache, key } => {
            action::submit("store.add", [("path", path.into()), ("cache", cache.into()), ("key", key.into())], format)
                .await
        }
        StoreCommand::Run { program, args } => {
            action::submit("task.run", [("program", program.into()), ("args", args.into())], format).await
        }
    }
}
