//! Unit files: what is refused, and that the image's own files fit together in every mode.

use std::path::Path;

use aios_units::unit::{Kind, Readiness, RestartPolicy};
use aios_units::{Effect, Ended, Event, Graph, GraphError, Mode, Unit};

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
        ("example", format!("{GOOD}\n[restart]\nbudget = 0"), "budget from 1"),
        ("example", format!("{GOOD}\n[restart]\nwindow-s = 999999999999"), "window-s from 1"),
        ("example", format!("{GOOD}\n[restart]\nbackoff-ms = 0"), "backoff-ms from 1"),
        ("example", format!("{GOOD}\n[restart]\nwhen-spent = \"explode\""), "fail-trial-boot"),
        ("example", with("conflicts = [\"example\"]"), "names the unit itself"),
        ("example", with("conflicts = [\"b\"]\nrequires = [\"b\"]"), "which the unit also needs"),
        ("example", with("watchdog-s = 0"), "watchdog-s is from 1"),
        ("example", with("watchdog-s = 9\nreadiness = \"started\""), "says when it is ready"),
        ("example", format!("{GOOD}\n[resources]\noom-score = -1000"), "oom-score is from -999"),
        ("example", format!("{GOOD}\n[resources]\ncpu-weight = 0"), "cpu-weight is from 1"),
        ("example", format!("{GOOD}\n[resources]\nmemory-max-mib = 99999999999999"), "memory-max-mib is from 1"),
        ("example", with("start = \"on-call\""), "only for a service with a socket"),
        ("example", with("start = \"on-call\"\nsocket = true\ncritical = true"), "not for a unit that is critical"),
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
        ("\"2000\"", "\"2500\""),
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
        ("[sandbox]", "restart = { when-spent = \"recovery\" }\n[sandbox]"),
        ("[sandbox]", "resources = { oom-score = 0 }\n[sandbox]"),
        ("[sandbox]", "modes = [\"live\"]\n[sandbox]"),
        ("[sandbox]", "state = [\"/aios/system/policy\"]\n[sandbox]"),
    ] {
        let changed = agent.replace(from, to);
        assert_ne!(changed, agent);
        assert!(Unit::parse("example", &changed).is_err(), "{to}");
    }
}

/// What is said of an agent that is an app, in the place of what [`APP`] says.
const AS_AN_AGENT: [(&str, &str); 7] = [
    ("kind = \"app\"", "kind = \"agent\""),
    ("3000", "2500"),
    ("[\"action\"]", "[\"service\"]"),
    ("[\"/nix/store\"]", "[]"),
    ("[\"/proc\"]", "[]"),
    ("device = [\"/dev/null\", \"/dev/urandom\"]", "device = []"),
    ("[sandbox]", "[sandbox]\nconnect = [\"/run/aios/agent-door\"]"),
];

