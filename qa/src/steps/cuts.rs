//! Power that fails while an action is carried out, at another point of it for each adapter: afterwards the machine says what
//! came of the action, and what it says is so.

use std::time::Duration;

use serde_json::Value;

use super::{Aios, COMMAND, list, text};
use crate::scenario::{Failure, ensure};
use crate::vm::BOOT;

/// How long an action that was interrupted may take to come to its end after the start.
const SETTLED: Duration = Duration::from_secs(120);

/// An action whose effect is one value, seen by asking for something else.
struct Cut {
    action_type: &'static str,
    /// What it is asked with; `NEW` stands for the value.
    line: &'static str,
    /// What shows the value.
    look: &'static str,
    /// What must be equal to it, if anything: two things that change together or not at all.
    twin: Option<&'static str>,
}

/// One of each kind of adapter that keeps something on the disk.
const CUTS: [Cut; 5] = [
    Cut { action_type: "object.put", line: "object put cut/one NEW", look: "object get cut/one", twin: None },
    Cut { action_type: "settings.set", line: "settings set motd NEW", look: "settings get motd", twin: None },
    Cut {
        action_type: "file.write",
        line: "action submit file.write path=cut.txt content=NEW",
        look: "--json action submit file.read path=cut.txt",
        twin: None,
    },
    Cut {
        action_type: "file.patch",
        line: "action submit file.patch path=patched.txt old=OLD new=NEW",
        look: "--json action submit file.read path=patched.txt",
        twin: None,
    },
    Cut {
        action_type: "object.transaction",
        line: r#"action submit object.transaction objects='[{"name":"cut/left","content":"NEW"},{"name":"cut/right","content":"NEW"}]'"#,
        look: "object get cut/left",
        twin: Some("object get cut/right"),
    },
];

/// Cuts the power in each, `rounds` times, each time later in the action than the time before.
pub(crate) fn in_each_adapter(aios: &mut Aios, rounds: u32) -> Result<(), Failure> {
    aios.ok("action submit file.write path=patched.txt content=zero")?;
    for cut in &CUTS {
        aios.ok(&made(cut, "zero", "first"))?;
    }
    let (mut held, mut gone) = (0, 0);
    for round in 0..rounds {
        for (place, cut) in CUTS.iter().enumerate() {
            let old = value(aios, cut)?;
            let new = format!("v{round}-{place}");
            let before = of_type(aios, cut)?;
            aios.machine.console.start(&made(cut, &old, &new), COMMAND)?;
            // Another place of the action each time; the whole takes a second or three under translation.
            std::thread::sleep(Duration::from_millis(u64::from(150 + (round * 5 + place as u32) * 370 % 2_800)));
            aios.machine.power_cut()?;
            aios.enter_again(BOOT)?;
            let known = ended(aios, cut, &before)?;
            let now = value(aios, cut)?;
            println!(
                "  {}: {}, and the value is {}",
                cut.action_type,
                known.as_deref().unwrap_or("never taken"),
                if now == new { "the new one" } else { "the old one" }
            );
            ensure!(now == new || now == old, "{}: '{now}' is neither '{old}' nor '{new}'", cut.action_type);
            match known.as_deref() {
                None | Some("rolled-back" | "denied") => {
                    ensure!(now == old, "{}: it did not happen, and the value is new", cut.action_type);
                    gone += 1;
                }
                Some("succeeded") => {
                    ensure!(now == new, "{}: it succeeded, and the value is old", cut.action_type);
                    held += 1;
                }
                // Nobody knows, and it says so.
                Some("failed") => gone += 1,
                Some(other) => return Err(Failure::broken(format!("{}: it is left {other}", cut.action_type))),
            }
            if let Some(twin) = cut.twin {
                ensure!(aios.ok(twin)?.trim() == now, "{}: half of it happened", cut.action_type);
            }
            aios.ok("evidence verify")?;
        }
    }
    println!("  {} cuts: {held} actions had succeeded, {gone} had not", held + gone);
    Ok(())
}

fn made(cut: &Cut, old: &str, new: &str) -> String {
    cut.line.replace("OLD", old).replace("NEW", new)
}

/// The value as somebody else says it.
fn value(aios: &mut Aios, cut: &Cut) -> Result<String, Failure> {
    let said = aios.ok(cut.look)?;
    let content = super::first_json(&said).map(|view| view["observed"]["printed"]["content"]["text"].clone());
    Ok(content.and_then(|content| content.as_str().map(str::to_owned)).unwrap_or(said).trim().to_owned())
}

/// The actions of the type, by id.
fn of_type(aios: &mut Aios, cut: &Cut) -> Result<Vec<String>, Failure> {
    views(aios, cut)?.iter().map(|view| text(view, "id").map(str::to_owned)).collect()
}

fn views(aios: &mut Aios, cut: &Cut) -> Result<Vec<Value>, Failure> {
    let all = aios.json("action list")?;
    Ok(list(&all)?.iter().filter(|view| view["request"]["type"] == cut.action_type).cloned().collect())
}

/// How the one that is new ended; none: the runtime never heard of it.
fn ended(aios: &mut Aios, cut: &Cut, before: &[String]) -> Result<Option<String>, Failure> {
    let new = |view: &Value| view["id"].as_str().is_some_and(|id| !before.iter().any(|known| known == id));
    let Some(view) = views(aios, cut)?.into_iter().find(new) else { return Ok(None) };
    let is_final = |view: &Value| {
        let state = view["state"]["state"].as_str().unwrap_or_default();
        ["succeeded", "failed", "rolled-back", "denied", "cancelled"].contains(&state)
    };
    let line = format!("action show {}", text(&view, "id")?);
    let view = aios.until(&line, "the end of an action that was cut off", SETTLED, is_final)?;
    text(&view["state"], "state").map(|state| Some(state.to_owned()))
}
