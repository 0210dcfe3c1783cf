//! The keys of a keyboard with the layout that the kernel has by itself.

/// The keys that, pressed together, give a character.
pub(super) fn keys(character: char) -> Option<Vec<String>> {
    let shifted = |key: &str| vec!["shift".to_owned(), key.to_owned()];
    Some(match character {
        'a'..='z' | '0'..='9' => vec![character.to_string()],
        'A'..='Z' => shifted(&character.to_ascii_lowercase().to_string()),
        '\n' => vec!["ret".to_owned()],
        ' ' => vec!["spc".to_owned()],
        '-' => vec!["minus".to_owned()],
        '.' => vec!["dot".to_owned()],
        ';' => vec!["semicolon".to_owned()],
        ':' => shifted("semicolon"),
        '>' => shifted("dot"),
        // Takes the line back.
        '\u{15}' => vec!["ctrl".to_owned(), "u".to_owned()],
        _ => return None,
    })
}