#[test]
fn no_text_gives_an_app_that_is_an_agent_more_than_its_door() {
    let agent = AS_AN_AGENT.iter().fold(APP.to_owned(), |text, (from, to)| text.replace(from, to));
    let unit = Unit::parse("example", &agent).expect("an agent");
    assert!(unit.is_of_an_app() && unit.kind == Kind::Agent && unit.modes.is_empty());
    assert_eq!((unit.readiness, unit.oom_score()), (Readiness::Started, 600));
    // What an app may have that is no agent, and what an agent may have that no one handed in.
    let others = AS_AN_AGENT[1..6].iter().map(|(from, to)| (*to, *from));
    let own = [
        ("\"2500\"", "\"2499\""),
        ("\"2500\"", "\"3000\""),
        ("\"2500\"", "\"root\""),
        ("sha256", "# sha256"),
        ("\"cgroup\"", "\"mount\""),
        ("/run/aios/agent-door", "/run/aios"),
        ("/run/aios/agent-door", "/run/aios/init"),
        ("[\"service\"]", "[\"service\", \"network\"]"),
        ("[\"service\"]", "[\"unlimited\"]"),
        ("execute = []", "execute = [\"/usr/lib/aios\"]"),
        ("read = []", "read = [\"/usr/share\"]"),
        ("= 512", "= 513"),
        ("= 512", "= 512\noom-score = 599"),
        ("[sandbox]", "[sandbox]\nnetwork = \"host\""),
        ("[sandbox]", "[sandbox]\nview = \"whole\""),
        ("[sandbox]", "[sandbox]\npaths = \"unlimited\""),
        ("[sandbox]", "[sandbox]\ncapabilities = [\"CAP_KILL\"]"),
        ("[sandbox]", "[sandbox]\ngroups = [\"actions\"]"),
        ("[sandbox]", "[sandbox]\nwrite = [\"/aios/agents/example\"]"),
        ("[resources]", "state = [\"/aios/agents/example\"]\n[resources]"),
        ("[resources]", "after = [\"agent-door\"]\n[resources]"),
        ("[resources]", "[restart]\nwhen-spent = \"recovery\"\n[resources]"),
        ("[resources]", "modes = [\"live\"]\n[resources]"),
        ("[resources]", "readiness = \"notify\"\n[resources]"),
        ("[resources]", "socket = true\n[resources]"),
        ("[resources]", "audit = true\n[resources]"),
    ];
    for (from, to) in others.filter(|(from, _)| *from != "[]").chain(own) {
        let changed = agent.replace(from, to);
        assert_ne!(changed, agent, "{from}");
        assert!(Unit::parse("example", &changed).is_err(), "{to}");
    }
    let rights = [("execute = []", "execute = [\"/nix/store\"]"), ("read = []", "read = [\"/proc\"]")];
    for (from, to) in rights {
        assert!(Unit::parse("example", &agent.replace(from, to)).is_err(), "{to}");
    }
}

const APP: &str = r#"
kind = "app"
program = "/aios/chunks/it"
sha256 = "0000000000000000000000000000000000000000000000000000000000000000"
user = "3000"
[resources]
memory-max-mib = 512
[sandbox]
own = ["mount", "pid", "ipc", "uts", "cgroup"]
execute = ["/nix/store"]
read = ["/proc"]
device = ["/dev/null", "/dev/urandom"]
calls = ["action"]
"#;

#[test]
fn no_text_gives_an_app_more_than_apps_get() {
    let unit = Unit::parse("example", APP).expect("an app");
    assert_eq!((unit.readiness, unit.oom_score()), (Readiness::Started, 500));
    for (from, to) in [
        ("\"cgroup\"", "\"mount\""),
        ("\"3000\"", "\"root\""),
        ("\"3000\"", "\"evidence-log\""),
        ("\"3000\"", "\"2000\""),
        ("sha256", "# sha256"),
        ("= 512", "= 513"),
        ("= 512", "= 512\npids-max = 65"),
        ("= 512", "= 512\noom-score = 499"),
        ("= 512", "= 512\ncpu-weight = 101"),
        ("= 512", "= 512\ndescriptors-max = 1025"),
        ("/nix/store", "/usr"),
        ("/proc", "/aios"),
        ("/dev/urandom", "/dev/sda"),
        ("[\"action\"]", "[\"unlimited\"]"),
        ("[\"action\"]", "[\"service\"]"),
        ("[\"action\"]", "[\"action\", \"mount\"]"),
        ("[sandbox]", "[sandbox]\nnetwork = \"host\""),
        ("[sandbox]", "[sandbox]\nview = \"whole\""),
        ("[sandbox]", "[sandbox]\npaths = \"unlimited\""),
        ("[sandbox]", "[sandbox]\ncapabilities = [\"CAP_KILL\"]"),
        ("[sandbox]", "[sandbox]\ngroups = [\"actions\"]"),
        ("[sandbox]", "[sandbox]\nwrite = [\"/aios\"]"),
        ("[sandbox]", "[sandbox]\nconnect = [\"/run/aios/init\"]"),
        ("[resources]", "[restart]\nwhen-spent = \"recovery\"\n[resources]"),
        ("[resources]", "[restart]\nwhen-spent = \"fail-trial-boot\"\n[resources]"),
        ("[resources]", "critical = true\n[resources]"),
        ("[resources]", "freezes-actions = true\n[resources]"),
        ("[resources]", "socket = true\n[resources]"),
        ("[resources]", "start = \"on-call\"\n[resources]"),
        ("[resources]", "audit = true\n[resources]"),
        ("[resources]", "boot-state = true\n[resources]"),
        ("[resources]", "kernel-messages = true\n[resources]"),
        ("[resources]", "tpm = true\n[resources]"),
        ("[resources]", "modes = [\"live\"]\n[resources]"),
        ("[resources]", "session = \"live\"\n[resources]"),
        ("[resources]", "state = [\"/aios/x\"]\n[resources]"),
        ("[resources]", "published = [\"/aios/x\"]\n[resources]"),
        ("[resources]", "output = \"consoles\"\n[resources]"),
        ("[resources]", "requires = [\"evidence-log\"]\n[resources]"),
        ("[resources]", "wants = [\"evidence-log\"]\n[resources]"),
        ("[resources]", "after = [\"evidence-log\"]\n[resources]"),
        ("[resources]", "conflicts = [\"evidence-log\"]\n[resources]"),
        ("[resources]", "readiness = \"notify\"\n[resources]"),
        ("[resources]", "watchdog-s = 5\n[resources]"),
    ] {
        let changed = APP.replace(from, to);
        assert_ne!(changed, APP);
        assert!(Unit::parse("example", &changed).is_err(), "{to}");
    }
    let digest = format!("sha256 = \"{}\"\n{GOOD}", "0".repeat(64));
    assert!(Unit::parse("example", &digest).is_err(), "what ships is not copied");
}

