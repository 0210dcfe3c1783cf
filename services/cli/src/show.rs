//! Answers for people and for programs.

use std::io::IsTerminal as _;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::failure::Failure;

/// For whom an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    People,
    Json,
}

impl Format {
    /// Prints `value` as JSON, or as `people` writes it.
    pub(crate) fn print<T: Serialize>(self, value: &T, people: impl FnOnce(&T)) {
        match self {
            Self::Json => {
                println!("{}", serde_json::to_string_pretty(value).expect("answers have only text keys"));
            }
            Self::People => people(value),
        }
    }
}

/// How good news something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Good,
    Bad,
    /// It waits, or somebody should look.
    Waits,
    Plain,
}

/// Whether what is printed has colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ink {
    Colour,
    None,
}

impl Ink {
    /// Colours for a terminal, unless whoever sits there does not want any.
    pub(crate) fn of_stdout() -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if std::io::stdout().is_terminal() && !unwanted { Self::Colour } else { Self::None }
    }

    /// `text` in the colour of its tone.
    pub(crate) fn paint(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Good => 32,
            Tone::Bad => 31,
            Tone::Waits => 33,
            Tone::Plain => return text.to_owned(),
        };
        match self {
            Self::Colour => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
            Self::None => text.to_owned(),
        }
    }
}

/// Reads what a service answered.
pub(crate) fn read<T: DeserializeOwned>(service: &str, text: &str) -> Result<T, Failure> {
    serde_json::from_str(text).map_err(|error| {
        Failure::failed(format!("{service} gave an answer that cannot be read: {error}"))
            .hint("the programs of this machine do not belong together; 'aios update status' shows the release")
    })
}

/// Prints rows with aligned columns.
pub(crate) fn table<const N: usize>(head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) {
    let rows: Vec<_> = std::iter::once(head.map(str::to_owned)).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    for row in &rows {
        let mut line = String::new();
        for (text, width) in row.iter().zip(widths) {
            line.push_str(&format!("{text:width$}  "));
        }
        println!("{}", line.trim_end());
    }
}

/// Text that came from outside, without anything that a terminal would act on.
pub(crate) fn harmless(text: &str) -> String {
    text.chars()
        .map(|character| match character {
            '\n' | '\t' => ' ',
            c if c.is_control() || ('\u{200b}'..='\u{200f}').contains(&c) || ('\u{202a}'..='\u{2069}').contains(&c) => {
                '\u{fffd}'
            }
            other => other,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::harmless;

    #[test]
    fn what_a_terminal_would_obey_is_shown_as_a_mark() {
        assert_eq!(harmless("a\u{1b}[31mb\u{202e}c\nd"), "a\u{fffd}[31mb\u{fffd}c d");
        assert_eq!(harmless("plain – text €"), "plain – text €");
    }
}
