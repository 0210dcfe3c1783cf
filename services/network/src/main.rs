//! The network service: every Ethernet link up and addressed as the settings want it.
//!
//! It is ready at once: a machine without a network is a whole machine. What it does is asked for through the settings and
//! seen in its status, in the kernel and in `/etc/resolv.conf`. Its own interface changes nothing: it tries whether
//! another machine can be reached.

mod interface;

use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aios_daemon::proxy::Settings1Proxy;
use aios_daemon::{Fatal, error_chain};
use aios_settings::{Network, Settings};
use aios_wire::init::Request;
use aios_wire::settings::SettingsList;
use interface::Network1;
use network::service::{self, Surroundings};
use tokio::sync::watch;
use tokio::task::LocalSet;

/// How long to wait for a settings service that is being started again.
const PAUSE: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    aios_daemon::run(async { LocalSet::new().run_until(run()).await })
}

async fn run() -> Result<(), Fatal> {
    aios_daemon::ready()?;
    aios_daemon::status("waits for the settings")?;
    let mut settings = SettingsWatch { generation: u64::MAX };
    let (sender, wanted) = watch::channel(settings.next().await);
    tokio::task::spawn_local(async move {
        loop {
            let next = settings.next().await;
            sender.send_if_modified(|old| std::mem::replace(old, next.clone()) != next);
        }
    });
    // The network is kept whether or not anybody can ask about it.
    tokio::task::spawn_local(async {
        let Err(error) = aios_daemon::serve("/org/aios/Network1", Network1::new).await;
        eprintln!("nobody can ask what can be reached: {}", error_chain(&error));
    });
    let tell = Box::new(|sentence: &str| {
        // PID 1 is gone only when everything ends.
        let _ = aios_daemon::status(sentence);
    });
    service::run(Surroundings { folder: network::folder(), wanted, tell, set_clock: Box::new(set_clock) }).await?;
    Ok(())
}

/// PID 1 sets the clock: this service talks with strangers and holds no right to do it.
fn set_clock(to: SystemTime) -> Result<(), String> {
    let unix_ms = to.duration_since(UNIX_EPOCH).map_err(|error| error.to_string())?.as_millis();
    let unix_ms = u64::try_from(unix_ms).map_err(|error| error.to_string())?;
    aios_daemon::init::ask(&Request::SetClock { unix_ms }).map(drop).map_err(|error| error_chain(&error))
}

/// The settings of the network, one generation after the other.
struct SettingsWatch {
    generation: u64,
}

impl SettingsWatch {
    /// The next ones; waits for a settings service that is not there.
    async fn next(&mut self) -> Network {
        loop {
            match self.ask().await {
                Ok(network) => return network,
                Err(error) => {
                    eprintln!("the settings cannot be had yet: {error}");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn ask(&mut self) -> Result<Network, String> {
        let said = |error: zbus::Error| error_chain(&error);
        let connection = aios_daemon::connect("settings").await.map_err(said)?;
        let proxy = Settings1Proxy::new(&connection).await.map_err(said)?;
        let text = proxy.watch(self.generation).await.map_err(said)?;
        let list: SettingsList = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        let settings = Settings::from_values(&list.values).map_err(|error| error.to_string())?;
        self.generation = list.generation;
        Ok(settings.network)
    }
}
