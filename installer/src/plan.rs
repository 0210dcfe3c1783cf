//! What an installation will do, decided before anything is touched.
//!
//! A pure function of the answers, the disks that were found and the release. A [`Plan`] can be printed; carrying it out
//! leaves nothing to decide.

use std::fmt;

use aios_image::layout::{Layout, LayoutError, PARTS, Part};
use aios_slots::{Slot, Version};

use crate::answers::{Existing, Selector};
use crate::disks::{Content, Disk};

/// One installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The disk, as it was found.
    pub disk: Disk,
    /// Its partitions afterwards.
    pub layout: Layout,
    /// The release that goes into slot a.
    pub version: Version,
}

/// The disk that was asked for cannot or may not be taken. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// No such disk.
    #[error("no disk is {wanted}; {}", found(disks))]
    NotFound {
        /// What was selected.
        wanted: String,
        /// What there is.
        disks: Vec<Disk>,
    },
    /// More than one.
    #[error("more than one disk is {wanted}, so none is taken; {}", found(disks))]
    Ambiguous {
        /// What was selected.
        wanted: String,
        /// What there is.
        disks: Vec<Disk>,
    },
    /// The running system came from it.
    #[error("/dev/{name} is the medium that this system was started from")]
    Medium {
        /// The disk.
        name: String,
    },
    /// Somebody uses it.
    #[error("/dev/{name} is in use: {by}")]
    InUse {
        /// The disk.
        name: String,
        /// What uses it.
        by: String,
    },
    /// It cannot be written.
    #[error("/dev/{name} is write-protected")]
    ReadOnly {
        /// The disk.
        name: String,
    },
    /// Something is on it.
    #[error("/dev/{name} is not empty: it has {content}; write 'erase = true' into the answers to destroy that")]
    NotEmpty {
        /// The disk.
        name: String,
        /// What is on it.
        content: String,
    },
    /// Its size or sectors.
    #[error("/dev/{name} cannot be used")]
    Layout {
        /// The disk.
        name: String,
        /// Why.
        #[source]
        source: LayoutError,
    },
}

/// Decides.
pub fn plan(selector: &Selector, existing: Existing, disks: &[Disk], version: &Version) -> Result<Plan, Refusal> {
    let (wanted, matches): (String, Vec<&Disk>) = match selector {
        Selector::Path(path) => (path.clone(), disks.iter().filter(|disk| disk.path() == *path).collect()),
        Selector::Serial(serial) => {
            let same = |disk: &&Disk| disk.serial.as_deref() == Some(serial.as_str());
            (format!("the one with serial number {serial}"), disks.iter().filter(same).collect())
        }
        Selector::OnlyEmpty => {
            let empty = |disk: &&Disk| disk.content == Content::Empty && disk.in_use.is_none() && !disk.is_medium;
            ("an empty one".to_owned(), disks.iter().filter(empty).collect())
        }
    };
    let disk = match matches.as_slice() {
        [disk] => (*disk).clone(),
        [] => return Err(Refusal::NotFound { wanted, disks: disks.to_vec() }),
        _ => return Err(Refusal::Ambiguous { wanted, disks: disks.to_vec() }),
    };
    let name = disk.name.clone();
    if disk.is_medium {
        return Err(Refusal::Medium { name });
    }
    if let Some(by) = disk.in_use {
        return Err(Refusal::InUse { name, by });
    }
    if disk.read_only {
        return Err(Refusal::ReadOnly { name });
    }
    if let (Existing::Keep, Content::Something(content)) = (existing, &disk.content) {
        return Err(Refusal::NotEmpty { name, content: content.clone() });
    }
    let layout = Layout::plan(disk.bytes, disk.sector).map_err(|source| Refusal::Layout { name, source })?;
    Ok(Plan { disk, layout, version: version.clone() })
}

fn found(disks: &[Disk]) -> String {
    if disks.is_empty() {
        return "no disk was found at all: check that its controller is supported".to_owned();
    }
    let list: Vec<String> = disks.iter().map(ToString::to_string).collect();
    format!("found: {}", list.join("; "))
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "install AIOS {} on {}", self.version, self.disk)?;
        if let Content::Something(content) = &self.disk.content {
            writeln!(f, "  destroys  {content}")?;
        }
        for part in PARTS {
            let place = self.layout.place(part);
            let what = match part {
                Part::Root(Slot::A) => "root, slot a: the release".to_owned(),
                Part::Root(Slot::B) | Part::Tree(Slot::B) => format!("{}: empty until an update", part.what()),
                _ => part.what().to_owned(),
            };
            writeln!(
                f,
                "  partition {}  {:>8} MiB at {:>6} MiB  {what}",
                part.number(),
                place.length >> 20,
                place.start >> 20
            )?;
        }
        Ok(())
    }
}
