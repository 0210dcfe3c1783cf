//! Unit files: what is refused, and that the image's own files fit together in every mode.

use std::path::Path;

use aios_units::unit::{Kind, Readiness, RestartPolicy};
use aios_units::{Graph, GraphError, Mode, Unit};

const GOOD: &str = r#"
kind = "service"
program = "/usr/lib/aios/example"
user = "example"
modes = ["live"]

[sandbox]
own = ["mount"]
calls = ["service"]
"#;

#[test]
fn a_short_file_has_safe_defaults() {
    let unit = Unit::parse("example", GOOD).expect("a good unit");
    assert_eq!(unit.readiness, Readiness::Notify);
    assert_eq!(unit.restart.policy, RestartPolicy::Always);
    assert!(!unit.socket && !unit.critical && !unit.freezes_actions);
    assert!(unit.sandbox.capabilities.is_empty() && unit.sandbox.limits_calls());
}

#[test]
fn what_makes_no_sense_is_refused_with_its_key() {
    let with = |line: &str| format!("{line}\n{GOOD}");
    let without =
        |line: &str| GOOD.lines().filter(|l| !l.starts_with(line)).map(|l| format!("{l}\n")).collect::<String>();
    for (name, text, expected) in [
        ("example", with("colour = 1"), "colour"),
        ("example", without("[sandbox]"), "sandbox"),
        ("example", without("calls"), "sandbox.calls is missing"),
        ("example", GOOD.replace("\"service\"]", "\"service\", \"unlimited\"]"), "unlimited"),
        ("example", GOOD.replace("/usr/lib/aios/example", "example"), "program has 'example'"),
        ("example", GOOD.replace("/usr/lib/aios/example", "/usr/../example"), "program"),
        ("example", GOOD.replace("[\"live\"]", "[]"), "modes is empty"),
        ("example", GOOD.replace("[\"mount\"]", "[]"), "lacks 'mount'"),
        ("example", with("requires = [\"example\"]"), "names the unit itself"),
        ("example", with("session = \"live\""), "only for a terminal"),
        ("example", GOOD.replace("calls", "device = [\"/dev/sda\"]\ncalls"), "sandbox.device"),
        ("Example", GOOD.to_owned(), "file name"),
        ("example", format!("{GOOD}\n[restart]\nbudget = 0"), "restart"),
        ("example", with(&"#".repeat(40_000)), "bytes long"),
    ] {
        let error = Unit::parse(name, &text).expect_err(expected);
        let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        assert!(format!("{error} {source}").contains(expected), "{error} {source}");
    }
}

#[test]
fn no_file_gives_an_agent_more_than_agents_get() {
    let agent = r#"
        kind = "agent"
        program = "/usr/lib/aios/example-agent"
        user = "2000"
        [sandbox]
        own = ["mount", "pid", "ipc", "uts"]
        connect = ["/run/aios/agent-door"]
        calls = ["service"]
    "#;
    assert!(Unit::parse("example", agent).is_ok());
    for (from, to) in [
        ("\"pid\", ", ""),
        ("\"2000\"", "\"root\""),
        ("\"2000\"", "\"0\""),
        ("\"2000\"", "\"evidence-log\""),
        ("/run/aios/agent-door", "/run/aios"),
        ("/run/aios/agent-door", "/run/aios/init"),
        ("calls = [\"service\"]", "calls = [\"unlimited\"]"),
        ("[sandbox]", "[sandbox]\nnetwork = \"host\""),
        ("[sandbox]", "[sandbox]\nview = \"whole\""),
        ("[sandbox]", "[sandbox]\npaths = \"unlimited\""),
        ("[sandbox]", "[sandbox]\ncapabilities = [\"CAP_KILL\"]"),
        ("[sandbox]", "[sandbox]\ngroups = [\"actions\"]"),
        ("[sandbox]", "[sandbox]\nread = [\"/root\"]"),
        ("[sandbox]", "[sandbox]\nwrite = [\"/usr/x\"]"),
        ("[sandbox]", "critical = true\n[sandbox]"),
        ("[sandbox]", "modes = [\"live\"]\n[sandbox]"),
        ("[sandbox]", "state = [\"/aios/system/policy\"]\n[sandbox]"),
    ] {
        let changed = agent.replace(from, to);
        assert_ne!(changed, agent);
        assert!(Unit::parse("example", &changed).is_err(), "{to}");
    }
}

