//! `aios store …`: software by content, from binary caches, without packages.

use aios_wire::objects::{StoreVerified, StoredPath};

use crate::action;
use crate::args::StoreCommand;
use crate::failure::Failure;
use crate::object;
use crate::show::{Format, read};

pub(crate) async fn run(command: StoreCommand, format: Format) -> Result<(), Failure> {
    match command {
        StoreCommand::List => {
            let paths: Vec<StoredPath> = read("object-store", &object::connect().await?.store_list().await?)?;
            format.print(&paths, |paths| paths.iter().for_each(|stored| println!("{}", stored.path)));
            Ok(())
        }
        StoreCommand::Info { path } => {
            let info: StoredPath = read("object-store", &object::connect().await?.store_info(&path).await?)?;
            format.print(&info, |info| {
                println!("{}", info.path);
                println!("  signed by  {} ({})", info.signed_by, info.cache);
                println!("  hash       {} over {} bytes", info.nar_hash, info.nar_size);
                println!("  refers to  {}", info.references.join(" "));
            });
            Ok(())
        }
        StoreCommand::Verify { path } => {
            let found: StoreVerified = read("object-store", &object::connect().await?.store_verify(&path).await?)?;
            format.print(&found, |found| {
                println!("{}: {}", found.path, if found.intact { "as it was signed" } else { "changed" });
            });
            if found.intact { Ok(()) } else { Err(Failure::failed(found.text)) }
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
