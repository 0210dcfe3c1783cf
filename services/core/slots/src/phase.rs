//! How far a start has come, as words that PID 1 puts into the TPM's register 11.
//!
//! The words of a start that all systems know are systemd's, so that other people's tools predict the same. One word is
//! ours: how the machine runs. The live system and an installed one start from the same kernel image, so that word is
//! what keeps a secret of the installed system from the live one.

/// The register that holds the kernel image and these words.
pub const REGISTER: u32 = 11;

/// How a signed kernel image runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Way {
    /// From a medium of ours, also to install.
    Live,
    /// From a slot of a disk.
    Installed,
    /// The recovery image.
    Recovery,
}

impl Way {
    /// Its word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Installed => "installed",
            Self::Recovery => "recovery",
        }
    }

    /// All words of such a start, in their order. A policy begins to hold with the word of its way.
    pub const fn words(self) -> &'static [&'static str] {
        match self {
            Self::Live => &["enter-initrd", "leave-initrd", "live", "sysinit", "ready"],
            Self::Installed => &["enter-initrd", "leave-initrd", "installed", "sysinit", "ready"],
            // It never leaves its initial RAM file system and starts no services.
            Self::Recovery => &["enter-initrd", "recovery"],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_has_its_word_and_no_other_ways() {
        for way in [Way::Live, Way::Installed, Way::Recovery] {
            let own = [Way::Live, Way::Installed, Way::Recovery].map(Way::word);
            let found: alloc::vec::Vec<_> = way.words().iter().filter(|word| own.contains(word)).collect();
            assert_eq!(found, [&way.word()], "{way:?}");
        }
    }
}