#[test]
fn units_that_cannot_start_are_found_when_the_graph_is_made() {
    let unit = |name: &str, line: &str| Unit::parse(name, &format!("{line}\n{GOOD}")).expect(name);
    let graph = |units| Graph::new(Mode::Live, units).map(|_| ());
    let missing = graph(vec![unit("a", "requires = [\"b\"]")]).expect_err("b is missing");
    assert!(matches!(missing, GraphError::Missing { .. }));
    let circle = graph(vec![
        unit("a", "requires = [\"b\"]"),
        unit("b", "after = [\"c\"]"),
        unit("c", "requires = [\"a\"]"),
        unit("d", ""),
    ]);
    assert_eq!(circle.expect_err("a circle").to_string(), "units wait for each other: a, b, c");
    assert!(matches!(graph(vec![unit("a", ""), unit("a", "")]), Err(GraphError::Twice(_))));
    assert_eq!(graph(vec![unit("a", "after = [\"elsewhere\"]")]), Ok(()));
}

/// The files that ship. One that cannot start would be found only by a machine that does not.
#[test]
fn the_images_units_fit_together_in_every_mode() {
    let rootfs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../rootfs");
    let mut units = Vec::new();
    for folder in ["units", "agents"] {
        for entry in std::fs::read_dir(rootfs.join(folder)).expect("the folder is there") {
            let path = entry.expect("readable").path();
            let name = path.file_stem().and_then(|name| name.to_str()).expect("a name");
            let unit = Unit::parse(name, &std::fs::read_to_string(&path).expect("text"));
            let unit = unit.unwrap_or_else(|error| panic!("{name}: {error} {:?}", std::error::Error::source(&error)));
            assert_eq!(unit.kind == Kind::Agent, folder == "agents", "{name}");
            for list in unit.sandbox.calls.iter().filter(|_| unit.sandbox.limits_calls()) {
                assert!(rootfs.join("seccomp").join(format!("{list}.list")).is_file(), "{name}: {list}");
            }
            match unit.kind {
                Kind::Terminal => {
                    for terminal in ["tty1", "ttyS0"] {
                        units.push(unit.on_terminal(terminal).expect("a short name"));
                    }
                }
                _ => units.push(unit),
            }
        }
    }
    for mode in [Mode::Live, Mode::Install, Mode::Disk] {
        let graph = Graph::new(mode, units.clone()).unwrap_or_else(|error| panic!("{mode:?}: {error}"));
        let freezing: Vec<&str> =
            graph.units().filter(|unit| unit.freezes_actions).map(|unit| unit.name.as_str()).collect();
        match mode {
            Mode::Install => assert_eq!(graph.units().count(), 1),
            _ => assert_eq!(freezing, ["evidence-log", "policy-kernel"]),
        }
    }
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC{0,300}", name in "\\PC{0,20}") {
        let _ = Unit::parse(&name, &text).is_ok();
    }

    #[test]
    fn no_value_makes_the_checks_panic(
        key in "(kind|program|user|modes|requires|state|session|start-timeout-s|socket)",
        value in "(\"[a-z/.]{0,12}\"|[0-9]{1,20}|\\[\"[a-z./-]{0,12}\"\\]|true)",
    ) {
        let text: String = GOOD.lines().filter(|line| !line.starts_with(&key)).map(|line| format!("{line}\n")).collect();
        let _ = Unit::parse("example", &format!("{key} = {value}\n{text}")).is_ok();
    }
}
