//! The whole service in a network of its own, beside real servers: dnsmasq, radvd, chrony, and a small one of ours that
//! says what those never say.
//!
//! Each test lays cables between network namespaces and removes them. The test program starts itself again inside them. It
//! needs root, `ip`, and the servers, as the machine of CI has them.

mod cable;
mod rogue;

use std::time::Duration;

use aios_wire::network::{ClockState, FilterState, LinkState};

use cable::{Network, part};

#[test]
fn a_lease_of_dnsmasq_is_taken_renewed_and_replaced() {
    // The other ends of every test begin here.
    part();
    let Some(network) = Network::lay(1, &["dnsmasq"]) else { return };
    let mut server = network.serve(0, "dnsmasq", &dnsmasq(100, "192.0.2.1"));
    let client = network.client("");
    let status = client.wait(
        "the lease",
        |status| matches!(&status.links[0].state, LinkState::Leased { server, .. } if server == "192.0.2.1"),
    );
    assert!(status.links[0].addresses[0].starts_with("192.0.2.1"), "{status:?}");
    assert_eq!(
        (status.name_servers.as_slice(), status.attention.len()),
        (&["192.0.2.1".to_owned()][..], 0),
        "{status:?}"
    );
    assert_eq!(client.file("resolv.conf"), "nameserver 192.0.2.1\n");
    client.wait_for("the route", &["route"], |seen| seen.contains("default via 192.0.2.1 dev eth0"));
    // T1 is three seconds here.
    server.wait("a renewal", |log| log.matches("DHCPACK").count() >= 3);

    // Another server on the same cable knows nothing of the lease: the renewal is not answered, the rebinding refused.
    drop(server);
    network.ip(0, "addr del 192.0.2.1/24 dev eth0");
    network.ip(0, "addr add 192.0.2.2/24 dev eth0");
    let mut server = network.serve(0, "dnsmasq", &dnsmasq(200, "192.0.2.2"));
    server.wait("the refusal", |log| log.contains("DHCPNAK"));
    let status = client.wait(
        "the other lease",
        |status| matches!(&status.links[0].state, LinkState::Leased { server, .. } if server == "192.0.2.2"),
    );
    assert!(
        status.links[0].addresses.len() == 1 && status.links[0].addresses[0].starts_with("192.0.2.2"),
        "{status:?}"
    );
}

#[test]
fn two_links_have_two_leases_and_the_first_is_the_way_out() {
    let Some(network) = Network::lay(2, &["dnsmasq"]) else { return };
    let _first = network.serve(0, "dnsmasq", &dnsmasq(100, "192.0.2.1"));
    network.ip(1, "addr del 192.0.2.1/24 dev eth0");
    network.ip(1, "addr add 198.51.100.1/24 dev eth0");
    let words =
        dnsmasq(100, "198.51.100.1").iter().map(|word| word.replace("192.0.2.", "198.51.100.")).collect::<Vec<_>>();
    let _second = network.serve(1, "dnsmasq", &words);
    let client = network.client("");
    let status = client.wait("both leases", |status| {
        status.links.len() == 2 && status.links.iter().all(|link| matches!(link.state, LinkState::Leased { .. }))
    });
    assert_eq!(status.name_servers, ["192.0.2.1", "198.51.100.1"]);
    client.wait_for("two ways in their order", &["route", "show", "default"], |seen| {
        let metric = |via: &str| {
            let line = seen.lines().find(|line| line.contains(via))?;
            line.split("metric ").nth(1)?.trim().parse::<u32>().ok()
        };
        metric("192.0.2.1").zip(metric("198.51.100.1")).is_some_and(|(first, second)| first < second)
    });
    // One cable is pulled: its address and its name server go, the other link stays.
    network.ip(0, "link set eth0 down");
    let status = client.wait("the loss", |status| status.links[0].state == LinkState::NoCarrier);
    assert_eq!((status.links[0].addresses.len(), status.name_servers), (0, vec!["198.51.100.1".to_owned()]));
    assert_eq!(status.attention, Vec::<String>::new(), "the machine has a network");
}

