//! Files that people write: units, workflows, settings.

use std::collections::BTreeMap;

use aios_settings::{Links, Settings, migrate};
use aios_units::unit::{FILE_LIMIT, Kind, Network, Own, Paths, View};
use aios_units::{Event, Graph, Mode, Unit};
use aios_workflow::{Definition, most_actions};
use serde_json::Value;

use crate::{Taken, text};

const UNITS: [&str; 5] = [
    include_str!("../../../rootfs/agents/example.toml"),
    include_str!("../../../rootfs/units/console.toml"),
    include_str!("../../../rootfs/units/evidence-log.toml"),
    include_str!("../../../rootfs/units/launcher.toml"),
    include_str!("../../../rootfs/units/updater.toml"),
];

pub(crate) fn units() -> Vec<Vec<u8>> {
    UNITS.map(|text| text.as_bytes().to_vec()).to_vec()
}

pub(crate) fn unit(bytes: &[u8]) -> Taken {
    let Some(text) = text(bytes) else { return Taken::No };
    let Ok(unit) = Unit::parse("example", text) else { return Taken::No };
    assert!(text.len() <= FILE_LIMIT);
    let sandbox = &unit.sandbox;
    assert!(unit.program.starts_with('/') && !unit.program.contains("/../"), "{}", unit.program);
    if unit.kind == Kind::Agent {
        let own = [Own::Mount, Own::Pid, Own::Ipc, Own::Uts].iter().all(|own| sandbox.own.contains(own));
        let paths = (sandbox.network, sandbox.view, sandbox.paths) == (Network::None, View::Listed, Paths::Enforced);
        let rights = sandbox.capabilities.is_empty() && sandbox.groups.is_empty() && sandbox.limits_calls();
        assert!(own && paths && rights && !unit.critical && unit.modes.is_empty(), "an agent gets more: {unit:?}");
        assert!(unit.user.parse::<u32>().is_ok_and(|user| user > 0), "an agent is {}", unit.user);
    }
    if unit.kind == Kind::Terminal {
        let _ = unit.on_terminal("ttyS0").map(|unit| assert_eq!(unit.terminal.as_deref(), Some("ttyS0")));
    }
    for mode in [Mode::Live, Mode::Disk] {
        if let Ok(mut graph) = Graph::new(mode, vec![unit.clone()]) {
            graph.step(Event::Begin, 0);
            assert!(graph.units().count() <= 1);
        }
    }
    Taken::Yes
}

const WORKFLOW: &str = r#"
name = "tidy-up"
description = "all that a workflow has"
[budget]
actions = 40
seconds = 600
[[steps]]
id = "look"
action = "object.put"
parameters = { name = "notes/a", content = "x" }
reason = "to have something"
timeout-s = 60
retry = { times = 2, wait-s = 1 }
[[steps]]
id = "ask"
ask = "go on?"
after = ["look"]
[[steps]]
id = "end"
action = "service.restart"
parameters = { name = "network" }
after = ["ask"]
when = [{ step = "look", is = "succeeded" }]
"#;

pub(crate) fn workflows() -> Vec<Vec<u8>> {
    let definition = Definition::parse(WORKFLOW).expect("a good workflow");
    vec![WORKFLOW.as_bytes().to_vec(), definition.canonical().into_bytes()]
}

pub(crate) fn workflow(bytes: &[u8]) -> Taken {
    let Some(text) = text(bytes) else { return Taken::No };
    let definition = match Definition::parse(text) {
        Ok(definition) => definition,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return Taken::No;
        }
    };
    let canonical = definition.canonical();
    let again = Definition::parse(&canonical).expect("what was written can be read");
    assert_eq!((again.canonical(), again.digest()), (canonical, definition.digest()), "a workflow has two forms");
    assert_eq!((&again.steps, again.budget), (&definition.steps, definition.budget));
    for (place, step) in definition.steps.iter().enumerate() {
        assert!(step.after.iter().all(|before| *before < place), "a step waits for a later one");
        assert!(most_actions(step) <= 1000, "a step without a bound");
    }
    Taken::Yes
}

pub(crate) fn all_settings() -> Vec<Vec<u8>> {
    let lines = [
        "eth0 static 192.0.2.10/24 via 192.0.2.1; eth0.20 dhcp; * off",
        "first static 2001:db8::1/64 via fe80::1; * off",
    ];
    let values = |links: &str| {
        let mut values = Settings::default().values();
        values.insert("network.links".into(), links.into());
        values.insert("network.dns".into(), "192.0.2.53 2001:db8::53".into());
        values.insert("network.time".into(), "time.example 192.0.2.1".into());
        values.insert("update.source".into(), "http://192.0.2.1:8080/release".into());
        serde_json::to_vec(&values).expect("text keys")
    };
    lines.iter().map(|line| line.as_bytes().to_vec()).chain(lines.map(values)).collect()
}

pub(crate) fn settings(bytes: &[u8]) -> Taken {
    let links = text(bytes).and_then(|text| text.parse::<Links>().ok());
    if let Some(links) = &links {
        let line = links.to_string();
        assert_eq!(line.parse::<Links>().ok().as_ref(), Some(links), "'{line}' is read as another line");
    }
    let Ok(values) = serde_json::from_slice::<BTreeMap<String, Value>>(bytes) else {
        return Taken::when(links.is_some());
    };
    if let Ok(new) = migrate::up(values.clone()) {
        let old = migrate::down(new.clone());
        assert_eq!(migrate::up(old).ok(), Some(new), "an older release and back is another setting");
    }
    let Ok(settings) = Settings::from_values(&values) else { return Taken::No };
    let written = settings.values();
    assert_eq!(Settings::from_values(&written).ok().as_ref(), Some(&settings));
    for (key, value) in &values {
        assert_eq!(settings.get(key).as_ref(), Ok(value), "another value is kept");
    }
    Taken::Yes
}
