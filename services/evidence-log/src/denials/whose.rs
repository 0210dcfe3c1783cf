//! Who has a user. Services and agents have one each by the tables of the verified root; a sandbox has one for as long as it
//! runs, and the log's own `started` records say for which action.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use aios_evidence::{Filter, Kind, Record};
use aios_wire::launch::{FIRST_UID, SANDBOXES};
use serde_json::Value;

use super::book::{Find, Whose};
use crate::log::Log;

const USERS: &str = "/usr/share/aios/users.toml";
const AGENTS: &str = "/usr/share/aios/agents";
/// Operators have the users from here to the agents'.
const FIRST_OPERATOR: u32 = 1000;
/// The kernel's stamps may be a tick early, and the record of a start is always earlier than what was started.
const TICK_MS: u64 = 10;

/// Everybody.
pub(super) struct People {
    named: BTreeMap<u32, String>,
    log: Arc<Log>,
    boot: String,
}

impl People {
    /// Everybody in the tables of the image. Without a table its people are numbers.
    pub(super) fn of_the_image(log: Arc<Log>, boot: String) -> Self {
        let mut named = std::fs::read_to_string(USERS).map(|users| services(&users)).unwrap_or_default();
        for entry in std::fs::read_dir(AGENTS).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = path.file_stem().map(|name| name.to_string_lossy().into_owned());
            named.extend(std::fs::read_to_string(&path).ok().zip(name).and_then(|(text, name)| agent(&name, &text)));
        }
        Self { named, log, boot }
    }

    /// The action in whose sandbox the user was: the newest start before that time, unless it had ended by then.
    fn action(&self, uid: u32, wall_ms: u64) -> Option<Whose> {
        let started = [Kind::Started, Kind::Trial].into_iter().flat_map(|kind| self.records(kind, None));
        let started = started.filter(|record| record.boot == self.boot && ran_as(record, uid, wall_ms));
        let started = started.max_by_key(|record| record.index)?;
        // A trial ends with its report, which has no user; an action ends with its result.
        let ending = if started.kind == Kind::Trial { Kind::Trial } else { Kind::Result };
        let mut endings = self.records(ending, Some(&started.action)).into_iter();
        if endings.any(|ending| ending.index > started.index && ending.wall < wall_ms) {
            return None;
        }
        let subject = match started.kind {
            Kind::Trial => started.subject.clone(),
            _ => {
                self.records(Kind::Intent, Some(&started.action)).pop().map(|intent| intent.subject).unwrap_or_default()
            }
        };
        Some(Whose {
            subject,
            digest: started.digest.map(|digest| digest.to_string()).unwrap_or_default(),
            action: started.action,
        })
    }

    /// The newest records of a kind, of one action or of all.
    fn records(&self, kind: Kind, action: Option<&str>) -> Vec<Record> {
        let filter = Filter { kind: Some(kind), action: action.map(str::to_owned), ..Filter::default() };
        let lines = self.log.query(&filter).unwrap_or_default();
        lines.iter().filter_map(|line| Record::decode(line.as_bytes()).ok()).collect()
    }
}

impl Find for People {
    fn find(&self, uid: u32, wall_ms: u64) -> Whose {
        let subject = |subject: String| Whose { subject, ..Whose::default() };
        match uid.checked_sub(FIRST_UID) {
            // A sandbox without an action is the runtime's own: it proves at each start that nothing gets out.
            Some(offset) if offset < u32::from(SANDBOXES) => {
                self.action(uid, wall_ms).unwrap_or_else(|| subject("service:action-runtime".to_owned()))
            }
            _ => subject(self.named.get(&uid).cloned().unwrap_or_else(|| format!("user:{uid}"))),
        }
    }
}

fn ran_as(started: &Record, uid: u32, wall_ms: u64) -> bool {
    let of_user = started.payload.get("uid").and_then(Value::as_u64) == Some(u64::from(uid));
    of_user && started.wall <= wall_ms.saturating_add(TICK_MS)
}

/// The image's table of users: a service is called what its user is called.
fn services(users: &str) -> BTreeMap<u32, String> {
    let users: BTreeMap<String, u32> = toml::from_str(users).unwrap_or_default();
    let word = |uid: u32| if uid < FIRST_OPERATOR { "service" } else { "operator" };
    users.into_iter().map(|(name, uid)| (uid, format!("{}:{name}", word(uid)))).collect()
}

/// The user of an agent, from its manifest.
fn agent(name: &str, manifest: &str) -> Option<(u32, String)> {
    let manifest: toml::Table = toml::from_str(manifest).ok()?;
    let uid = manifest.get("user")?.as_str()?.parse().ok()?;
    Some((uid, format!("agent:{}", Path::new(name).display())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{Draft, Stamp};
    use crate::open::open;

    #[test]
    fn a_users_action_is_the_one_that_ran_at_the_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let (log, ..) = open(folder.path(), || Ok([7; 96])).expect("a new log");
        let log = Arc::new(log);
        let write = |kind, action: &str, wall, payload: &str| {
            let (action, payload) = (action.to_owned(), payload.to_owned());
            let draft = Draft { kind, action, writer: "service:action-runtime".into(), payload };
            let stamp = Stamp { boot: "b".into(), at_ms: 1, wall };
            log.append(&[draft], &stamp).pop().expect("an answer").expect("written");
        };
        for (action, began) in [("act_1", 1000), ("act_2", 2000)] {
            write(Kind::Intent, action, began - 10, r#"{"subject":{"kind":"agent","name":"x"}}"#);
            write(Kind::Started, action, began, r#"{"uid":61000}"#);
            write(Kind::Result, action, began + 500, "{}");
        }
        let people = People { named: BTreeMap::new(), log: Arc::clone(&log), boot: "b".into() };
        let found = |uid, wall| {
            let whose = people.find(uid, wall);
            (whose.action, whose.subject)
        };
        let agents = |action: &str| (action.to_owned(), "agent:x".to_owned());
        // The kernel's clock may be a tick early.
        assert_eq!((found(61_000, 1995), found(61_000, 2300)), (agents("act_2"), agents("act_2")));
        assert_eq!(found(61_000, 1400), agents("act_1"));
        // Between and after actions the runtime tries its own sandbox; other users are somebody else.
        let runtimes = (String::new(), "service:action-runtime".to_owned());
        assert_eq!(
            (found(61_000, 1700), found(61_000, 9000), found(61_001, 2300)),
            (runtimes.clone(), runtimes.clone(), runtimes)
        );
        assert_eq!(found(70_000, 2300).1, "user:70000");

        // A program that is tried has its user before its action is decided.
        write(Kind::Trial, "act_3", 3000, r#"{"what":"begins","uid":61000,"subject":{"kind":"agent","name":"x"}}"#);
        assert_eq!(found(61_000, 3100), agents("act_3"));
        write(Kind::Trial, "act_3", 3200, r#"{"what":"report"}"#);
        assert_eq!(found(61_000, 3300).0, "");
        write(Kind::Started, "act_3", 4000, r#"{"uid":61000}"#);
        assert_eq!(found(61_000, 4100).0, "act_3");
    }

    #[test]
    fn the_tables_that_ship_name_everybody() {
        let users = services(include_str!("../../../../rootfs/users.toml"));
        assert_eq!(users.get(&107).map(String::as_str), Some("service:network"));
        assert_eq!(users.get(&1000).map(String::as_str), Some("operator:live"));
        let example = agent("example", include_str!("../../../../rootfs/agents/example.toml"));
        assert_eq!(example, Some((2000, "agent:example".to_owned())));
        assert_eq!(agent("x", "user = 5"), None);
    }
}