#[test]
fn a_network_without_a_server_is_named_and_a_fixed_address_helps() {
    let Some(network) = Network::lay(1, &[]) else { return };
    let client = network.client("");
    let status = client.wait("the complaint", |status| !status.attention.is_empty());
    assert!(status.attention[0].contains("no DHCP server answers on eth0"), "{status:?}");
    assert_eq!(status.filter, FilterState::Loaded);

    client.settings("eth0 static 198.51.100.7/24 2001:db8::7/64 via 198.51.100.1 via 2001:db8::1 route 203.0.113.0/24 via 198.51.100.2; * off");
    let status = client.wait("the fixed addresses", |status| status.links[0].addresses.len() == 2);
    assert!(matches!(&status.links[0].state, LinkState::Fixed { gateways } if gateways.len() == 2), "{status:?}");
    assert_eq!(status.attention, Vec::<String>::new());
    client.wait_for("the routes", &["route"], |seen| {
        seen.contains("default via 198.51.100.1") && seen.contains("203.0.113.0/24 via 198.51.100.2")
    });
    client.wait_for("the new family's route", &["-6", "route"], |seen| seen.contains("default via 2001:db8::1"));

    client.settings("eth0 off");
    client.wait("the link to go down", |status| status.links[0].state == LinkState::Off);
    client.wait_for("nothing left", &["addr", "show", "eth0"], |seen| {
        !seen.contains("198.51.100") && !seen.contains("UP")
    });
}

#[test]
fn a_lease_whose_server_falls_silent_is_given_back() {
    let Some(network) = Network::lay(1, &[]) else { return };
    let _server = network.rogue(0, "short");
    let client = network.client("");
    client.wait("the lease", |status| matches!(status.links[0].state, LinkState::Leased { .. }));
    let status = client.wait("the loss", |status| matches!(status.links[0].state, LinkState::Asking { .. }));
    assert_eq!((status.links[0].addresses.len(), status.name_servers.len()), (0, 0), "{status:?}");
    client.wait_for("no route", &["route"], |seen| !seen.contains("default"));
}

#[test]
fn a_server_that_offers_and_refuses_is_named_and_not_flooded() {
    let Some(network) = Network::lay(1, &[]) else { return };
    let mut server = network.rogue(0, "refuse");
    let client = network.client("");
    let status =
        client.wait("two refusals", |status| matches!(status.links[0].state, LinkState::Refused { times: 2.. }));
    assert!(status.attention[0].contains("refused it 2 times"), "{status:?}");
    std::thread::sleep(Duration::from_secs(2));
    let questions = server.log().lines().count();
    assert!(questions <= 8, "{questions} questions to a server that says no");
}

#[test]
fn an_address_that_a_neighbour_has_is_declined_until_it_is_free() {
    let Some(network) = Network::lay(1, &[]) else { return };
    network.ip(0, "addr add 192.0.2.10/24 dev eth0");
    let mut server = network.rogue(0, "taken");
    let client = network.client("");
    let status = client.wait(
        "the conflict",
        |status| matches!(&status.links[0].state, LinkState::Taken { address, .. } if address == "192.0.2.10"),
    );
    assert!(status.links[0].addresses.is_empty(), "it is used all the same: {status:?}");
    assert!(status.attention[0].contains("another machine"), "{status:?}");
    server.wait("the refusal", |log| log.contains("Decline"));
    network.ip(0, "addr del 192.0.2.10/24 dev eth0");
    let status = client.wait("the lease", |status| matches!(status.links[0].state, LinkState::Leased { .. }));
    assert_eq!((status.links[0].addresses.as_slice(), status.attention.len()), (&["192.0.2.10/24".to_owned()][..], 0));
}

#[test]
fn a_fixed_address_that_a_neighbour_has_is_not_used_until_it_is_free() {
    let Some(network) = Network::lay(1, &[]) else { return };
    let client = network.client("eth0 static 192.0.2.1/24");
    let status = client.wait("the conflict", |status| matches!(status.links[0].state, LinkState::Taken { .. }));
    let LinkState::Taken { by, .. } = &status.links[0].state else { panic!("it waited for that") };
    assert!(status.attention[0].contains(by.as_str()), "{status:?}");
    client.wait_for("no address", &["addr", "show", "eth0"], |seen| !seen.contains("192.0.2.1/"));
    // The settings help at once, and what becomes free is taken without them.
    client.settings("eth0 static 192.0.2.9/24");
    client.wait("the other address", |status| matches!(status.links[0].state, LinkState::Fixed { .. }));
    client.settings("eth0 static 192.0.2.1/24");
    client.wait("the conflict again", |status| matches!(status.links[0].state, LinkState::Taken { .. }));
    network.ip(0, "addr del 192.0.2.1/24 dev eth0");
    client.wait("the address", |status| status.links[0].addresses == ["192.0.2.1/24"]);
}