#[test]
fn an_app_takes_no_name_and_no_user_of_anybody() {
    let unit = |name: &str, line: &str| Unit::parse(name, &format!("{line}\n{GOOD}")).expect(name);
    let shipped = vec![unit("a", "after = [\"wished\"]\nconflicts = [\"rival\"]"), unit("b", "")];
    let elsewhere = Unit::parse("c", &GOOD.replace("live", "install")).expect("a unit of another mode");
    let app = |name: &str| Unit::parse(name, APP).expect("an app");
    let brought = Graph::new(Mode::Live, vec![app("app")]).expect_err("no image brings one");
    assert!(matches!(brought, GraphError::App(_)));
    let agent = AS_AN_AGENT.iter().fold(APP.to_owned(), |text, (from, to)| text.replace(from, to));
    let agent = Unit::parse("agent", &agent).expect("an agent");
    let brought = Graph::new(Mode::Live, vec![agent.clone()]).expect_err("nor one that is an agent");
    assert!(matches!(brought, GraphError::App(_)));
    let mut graph = Graph::new(Mode::Live, [shipped, vec![elsewhere]].concat()).expect("they fit");
    let mut ask = |event: Event| match graph.step(event, 1).into_iter().find_map(|effect| match effect {
        Effect::Refuse(why) => Some(why),
        _ => None,
    }) {
        Some(why) => why,
        None => "done".into(),
    };
    let add = |unit: Unit| Event::Add(Box::new(unit));
    assert!(ask(add(app("app"))).contains("not set up yet"));
    assert_eq!(ask(Event::Begin), "done");
    for name in ["a", "b", "c", "wished", "rival", "init", "notify", "kernel"] {
        assert!(ask(add(app(name))).contains("belongs to the system"), "{name}");
    }
    assert!(ask(add(unit("d", ""))).contains("is no app"));
    assert_eq!(ask(add(app("app"))), "done");
    assert_eq!(ask(add(app("app"))), "done", "it is there already");
    let changed = Unit::parse("app", &APP.replace("= 512", "= 64")).expect("an app");
    assert!(ask(add(changed)).contains("another unit"));
    assert!(ask(add(app("other"))).contains("would be the user 3000, as 'app' is"));
    let numbered = |number: u32| {
        Unit::parse(&format!("n{number}"), &APP.replace("3000", &(3000 + number).to_string())).expect("an app")
    };
    for number in 1..15 {
        assert_eq!(ask(add(numbered(number))), "done");
    }
    for taken in ["a", "c"] {
        let agent = Unit { name: taken.parse().expect("a name"), ..agent.clone() };
        assert!(ask(add(agent)).contains("belongs to the system"), "{taken}");
    }
    let shipped = Unit { sha256: None, ..agent.clone() };
    assert!(ask(add(shipped)).contains("is no app"), "an agent that the image would bring");
    assert_eq!(ask(add(agent)), "done");
    assert!(ask(add(numbered(16))).contains("16 apps"));
    let name = |name: &str| name.parse().expect("a name");
    assert!(ask(Event::Remove(name("b"))).contains("ships with the system"));
    assert!(ask(Event::Remove(name("nobody"))).contains("no unit 'nobody'"));
    assert_eq!(ask(Event::Remove(name("app"))), "done");
    assert!(ask(add(app("app"))).contains("still ends"));
    assert!(ask(Event::Start(name("app"))).contains("is being removed"));
    assert_eq!(ask(Event::Ended(name("app"), Ended::Signal(9))), "done");
    assert_eq!(ask(add(app("app"))), "done", "it is gone");
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
    assert_eq!(graph(vec![unit("a", "after = [\"elsewhere\"]\nwants = [\"nobody\"]")]), Ok(()));
    let called = |start: &str| unit("b", &format!("start = \"{start}\"\nsocket = true"));
    for start in ["on-call", "boot-then-on-call"] {
        let needs = graph(vec![unit("a", "requires = [\"b\"]"), called(start)]).expect_err(start).to_string();
        assert!(needs.contains("'a' requires 'b', which only its callers start"), "{needs}");
        assert_eq!(graph(vec![unit("a", "after = [\"b\"]"), called(start)]), Ok(()));
    }
    let clash = graph(vec![unit("a", "conflicts = [\"b\"]"), unit("b", "")]).expect_err("both are started");
    assert_eq!(clash.to_string(), "'a' and 'b' conflict, and both are started in the same mode");
    let mut twice = vec![unit("a", "state = [\"/aios/x\"]"), unit("b", "published = [\"/aios/x/\"]")];
    assert_eq!(graph(twice.clone()), Ok(()), "they run as one user");
    twice[0].user = "other".into();
    let twice = graph(twice);
    assert_eq!(twice.expect_err("one folder").to_string(), "'b' and 'a' both claim /aios/x");
    for own in ["init", "notify"] {
        let error = graph(vec![unit(own, "socket = true")]).expect_err("one socket").to_string();
        assert_eq!(error, format!("'{own}' and PID 1 both claim /run/aios/{own}"));
    }
}

