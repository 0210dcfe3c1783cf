//! The network service: every Ethernet link up and addressed as the settings want it.
//!
//! It is ready at once: a machine without a network is a whole machine. It offers no interface of its own; what it does is
//! asked for through the settings and seen in its status, in the kernel and in `/etc/resolv.conf`.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use aios_daemon::proxy::Settings1Proxy;
use aios_daemon::{Fatal, error_chain};
use aios_settings::{Network, NetworkMode, Settings};
use aios_wire::settings::SettingsList;
use network::link::{Configured, Keeper, Rank};
use network::netlink::{Carrier, Kind, LinkChanges, Netlink};
use network::resolv;
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
    let netlink = Rc::new(Netlink::open()?);
    let mut changes = LinkChanges::listen()?;
    for link in netlink.links()?.iter().filter(|link| link.kind == Kind::Loopback) {
        netlink.set_up(link)?;
    }
    let mut settings = SettingsWatch { generation: u64::MAX };
    let (sender, wanted) = watch::channel(settings.next().await);
    let state = Rc::new(State { links: RefCell::default(), wanted: wanted.clone() });
    state.publish();
    tokio::task::spawn_local({
        let state = Rc::clone(&state);
        async move {
            loop {
                let next = settings.next().await;
                sender.send_if_modified(|old| std::mem::replace(old, next.clone()) != next);
                state.publish();
            }
        }
    });

    let mut carriers: BTreeMap<u32, watch::Sender<Carrier>> = BTreeMap::new();
    loop {
        // Listening began before the first list, so no link is missed between a list and the next change.
        let links = netlink.links()?;
        carriers.retain(|index, _| links.iter().any(|link| link.index == *index));
        for link in links {
            let Kind::Ethernet(mac) = link.kind else { continue };
            if let Some(carrier) = carriers.get(&link.index) {
                carrier.send_if_modified(|old| std::mem::replace(old, link.carrier) != link.carrier);
                continue;
            }
            let (sender, carrier) = watch::channel(link.carrier);
            let rank = if carriers.is_empty() { Rank::First } else { Rank::Later };
            carriers.insert(link.index, sender);
            let (state, name) = (Rc::clone(&state), link.name.clone());
            let keeper = Keeper { link, mac, rank, netlink: Rc::clone(&netlink), wanted: wanted.clone(), carrier };
            tokio::task::spawn_local(async move {
                keeper.keep(|configured| state.report(&name, configured)).await;
            });
        }
        changes.next().await?;
    }
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

/// What the links have, for people and resolvers.
struct State {
    links: RefCell<BTreeMap<String, Configured>>,
    wanted: watch::Receiver<Network>,
}

impl State {
    fn report(&self, link: &str, configured: Option<Configured>) {
        let mut links = self.links.borrow_mut();
        let before = links.get(link).cloned();
        match configured.clone() {
            Some(configured) => links.insert(link.to_owned(), configured),
            None => links.remove(link),
        };
        drop(links);
        if before != configured {
            self.publish();
            eprintln!("{}", self.sentence());
        }
    }

    fn publish(&self) {
        let leased: Vec<Ipv4Addr> = self.links.borrow().values().flat_map(|link| link.dns.clone()).collect();
        if let Err(error) = resolv::write(Path::new(resolv::FILE), &self.wanted.borrow().dns, &leased) {
            eprintln!("the name servers are not told: {}", error_chain(&error));
        }
        // PID 1 is gone only when everything ends.
        let _ = aios_daemon::status(&self.sentence());
    }

    fn sentence(&self) -> String {
        let links = self.links.borrow();
        let each: Vec<String> = links
            .iter()
            .map(|(name, link)| {
                let mode = if link.mode == NetworkMode::Dhcp { "DHCP" } else { "the settings" };
                let gateway = link.gateway.map(|gateway| format!(", gateway {gateway}")).unwrap_or_default();
                format!("{name} {} from {mode}{gateway}", link.address)
            })
            .collect();
        if each.is_empty() { "no link has an address".into() } else { each.join("; ") }
    }
}