#[test]
fn bad_answers_change_nothing_and_a_good_one_behind_them_counts() {
    let Some(network) = Network::lay(1, &[]) else { return };
    let _server = network.rogue(0, "bad");
    let client = network.client("");
    let status = client.wait("the good lease", |status| matches!(status.links[0].state, LinkState::Leased { .. }));
    assert_eq!(status.links[0].addresses, ["192.0.2.10/24"]);
    assert_eq!(status.name_servers, Vec::<String>::new(), "the bad answers named some");
}

#[test]
fn an_address_by_radvd_is_used_and_not_where_addresses_are_fixed() {
    let Some(network) = Network::lay(1, &["radvd"]) else { return };
    let file = client_file(
        &network,
        "radvd.conf",
        "interface eth0 { AdvSendAdvert on; MinRtrAdvInterval 3; MaxRtrAdvInterval 4;\n\
        prefix 2001:db8:7::/64 { }; RDNSS 2001:db8:7::53 { AdvRDNSSLifetime 8; }; };\n",
    );
    network.ip(0, "addr add 2001:db8:7::1/64 dev eth0 nodad");
    let words = ["-n", "-m", "stderr", "-C", &file, "-p", &format!("{file}.pid")].map(str::to_owned);
    let server = network.serve(0, "radvd", &words);
    let client = network.client("");
    let status = client.wait("the announced address and name server", |status| {
        status.links[0].addresses.iter().any(|address| address.starts_with("2001:db8:7:"))
            && status.name_servers == ["2001:db8:7::53"]
    });
    assert_eq!(client.file("resolv.conf"), "nameserver 2001:db8:7::53\n");
    assert_eq!(status.attention, Vec::<String>::new(), "no lease, and a network all the same");
    client.wait_for("the router", &["-6", "route"], |seen| seen.contains("default via fe80:"));

    client.settings("eth0 static 192.0.2.9/24");
    let status = client.wait("the fixed address", |status| matches!(status.links[0].state, LinkState::Fixed { .. }));
    assert!(status.links[0].addresses.contains(&"192.0.2.9/24".to_owned()), "{status:?}");
    // Their time runs out, and no announcement comes through the filter any more.
    client.wait("the end of its name server", |status| status.name_servers.is_empty());
    drop(server);
}

#[test]
fn name_servers_by_dhcp_for_ipv6_are_asked_for_where_a_router_says_so() {
    let Some(network) = Network::lay(1, &["radvd", "dnsmasq"]) else { return };
    let file = client_file(
        &network,
        "radvd.conf",
        "interface eth0 { AdvSendAdvert on; AdvOtherConfigFlag on; MinRtrAdvInterval 3; MaxRtrAdvInterval 4;\n\
        prefix 2001:db8:7::/64 { }; };\n",
    );
    network.ip(0, "addr add 2001:db8:7::1/64 dev eth0 nodad");
    let mut words = dnsmasq(100, "192.0.2.1");
    words.retain(|word| !word.starts_with("--dhcp-option=option:dns-server"));
    words.extend(
        [
            "--dhcp-range=2001:db8:7::,static",
            "--dhcp-option=option:dns-server",
            "--dhcp-option=option6:dns-server,[2001:db8:7::54]",
        ]
        .map(str::to_owned),
    );
    let mut leases = network.serve(0, "dnsmasq", &words);
    let client = network.client("");
    client.wait("the lease", |status| matches!(status.links[0].state, LinkState::Leased { .. }));
    // No router has said anything yet.
    assert!(!leases.log().contains("DHCPINFORMATION-REQUEST"), "{}", leases.log());
    let words = ["-n", "-m", "stderr", "-C", &file, "-p", &format!("{file}.pid")].map(str::to_owned);
    let _router = network.serve(0, "radvd", &words);
    let status = client.wait("the name server", |status| status.name_servers == ["2001:db8:7::54"]);
    assert_eq!(status.attention, Vec::<String>::new());
    assert!(leases.log().contains("DHCPINFORMATION-REQUEST"), "{}", leases.log());
}

