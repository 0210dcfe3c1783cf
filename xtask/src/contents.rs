//! What may be in an image: no shell, no interpreter, no program that needs a loader or a library, and only tables that
//! the programs which read them understand.
//!
//! The lists say which files there are; this looks into them. It runs in every build, so an image that breaks the rule
//! cannot be made.

use std::path::Path;

use aios_identity::PeerTable;
use aios_units::Unit;
use installer::seed::Users;

use crate::error::{Error, Result};
use crate::files_list::{Content, Staged};
use crate::{project, units};

/// Whether a person repairs a machine with this image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shell {
    No,
    /// Recovery has busybox, under its own name and those of its tools.
    Busybox,
}

/// Names by which programs that run other people's text are known.
const INTERPRETERS: &[&str] = &[
    "ash", "awk", "bash", "busybox", "csh", "dash", "expect", "fish", "gawk", "guile", "java", "ksh", "lua", "luajit",
    "mawk", "mksh", "node", "nodejs", "perl", "php", "pwsh", "python", "rbash", "ruby", "sh", "tclsh", "tcsh",
    "toybox", "wish", "zsh",
];

/// The name of the one program that recovery may have beyond ours.
const BUSYBOX: &str = "busybox";

/// Checks every file of an image.
pub(crate) fn check(image: &str, files: &[Staged], shell: Shell) -> Result<()> {
    for file in files {
        if let Some(fault) = fault_of(file, shell) {
            return Err(Error::refused(
                format!("{image}: /{} {fault}", file.path),
                "no image has a shell or an interpreter, and every program is static; only recovery has busybox",
            ));
        }
    }
    Ok(())
}

fn fault_of(file: &Staged, shell: Shell) -> Option<String> {
    let name = Path::new(&file.path).file_name().unwrap_or_default().to_string_lossy();
    let plain = name.trim_end_matches(|letter: char| letter.is_ascii_digit() || letter == '.');
    let is_interpreter = INTERPRETERS.contains(&plain);
    match &file.content {
        Content::Directory | Content::Device { .. } => None,
        Content::Link(target) => {
            let to_busybox = Path::new(target).file_name().is_some_and(|name| name == BUSYBOX);
            let allowed = shell == Shell::Busybox && to_busybox;
            (!allowed && (is_interpreter || to_busybox)).then(|| format!("is a name for {target}"))
        }
        Content::File(_) if is_interpreter && !(shell == Shell::Busybox && plain == BUSYBOX) => {
            Some("has the name of an interpreter".to_owned())
        }
        Content::File(bytes) if bytes.starts_with(b"#!") => Some("is a script".to_owned()),
        Content::File(bytes) if bytes.starts_with(b"\x7fELF") => elf_fault(bytes).map(str::to_owned),
        Content::File(_) if file.mode & 0o111 != 0 => Some("may be executed and is no program".to_owned()),
        Content::File(_) => None,
    }
}

/// What keeps an ELF file from standing alone, if something does.
fn elf_fault(bytes: &[u8]) -> Option<&'static str> {
    const BITS_64_LITTLE: [u8; 2] = [2, 1];
    const INTERPRETER: u32 = 3;
    let half = |at: usize| Some(usize::from(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?)));
    let word = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?));
    let long = |at: usize| usize::try_from(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?)).ok();
    if bytes.get(4..6) != Some(&BITS_64_LITTLE) {
        return Some("is no program of this processor");
    }
    let (Some(table), Some(size), Some(count)) = (long(32), half(54), half(56)) else {
        return Some("ends in its header");
    };
    for number in 0..count {
        let Some(kind) = number.checked_mul(size).and_then(|offset| table.checked_add(offset)).and_then(word) else {
            return Some("ends in its header");
        };
        if kind == INTERPRETER {
            return Some("needs a loader: it is not static");
        }
    }
    None
}

/// Reads every table of `rootfs/` as the program does that uses it.
pub(crate) fn check_tables() -> Result<()> {
    for name in ["rootfs/peers.toml", "rootfs/users.toml"] {
        check_table(name, &project::read(name)?)?;
    }
    for folder in ["rootfs/units", "rootfs/agents"] {
        for name in project::list(folder)? {
            let name = format!("{folder}/{name}");
            check_table(&name, &project::read(&name)?)?;
        }
    }
    units::check()
}

