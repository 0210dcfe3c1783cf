//! How long the boots of this machine took, and whether the running one took much longer than usual.

use std::fs;
use std::io;
use std::path::Path;

use aios_store::{ReplaceError, replace};
use aios_wire::logs::{BootReport, Boots, Slow};

const FILE: &str = "boots.json";
/// So many boots are kept.
const KEPT: usize = 32;
/// The file is never longer, or it is none of ours.
const FILE_LIMIT: u64 = 1 << 20;
/// From so many boots on there is something usual.
const FEW: usize = 3;
/// Less than this is not worth a word, whatever the share.
const MUCH_MS: u64 = 500;

/// The boots on record, oldest first. A file that cannot be used is begun anew: these are figures, not evidence.
pub(crate) fn read(folder: &Path) -> Vec<BootReport> {
    let path = folder.join(FILE);
    let long = fs::metadata(&path).is_ok_and(|file| file.len() > FILE_LIMIT);
    if long {
        eprintln!("<4>{} is longer than any of ours and begun anew", path.display());
        return Vec::new();
    }
    match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
            eprintln!("<4>{} cannot be read and is begun anew: {error}", path.display());
            Vec::new()
        }),
        Err(error) => {
            if error.kind() != io::ErrorKind::NotFound {
                eprintln!("<4>{} cannot be read: {error}", path.display());
            }
            Vec::new()
        }
    }
}

/// Puts a boot on record, once.
pub(crate) fn add(folder: &Path, report: BootReport) -> Result<Boots, ReplaceError> {
    let mut boots = read(folder);
    boots.retain(|boot| boot.boot_id != report.boot_id);
    boots.push(report);
    boots.drain(..boots.len().saturating_sub(KEPT));
    let bytes = serde_json::to_vec(&boots).unwrap_or_default();
    replace(&folder.join(FILE), &bytes, 0o600)?;
    Ok(judged(boots))
}

/// The boots with the judgement about the last one.
pub(crate) fn judged(boots: Vec<BootReport>) -> Boots {
    let slow = boots.split_last().and_then(|(last, before)| {
        let before: Vec<u64> = before.iter().filter_map(BootReport::total_ms).collect();
        slow(last.total_ms()?, &before)
    });
    Boots { boots, slow }
}

/// Whether `took_ms` is half as much again as the median of the boots before.
fn slow(took_ms: u64, before: &[u64]) -> Option<Slow> {
    let mut sorted = before.to_vec();
    sorted.sort_unstable();
    let usual_ms = sorted.get(sorted.len() / 2).copied().filter(|_| sorted.len() >= FEW)?;
    let much = took_ms > usual_ms + usual_ms / 2 && took_ms - usual_ms > MUCH_MS;
    much.then_some(Slow { took_ms, usual_ms })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boot(id: &str, system_ms: u64) -> BootReport {
        BootReport { boot_id: id.into(), system_ms: Some(system_ms), ..BootReport::default() }
    }

    #[test]
    fn only_much_more_than_usual_is_slow() {
        let usual = [4000, 4100, 9000, 3900, 4050];
        assert_eq!(slow(6100, &usual), Some(Slow { took_ms: 6100, usual_ms: 4050 }));
        assert_eq!(slow(6000, &usual), None);
        assert_eq!(slow(900, &[300, 400, 500]), None, "a few hundred milliseconds are nothing");
        assert_eq!(slow(9000, &[1000, 1000]), None, "two boots are no habit");
    }

    #[test]
    fn boots_are_kept_once_and_not_for_ever() {
        let folder = tempfile::tempdir().expect("a folder");
        for number in 0..KEPT + 5 {
            add(folder.path(), boot(&number.to_string(), 1000)).expect("kept");
        }
        let boots = add(folder.path(), boot(&(KEPT + 4).to_string(), 5000)).expect("kept again");
        assert_eq!((boots.boots.len(), boots.boots[0].boot_id.as_str()), (KEPT, "5"));
        assert_eq!(boots.slow, Some(Slow { took_ms: 5000, usual_ms: 1000 }));
        assert_eq!(judged(read(folder.path())), boots);
        fs::write(folder.path().join(FILE), b"nonsense").expect("written");
        assert_eq!(judged(read(folder.path())), Boots::default());
    }
}