#[test]
fn an_address_by_dhcp_for_ipv6_is_used_where_a_router_says_so_and_given_back() {
    let Some(network) = Network::lay(1, &["radvd", "dnsmasq"]) else { return };
    network.ip(0, "addr add 2001:db8:7::1/64 dev eth0 nodad");
    let mut words = dnsmasq(100, "192.0.2.1");
    words.retain(|word| !word.starts_with("--dhcp-option=option:dns-server"));
    let more = [
        "--dhcp-range=2001:db8:7::100,2001:db8:7::1ff,64,2m",
        "--dhcp-option=option:dns-server",
        "--dhcp-option=option6:dns-server,[2001:db8:7::54]",
    ];
    words.extend(more.map(str::to_owned));
    let mut leases = network.serve(0, "dnsmasq", &words);
    let client = network.client("");
    client.wait("the lease", |status| matches!(status.links[0].state, LinkState::Leased { .. }));
    assert!(!leases.log().contains("DHCPSOLICIT"), "no router has said anything yet: {}", leases.log());
    let _router = managed(&network);
    let lent = |status: &aios_wire::network::NetworkStatus| {
        status.links[0].addresses.iter().any(|address| address.starts_with("2001:db8:7::1"))
    };
    let status = client.wait("the address", |status| lent(status) && status.name_servers == ["2001:db8:7::54"]);
    assert_eq!(status.attention, Vec::<String>::new());
    client.wait_for("its end by the kernel", &["-6", "addr", "show", "eth0"], |seen| {
        let line = seen.lines().skip_while(|line| !line.contains("2001:db8:7::1")).nth(1).unwrap_or_default();
        line.contains("valid_lft") && line.contains("sec") && !line.contains("forever")
    });
    // The cable is pulled and put back: there may be another network behind it now.
    network.ip(0, "link set eth0 down");
    client.wait("its return", |status| !lent(status));
    network.ip(0, "link set eth0 up");
    network.ip(0, "addr add 2001:db8:7::1/64 dev eth0 nodad");
    client.wait("the address again", lent);
    client.settings("eth0 static 192.0.2.9/24");
    client.wait("its end", |status| !lent(status) && matches!(status.links[0].state, LinkState::Fixed { .. }));
}

#[test]
fn an_address_by_dhcp_for_ipv6_is_renewed_refused_replaced_and_lost() {
    let Some(network) = Network::lay(1, &["radvd"]) else { return };
    network.ip(0, "addr add 2001:db8:7::1/64 dev eth0 nodad");
    let mut server = network.rogue(0, "six");
    let client = network.client("");
    let _router = managed(&network);
    let has = |ending: &'static str| {
        move |status: &aios_wire::network::NetworkStatus| {
            status.links[0].addresses.iter().any(|address| *address == format!("2001:db8:7::{ending}/128"))
        }
    };
    client.wait("the first address", has("10"));
    server.wait("two renewals", |log| log.matches("Renew").count() >= 2);
    assert!(has("10")(&client.wait("a moment", |_| true)), "it was renewed");
    // The third renewal is refused; the first address goes, and there is another.
    let status = client.wait("the second address", has("11"));
    assert!(!has("10")(&status), "{status:?}");
    // Then the server is silent: its own time, that of any server, the end.
    let status = client.wait("the loss", |status| status.links[0].addresses.is_empty());
    assert_eq!(status.name_servers, Vec::<String>::new());
    assert!(server.log().contains("Rebind"), "{}", server.log());
}

#[test]
fn the_time_of_chrony_is_followed_by_its_name() {
    let Some(network) = Network::lay(1, &["dnsmasq", "chronyd"]) else { return };
    let mut words = dnsmasq(100, "192.0.2.1");
    words.retain(|word| word != "--port=0");
    words.extend(
        ["--address=/time.example/192.0.2.1", "--no-resolv", "--no-hosts", "--dhcp-option=option:ntp-server,192.0.2.1"]
            .map(str::to_owned),
    );
    let _names = network.serve(0, "dnsmasq", &words);
    let file = client_file(
        &network,
        "chrony.conf",
        &format!(
            "local stratum 5\nallow\ncmdport 0\nbindcmdaddress /\npidfile {}/chrony.pid\n",
            network.folder().display()
        ),
    );
    let words = ["-d", "-x", "-U", "-u", "root", "-f", &file].map(str::to_owned);
    let _time = network.serve(0, "chronyd", &words);
    let client = network.client("");
    let by = |name: &'static str| move |status: &aios_wire::network::NetworkStatus| matches!(&status.clock, ClockState::Followed { server, .. } if server == name);
    // The lease names the server by its address; then the operator does by its name.
    let status = client.wait("the time by the lease", by("192.0.2.1"));
    let ClockState::Followed { offset_ms, .. } = status.clock else { panic!("it waited for that") };
    assert!(offset_ms.abs() < 100, "both ends have one clock: {offset_ms} ms");
    client.settings_with_time("", "time.example");
    client.wait("the time by the name", by("time.example"));
    client.settings_with_time("", "nobody.example");
    let status = client.wait("the complaint", |status| matches!(status.clock, ClockState::Lost { .. }));
    assert!(status.attention.iter().any(|line| line.contains("nobody.example")), "{status:?}");
}