fn check_table(relative: &str, text: &str) -> Result<()> {
    let path = Path::new(relative);
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let wrong = || format!("{relative} is not understood");
    match (path.parent().and_then(Path::file_name).and_then(|folder| folder.to_str()), stem.as_ref()) {
        (Some("rootfs"), "peers") => PeerTable::parse(text).map(|_| ()).map_err(|e| Error::library(wrong(), e)),
        (Some("rootfs"), "users") => Users::parse(text).map(|_| ()).map_err(|e| Error::library(wrong(), e)),
        _ => Unit::parse(&stem, text).map(|_| ()).map_err(|e| Error::library(wrong(), e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use installer::answers::Answers;
    use proptest::prelude::*;

    /// The whole chain of causes.
    fn told(error: &dyn std::error::Error) -> String {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(source) = cause {
            text += &format!("\n{source}");
            cause = source.source();
        }
        text
    }

    fn check_told(text: &str, parts: &[&str]) {
        for part in parts {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn the_tables_of_this_tree_are_understood() {
        check_tables().expect("understood");
    }

    #[test]
    fn an_unknown_key_is_shown_with_line_and_caret_in_every_table() {
        let unit = project::read("rootfs/units/network.toml").expect("a unit");
        let agent = project::read("rootfs/agents/example.toml").expect("an agent");
        for (name, text, line) in
            [("rootfs/units/network.toml", unit, "colour"), ("rootfs/agents/example.toml", agent, "colour")]
        {
            let error = check_table(name, &format!("colour = \"red\"\n{text}")).expect_err("refused");
            check_told(&told(&error), &[name, "line 1", "^", line]);
        }
        // In these two the keys are names; what can be wrong is what they are given.
        let error = check_table("rootfs/peers.toml", "[Policy1]\nDecide = [\"everyone\"]\n").expect_err("refused");
        check_told(&told(&error), &["rootfs/peers.toml", "line 2", "^", "everyone"]);
        let error = check_table("rootfs/users.toml", "network = 104\nsettings = \"105\"\n").expect_err("refused");
        check_told(&told(&error), &["rootfs/users.toml", "line 2", "^"]);
    }

    #[test]
    fn an_unknown_key_is_shown_with_line_and_caret_in_answers_and_policy() {
        let answers = b"disk = \"only-empty\"\noperator = \"a\"\npasphrase = \"b\"\n";
        let error = Answers::parse(answers, &[0; 16]).map(|_| ()).expect_err("refused");
        check_told(&told(&error), &["line 3", "^", "pasphrase"]);
        let sources = [("a.cedar", "permit(principal, action, resource);"), ("bundle.toml", "epoch = 1\nepic = 2\n")];
        let error = aios_policy::pack(sources, &[1; 32]).expect_err("refused");
        check_told(&told(&error), &["line 2", "^", "epic"]);
    }

    fn file(path: &str, mode: u32, content: Content) -> Staged {
        Staged { path: path.to_owned(), mode, content, made_from: None }
    }

    /// The smallest header with these kinds of program headers.
    fn elf(kinds: &[u32]) -> Vec<u8> {
        let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
        bytes.resize(64, 0);
        bytes[32] = 64;
        bytes[54] = 56;
        bytes[56] = u8::try_from(kinds.len()).expect("few");
        for kind in kinds {
            bytes.extend(kind.to_le_bytes());
            bytes.extend([0; 52]);
        }
        bytes
    }

    #[test]
    fn shells_scripts_and_dynamic_programs_are_refused() {
        let check_refused = |file: Staged, part: &str| {
            let error = check("root", &[file], Shell::No).expect_err("refused");
            assert!(error.to_string().contains(part), "{error}");
        };
        check_refused(file("bin/sh", 0o755, Content::File(elf(&[1]))), "/bin/sh has the name");
        check_refused(file("bin/python3.11", 0o755, Content::File(elf(&[1]))), "python3.11");
        check_refused(file("bin/tool", 0o755, Content::File(b"#!/bin/aios".to_vec())), "is a script");
        check_refused(file("share/tool", 0o644, Content::File(b"#!/bin/aios".to_vec())), "is a script");
        check_refused(file("bin/tool", 0o755, Content::File(elf(&[1, 3]))), "not static");
        check_refused(file("bin/tool", 0o755, Content::File(b"text".to_vec())), "is no program");
        check_refused(file("bin/sh", 0o777, Content::Link("aios".into())), "is a name for");
        check_refused(file("bin/ls", 0o777, Content::Link("/bin/busybox".into())), "is a name for");
        check("root", &[file("bin/aios", 0o755, Content::File(elf(&[1, 2])))], Shell::No).expect("good");
    }

    #[test]
    fn recovery_has_busybox_and_nothing_else() {
        let busybox = || file("bin/busybox", 0o755, Content::File(elf(&[1])));
        let link = |target: &str| file("bin/sh", 0o777, Content::Link(target.to_owned()));
        check("recovery", &[busybox(), link("busybox")], Shell::Busybox).expect("good");
        assert!(check("recovery", &[busybox(), link("dash")], Shell::Busybox).is_err());
        assert!(check("recovery", &[file("bin/bash", 0o755, Content::File(elf(&[1])))], Shell::Busybox).is_err());
    }

    proptest! {
        #[test]
        fn no_program_header_panics(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), kinds in 0u32..5) {
            let _ = elf_fault(&bytes);
            bytes.splice(0..0, elf(&[kinds]));
            let _ = elf_fault(&bytes);
        }
    }
}
