//! The name servers, for `/etc/resolv.conf`: that one is a link to the file written here.

use std::net::IpAddr;

/// Resolvers read no more than this.
const LIMIT: usize = 3;

/// The file's name in the service's folder.
pub const FILE: &str = "resolv.conf";

/// The name servers in their order: those of the settings, then those of leases and routers, none twice.
#[must_use]
pub fn servers(settings: &[IpAddr], heard: impl IntoIterator<Item = IpAddr>) -> Vec<IpAddr> {
    let mut servers: Vec<IpAddr> = Vec::new();
    for server in settings.iter().copied().chain(heard) {
        if !servers.contains(&server) && servers.len() < LIMIT {
            servers.push(server);
        }
    }
    servers
}

/// The file's text.
#[must_use]
pub fn text(servers: &[IpAddr]) -> String {
    servers.iter().map(|server| format!("nameserver {server}\n")).collect()
}

/// The name servers of such a text. What is no address is passed over, as resolvers do.
#[must_use]
pub fn read(text: &str) -> Vec<IpAddr> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("nameserver "));
    lines.filter_map(|address| address.trim().parse().ok()).take(LIMIT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_come_first_and_nothing_twice() {
        let [a, b, c, d] = ["192.0.2.1", "192.0.2.2", "2001:db8::3", "192.0.2.4"]
            .map(|text| text.parse::<IpAddr>().expect("an address"));
        let lines = "nameserver 192.0.2.2\nnameserver 192.0.2.1\nnameserver 2001:db8::3\n";
        assert_eq!(text(&servers(&[b], [a, b, c, d])), lines);
        assert_eq!(text(&servers(&[], [])), "");
        assert_eq!(read(lines), servers(&[b], [a, b, c, d]));
        assert_eq!(read("# x\nnameserver nobody\nsearch a\nnameserver 192.0.2.1"), [a]);
    }
}
