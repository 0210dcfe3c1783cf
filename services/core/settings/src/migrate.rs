//! Settings of one form as another form has them: pure functions both ways, there and back without a loss.
//!
//! | form | what is different |
//! |---|---|
//! | 1 | `network.mode`, `network.address`, `network.gateway`: one address, for the first link |
//! | 2 | `network.links`: every link, VLANs, routes, both families |
//!
//! Files are written in form 1 as long as a slot may hold a release that reads nothing newer, so that going back to that
//! release finds its settings. What form 1 cannot say keeps its newer key there, and the older release leaves it out.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::inet::Inet;
use crate::links::{Clause, LinkMode, Links, Which};

/// Values by key.
pub type Values = BTreeMap<String, Value>;

/// Values are not of the form that they should have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key} has no value of form 1")]
pub struct MigrateError {
    key: &'static str,
}

const MODE: &str = "network.mode";
const ADDRESS: &str = "network.address";
const GATEWAY: &str = "network.gateway";
const LINKS: &str = "network.links";

/// Values of form 1 in form 2. Keys of neither form stay as they are.
pub fn up(mut values: Values) -> Result<Values, MigrateError> {
    let mut take = |key: &'static str| match values.remove(key) {
        None => Ok(String::new()),
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(MigrateError { key }),
    };
    let (mode, address, gateway) = (take(MODE)?, take(ADDRESS)?, take(GATEWAY)?);
    if values.contains_key(LINKS) {
        return Ok(values);
    }
    let read = |text: &str| (!text.is_empty()).then(|| text.parse::<Inet>()).transpose();
    let addresses = read(&address).map_err(|_| MigrateError { key: ADDRESS })?.into_iter().collect();
    let gateways = match gateway.as_str() {
        "" => Vec::new(),
        text => vec![text.parse().map_err(|_| MigrateError { key: GATEWAY })?],
    };
    let (mode, others) = match mode.as_str() {
        "static" => (LinkMode::Static, LinkMode::Off),
        "dhcp" | "" => (LinkMode::Dhcp, LinkMode::Dhcp),
        _ => return Err(MigrateError { key: MODE }),
    };
    let first = Clause { addresses, gateways, ..Clause::bare(Which::First, mode) };
    let clauses = if first == Clause::bare(Which::First, LinkMode::Dhcp) {
        Vec::new()
    } else {
        vec![first, Clause::bare(Which::Others, others)]
    };
    let links = Links::new(clauses).map_err(|_| MigrateError { key: GATEWAY })?;
    values.insert(LINKS.into(), links.to_string().into());
    Ok(values)
}

/// Values of form 2 in form 1.
#[must_use]
pub fn down(mut values: Values) -> Values {
    let links = values.get(LINKS).and_then(Value::as_str).and_then(|text| text.parse::<Links>().ok());
    if let Some((mode, address, gateway)) = links.as_ref().and_then(of_form_one) {
        values.remove(LINKS);
        for (key, text) in [(MODE, mode), (ADDRESS, address), (GATEWAY, gateway)] {
            values.insert(key.into(), text.into());
        }
    }
    values
}

