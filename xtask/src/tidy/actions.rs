//! The table and the examples of `docs/actions.md`, as the catalogue has them.

use std::fmt::Write as _;

use aios_action::{ActionType, Adapter, CATALOGUE, Presence, Reversal};

/// The page.
pub(super) const PAGE: &str = "docs/actions.md";

const BEGIN: &str = "<!-- catalogue -->\n";
const END: &str = "<!-- end of the catalogue -->\n";

/// The page with what the catalogue says now; nothing when it has no place for that.
pub(super) fn page(text: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}{}{END}{after}", said()))
}

fn said() -> String {
    let mut text =
        String::from("| type | parameters | risk | done by | undone | holds when |\n|---|---|---|---|---|---|\n");
    for entry in CATALOGUE {
        let parameters: Vec<_> = entry
            .parameters
            .iter()
            .map(|parameter| match parameter.presence {
                Presence::Required => format!("`{}`", parameter.name),
                Presence::Optional => format!("`{}`, perhaps", parameter.name),
            })
            .collect();
        let undone = if entry.reversal == Reversal::RestoresBefore { "yes" } else { "no" };
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | {} | {undone} | {} |",
            entry.name,
            parameters.join(", "),
            entry.risk().word(),
            done_by(entry),
            entry.post_condition
        );
    }
    text.push_str("\nOne example of each:\n\n");
    for entry in CATALOGUE {
        let words = entry.example.iter().fold(String::new(), |mut words, (name, word)| {
            let quoted = if word.contains([' ', '"']) { format!("'{word}'") } else { (*word).to_owned() };
            let _ = write!(words, " {name}={quoted}");
            words
        });
        let _ = writeln!(text, "    aios action submit {}{words}", entry.name);
    }
    text
}

fn done_by(entry: &ActionType) -> String {
    match entry.adapter {
        Adapter::Call("init") => "PID 1".into(),
        Adapter::Call(service) => format!("`{service}`"),
        Adapter::Folder => format!("the adapter, below `{}`", entry.granted_folder().unwrap_or_default()),
        Adapter::Program => "the program itself".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_marks_is_written() {
        let written = page(&format!("before\n{BEGIN}old\n{END}after\n")).expect("it has the place");
        assert!(written.starts_with("before\n") && written.ends_with(&format!("{END}after\n")));
        assert!(!written.contains("old\n") && written.contains("| `service.restart` | `name` | medium | PID 1 | no |"));
        assert_eq!(page(&written).as_deref(), Some(written.as_str()), "writing it again changes nothing");
        assert_eq!(page("a page without marks"), None);
    }
}
