//! Fuzz targets: bytes from outside, one format each, and what must hold whatever they are.
//!
//! A target says more than that nothing panics: what is read and written again is the same, limits hold, and a verifier
//! never accepts what was changed. It panics when that is not so. `targets.txt` has a line for each, for people and for
//! `cargo xtask fuzz`, which searches for inputs that break one; the tests here only try the seeds.

mod action;
mod dbus;
mod evidence;
mod file;
mod key;
mod policy;
mod wire;

/// One format.
pub struct Target {
    /// Its name in `targets.txt`.
    pub name: &'static str,
    /// Good inputs to begin with, small and of every form.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Tries one input.
    pub run: fn(&[u8]) -> Taken,
}

/// What became of an input. Either is fine; a target that never takes anything looks at nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It was read.
    Yes,
    /// It was refused.
    No,
}

impl Taken {
    fn when(taken: bool) -> Self {
        if taken { Self::Yes } else { Self::No }
    }
}

/// Every target, in the order of `targets.txt`.
pub const TARGETS: &[Target] = &[
    Target { name: "entry", seeds: evidence::entries, run: evidence::entry },
    Target { name: "tile", seeds: evidence::files, run: evidence::tile },
    Target { name: "checkpoint", seeds: evidence::checkpoints, run: evidence::checkpoint },
    Target { name: "proof", seeds: evidence::proofs, run: evidence::proof },
    Target { name: "query", seeds: evidence::queries, run: evidence::query },
    Target { name: "request", seeds: action::requests, run: action::request },
    Target { name: "bundle", seeds: policy::bundles, run: policy::bundle },
    Target { name: "key", seeds: key::lines_and_signatures, run: key::line_or_signature },
    Target { name: "dbus", seeds: dbus::messages, run: dbus::message },
    Target { name: "control", seeds: wire::requests, run: wire::request },
    Target { name: "notify", seeds: wire::notices, run: wire::notice },
    Target { name: "launch", seeds: wire::launches, run: wire::launch },
    Target { name: "unit", seeds: file::units, run: file::unit },
    Target { name: "workflow", seeds: file::workflows, run: file::workflow },
    Target { name: "settings", seeds: file::all_settings, run: file::settings },
];

/// The target of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

/// The text of the bytes; formats of text refuse others before they read.
fn text(bytes: &[u8]) -> Option<&str> {
    str::from_utf8(bytes).ok()
}

/// The first byte chooses, the rest is the input.
fn choice(bytes: &[u8]) -> Option<(u8, &[u8])> {
    bytes.split_first().map(|(first, rest)| (*first, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_list_is_a_target() {
        let listed = include_str!("../targets.txt").lines().map(|line| line.split(' ').next().unwrap_or_default());
        assert!(listed.eq(TARGETS.iter().map(|target| target.name)));
    }

    /// The seeds, each with one bit of it changed, and each cut off: a search begins from here.
    #[test]
    fn every_seed_is_taken_and_none_breaks_its_target() {
        for target in TARGETS {
            let seeds = (target.seeds)();
            assert!(!seeds.is_empty(), "{} has no seeds", target.name);
            for (number, seed) in seeds.iter().enumerate() {
                assert_eq!((target.run)(seed), Taken::Yes, "seed {number} of {}", target.name);
                for step in 0..8 {
                    let place = seed.len() * step / 8;
                    let mut changed = seed.clone();
                    if let Some(byte) = changed.get_mut(place) {
                        *byte ^= 1 << step;
                    }
                    (target.run)(&changed);
                    (target.run)(&seed[..place]);
                }
            }
        }
    }
}