#[test]
fn a_clock_that_is_an_hour_off_is_set_by_the_one_good_answer() {
    let Some(network) = Network::lay(1, &[]) else { return };
    let _server = network.rogue(0, "time");
    let client = network.client("eth0 static 192.0.2.9/24");
    client.wait("the address", |status| !status.links[0].addresses.is_empty());
    client.settings_with_time("eth0 static 192.0.2.9/24", "192.0.2.1");
    client.wait("the time", |status| {
        matches!(status.clock, ClockState::Followed { offset_ms: 3_599_000..=3_601_000, .. })
    });
    let ahead = client.set_ahead().expect("it was set");
    assert!(ahead.abs_diff(rogue::AHEAD) <= 1, "{ahead} s");
}

#[test]
fn nothing_comes_in_but_echoes() {
    let Some(network) = Network::lay(1, &["nft", "ping"]) else { return };
    let client = network.client("eth0 static 192.0.2.9/24 2001:db8::9/64");
    client.wait("the addresses", |status| status.links[0].addresses.len() == 2);
    let _listener = client.listen();
    assert!(network.run(0, "ping", "-c 1 -W 2 192.0.2.9"), "an echo is answered");
    network.ip(0, "addr add 2001:db8::1/64 dev eth0 nodad");
    assert!(network.run(0, "ping", "-6 -c 3 -W 2 2001:db8::9"), "and in the new family, neighbours being found");
    for address in ["192.0.2.9:7777", "[2001:db8::9]:7777"] {
        assert!(!network.connects(0, address), "{address} can be reached from outside");
    }
    assert!(client.connects("127.0.0.1:7777"), "the listener is there");
    let rules = client.output("nft", "list ruleset");
    assert_eq!(rules.matches("policy drop").count(), 2, "what comes in and what would be passed on: {rules}");
    assert!(!rules.contains("router-advert"), "no router is believed on a link with fixed addresses: {rules}");

    // A new load takes the place of the old one.
    client.settings("eth0 dhcp");
    client.wait("the other mode", |status| matches!(status.links[0].state, LinkState::Asking { .. }));
    let rules = client.output("nft", "list ruleset");
    assert_eq!((rules.matches("table inet aios").count(), rules.matches("router-advert").count()), (1, 1), "{rules}");
}

/// A router that says that addresses are given by DHCP, and announces none.
fn managed(network: &Network) -> cable::Running {
    let text = "interface eth0 { AdvSendAdvert on; AdvManagedFlag on; MinRtrAdvInterval 3; MaxRtrAdvInterval 4;\n\
                prefix 2001:db8:7::/64 { AdvAutonomous off; }; };\n";
    let file = client_file(network, "radvd.conf", text);
    let words = ["-n", "-m", "stderr", "-C", &file, "-p", &format!("{file}.pid")].map(str::to_owned);
    network.serve(0, "radvd", &words)
}

/// A server of leases from `first` to `first` + 9, with short times, whose host is also router and name server.
fn dnsmasq(first: u8, host: &str) -> Vec<String> {
    let range = format!("--dhcp-range=192.0.2.{first},192.0.2.{},255.255.255.0,2m", first + 9);
    let router = format!("--dhcp-option=option:router,{host}");
    let names = format!("--dhcp-option=option:dns-server,{host}");
    [
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--log-facility=-",
        "--port=0",
        "--interface=eth0",
        "--bind-interfaces",
        "--user=root",
        "--pid-file=",
        "--leasefile-ro",
        "--no-ping",
        "--dhcp-authoritative",
        "--log-dhcp",
        &range,
        &router,
        &names,
        "--dhcp-option=58,3",
        "--dhcp-option=59,6",
    ]
    .map(str::to_owned)
    .to_vec()
}

fn client_file(network: &Network, name: &str, text: &str) -> String {
    let path = network.folder().join(name);
    std::fs::write(&path, text).expect("written");
    path.display().to_string()
}
