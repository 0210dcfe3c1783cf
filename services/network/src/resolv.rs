//! The name servers, for `/etc/resolv.conf`: that one is a link to the file written here.

use std::net::Ipv4Addr;
use std::path::Path;

/// Resolvers read no more than this.
const LIMIT: usize = 3;

/// The file that `/etc/resolv.conf` leads to.
pub const FILE: &str = "/run/aios-network/resolv.conf";

/// Writes the name servers of the settings, then those of the leases.
pub fn write(path: &Path, settings: &[Ipv4Addr], leases: &[Ipv4Addr]) -> Result<(), aios_store::ReplaceError> {
    aios_store::replace(path, text(settings, leases).as_bytes(), 0o644)
}

fn text(settings: &[Ipv4Addr], leases: &[Ipv4Addr]) -> String {
    let mut servers: Vec<Ipv4Addr> = Vec::new();
    for server in settings.iter().chain(leases) {
        if !servers.contains(server) && servers.len() < LIMIT {
            servers.push(*server);
        }
    }
    servers.iter().map(|server| format!("nameserver {server}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_come_first_and_nothing_twice() {
        let [a, b, c, d] = [1, 2, 3, 4].map(|host| Ipv4Addr::new(192, 0, 2, host));
        let lines = "nameserver 192.0.2.2\nnameserver 192.0.2.1\nnameserver 192.0.2.3\n";
        assert_eq!(text(&[b], &[a, b, c, d]), lines);
        assert_eq!(text(&[], &[]), "");
    }
}