/// Mode, address and gateway, when they are all that there is to say.
fn of_form_one(links: &Links) -> Option<(String, String, String)> {
    let first = match links.clauses() {
        [] => return Some((LinkMode::Dhcp.to_string(), String::new(), String::new())),
        [first, others] if first.link == Which::First && others.link == Which::Others => {
            let rest = match first.mode {
                LinkMode::Static => LinkMode::Off,
                LinkMode::Dhcp => LinkMode::Dhcp,
                LinkMode::Off => return None,
            };
            let said_twice = *first == Clause::bare(Which::First, LinkMode::Dhcp);
            (*others == Clause::bare(Which::Others, rest) && !said_twice).then_some(first)?
        }
        _ => return None,
    };
    let address = match first.addresses.as_slice() {
        [] => String::new(),
        [Inet::V4(subnet)] => subnet.to_string(),
        _ => return None,
    };
    let gateway = match first.gateways.as_slice() {
        [] => String::new(),
        [gateway] if gateway.is_ipv4() => gateway.to_string(),
        _ => return None,
    };
    first.routes.is_empty().then(|| (first.mode.to_string(), address, gateway))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn one(mode: &str, address: &str, gateway: &str) -> Values {
        [(MODE, mode), (ADDRESS, address), (GATEWAY, gateway)]
            .into_iter()
            .map(|(key, text)| (key.to_owned(), json!(text)))
            .collect()
    }

    fn two(links: &str) -> Values {
        Values::from([(LINKS.to_owned(), json!(links))])
    }

    #[test]
    fn each_way_of_the_old_form_has_a_line() {
        for (old, line) in [
            (one("dhcp", "", ""), ""),
            (one("static", "192.0.2.10/24", ""), "first static 192.0.2.10/24; * off"),
            (one("static", "192.0.2.10/24", "192.0.2.1"), "first static 192.0.2.10/24 via 192.0.2.1; * off"),
            (one("dhcp", "192.0.2.10/24", ""), "first dhcp 192.0.2.10/24; * dhcp"),
        ] {
            assert_eq!(up(old), Ok(two(line)), "{line}");
        }
    }

    #[test]
    fn a_value_that_the_old_form_never_had_is_named() {
        assert_eq!(up(one("auto", "", "")), Err(MigrateError { key: MODE }));
        assert_eq!(up(one("dhcp", "192.0.2.0/24", "")), Err(MigrateError { key: ADDRESS }));
        assert_eq!(up(Values::from([(MODE.to_owned(), json!(7))])), Err(MigrateError { key: MODE }));
    }

    fn any_old() -> impl Strategy<Value = Values> {
        let host = (1..250_u8).prop_map(|host| format!("192.0.2.{host}"));
        let some = |text: String| prop_oneof![Just(String::new()), Just(text)];
        let gateway = host.clone().prop_flat_map(some);
        let dhcp = (host.clone().prop_map(|host| host + "/24").prop_flat_map(some), gateway.clone())
            .prop_map(|(address, gateway)| one("dhcp", &address, &gateway));
        let fixed = (host, gateway).prop_map(|(host, gateway)| one("static", &(host + "/24"), &gateway));
        (prop_oneof![dhcp, fixed], "[a-z]{1,8}").prop_map(|(mut values, name)| {
            values.insert("hostname".into(), json!(name));
            values
        })
    }

    fn any_new() -> impl Strategy<Value = Values> {
        let words = proptest::sample::select(vec![
            "",
            "* off",
            "first dhcp; * dhcp",
            "* dhcp; first static 192.0.2.10/24",
            "first static 192.0.2.10/24; * off",
            "first static 192.0.2.10/24 via 192.0.2.1; * off",
            "first static 192.0.2.10/24 via 192.0.2.1; * dhcp",
            "first static 192.0.2.10/24 route 10.0.0.0/8 via 192.0.2.1; * off",
            "first static 2001:db8::1/64 via fe80::1; * off",
            "first dhcp 192.0.2.10/24; * dhcp",
            "first dhcp via 192.0.2.1; * dhcp",
            "first off 192.0.2.10/24; * off",
            "eth0 dhcp; eth0.20 static 192.0.2.10/24; * off",
        ]);
        (words, "[a-z]{1,8}").prop_map(|(line, name)| {
            let mut values = two(line);
            values.insert("hostname".into(), json!(name));
            values
        })
    }

    proptest! {
        #[test]
        fn up_and_down_is_where_it_began(old in any_old()) {
            let new = up(old.clone()).expect("of the old form");
            prop_assert!(!new.contains_key(MODE));
            prop_assert_eq!(down(new), old);
        }

        #[test]
        fn down_and_up_is_where_it_began(new in any_new()) {
            let line = new[LINKS].as_str().expect("a text").parse::<Links>();
            prop_assert!(line.is_ok());
            prop_assert_eq!(up(down(new.clone())), Ok(new));
        }

        #[test]
        fn any_values_have_a_form_or_are_named(mode in ".{0,8}", address in ".{0,20}", gateway in ".{0,20}") {
            if let Ok(new) = up(one(&mode, &address, &gateway)) {
                prop_assert!(new[LINKS].as_str().is_some_and(|line| line.parse::<Links>().is_ok()));
            }
        }
    }
}