/// An agent is only started when somebody asks.
#[test]
fn what_starts_by_itself_cannot_need_what_does_not() {
    let agent = "kind = \"agent\"\nprogram = \"/p\"\nuser = \"2000\"\nconflicts = [\"b\"]\nwants = [\"b\"]\n\
                 [sandbox]\nown = [\"mount\", \"pid\", \"ipc\", \"uts\"]\ncalls = [\"x\"]";
    let error = Unit::parse("agent", agent).expect_err("it needs what it keeps out").to_string();
    assert!(error.contains("conflicts names 'b'"), "{error}");
    let agent = Unit::parse("agent", &agent.replace("conflicts = [\"b\"]", "")).expect("an agent");
    let needy = Unit::parse("needy", &format!("requires = [\"agent\"]\n{GOOD}")).expect("a unit");
    let b = Unit::parse("b", GOOD).expect("a unit");
    assert!(Graph::new(Mode::Live, vec![agent.clone(), b.clone()]).is_ok());
    assert!(matches!(Graph::new(Mode::Live, vec![agent, b, needy]), Err(GraphError::Missing { .. })));
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
        key in "(kind|program|user|modes|requires|wants|conflicts|state|session|start-timeout-s|watchdog-s|socket)",
        value in "(\"[a-z/.]{0,12}\"|[0-9]{1,20}|\\[\"[a-z./-]{0,12}\"\\]|true)",
    ) {
        let text: String = GOOD.lines().filter(|line| !line.starts_with(&key)).map(|line| format!("{line}\n")).collect();
        let _ = Unit::parse("example", &format!("{key} = {value}\n{text}")).is_ok();
    }
}
