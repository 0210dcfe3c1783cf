//! How the boot before this one ended, from what the evidence log says of it.
//!
//! The log's own boot record knows whether that boot came to its end. Why one did not is told by PID 1 a little later, when
//! it has read the watchdog and what the firmware kept of a kernel that died.

use aios_evidence::{Filter, Kind, Record};
use serde::Serialize;
use serde_json::Value;

use crate::evidence;
use crate::failure::Failure;
use crate::show::harmless;

/// PID 1's first events of a boot are among so many.
const FIRST: usize = 400;

/// How a boot ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum How {
    /// In order.
    Clean,
    /// Somebody asked for the end, and it did not come to it.
    CutOff,
    /// The kernel died.
    Panic,
    /// It did not answer the watchdog.
    Watchdog,
    /// Nobody asked for it and nothing tells why: power was lost, or the machine was reset.
    PowerLost,
}

/// The end of the boot before this one.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Previous {
    pub(crate) how: How,
    /// Who asked, or what was said last.
    pub(crate) text: String,
}

impl Previous {
    /// A sentence about it.
    pub(crate) fn told(&self) -> String {
        let text = harmless(&self.text);
        match self.how {
            How::Clean => format!("ended in order: {text}"),
            How::CutOff => format!("was cut off while it ended: {text}"),
            How::Panic => format!("ended with its kernel: {text}"),
            How::Watchdog => format!("stood still: {text}"),
            How::PowerLost => "lost its power or was reset: nobody ended it".into(),
        }
    }
}

/// What the log has of it; none in the first boot of a log.
pub(crate) async fn ask(boot: &str) -> Result<Option<Previous>, Failure> {
    let begin = Filter { kind: Some(Kind::Boot), limit: Some(1), ..Filter::default() };
    let Some(begin) = evidence::query(&begin).await?.pop().filter(|record| record.boot == boot) else {
        return Ok(None);
    };
    if let Some(clean) = judge(&begin, &[]).filter(|previous| previous.how == How::Clean) {
        return Ok(Some(clean));
    }
    let events =
        Filter { kind: Some(Kind::UnitEvent), after: Some(begin.index), limit: Some(FIRST), ..Filter::default() };
    Ok(judge(&begin, &evidence::query(&events).await?))
}

fn judge(begin: &Record, events: &[Record]) -> Option<Previous> {
    let end = begin.payload.get("previous_end")?.as_str()?;
    let found = |how, text: &str| Some(Previous { how, text: text.to_owned() });
    let (how, text) = match end.split_once(": ") {
        Some(("clean", text)) => return found(How::Clean, text),
        Some(("cut off", text)) => (How::CutOff, text),
        Some(("unclean", text)) => (How::PowerLost, text),
        _ => return None,
    };
    let said = |word: &str| {
        let details = events.iter().filter(|event| event.boot == begin.boot);
        let mut details = details.filter_map(|event| event.payload.get("detail").and_then(Value::as_str));
        details.find(|detail| detail.contains(word)).map(str::to_owned)
    };
    // In the words of PID 1: `last_words.rs` and `watchdog.rs`.
    if let Some(text) = said("died and said: ") {
        return found(How::Panic, &text);
    }
    if let Some(text) = said("it restarted the machine: ") {
        return found(How::Watchdog, &text);
    }
    found(how, text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::sentence::tests::record;

    fn check(end: &str, said: &str, expected: Option<How>) {
        let begin = record(Kind::Boot, json!({"previous_end": end}));
        let events = [record(Kind::UnitEvent, json!({"what": "boot", "detail": said}))];
        let found = judge(&begin, &events);
        assert_eq!(found.as_ref().map(|previous| previous.how), expected, "{end}, {said}");
        assert!(found.is_none_or(|previous| !previous.told().contains('\u{1b}')));
    }

    #[test]
    fn an_end_is_told_by_the_log_and_by_what_pid_1_found() {
        let panic = "the kernel before this one died and said: Kernel panic \u{1b}; 2 pieces are in /x";
        let watchdog = "watchdog i6300esb is fed; it restarted the machine: the system before did not answer it";
        check("none before", "", None);
        check("clean: PowerOff, asked by operator:ada", panic, Some(How::Clean));
        check("cut off: PowerOff, asked by operator:ada", "system ready at 7 ms", Some(How::CutOff));
        check("cut off: PowerOff, asked by operator:ada", panic, Some(How::Panic));
        check("unclean: nobody ended it", watchdog, Some(How::Watchdog));
        check("unclean: nobody ended it", "release 1", Some(How::PowerLost));
    }
}
