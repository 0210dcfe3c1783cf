//! What a kernel said before it died, kept by the firmware over the restart: read, put on record, and cleared there.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

use rustix::mount::{MountFlags, mount};

const STORE: &str = "/sys/fs/pstore";
/// Firmware variables as a store are off until they are asked for here.
const FIRMWARE_STORE: &str = "/sys/module/efi_pstore/parameters/pstore_disable";
const KEPT: &str = "/aios/system/crashes";
/// So many starts' last words are kept.
const KEPT_FOLDERS: usize = 8;
/// A store holds a few dozen pieces of a few KiB; more is not read at once.
const PIECES: usize = 64;
const PIECE_LIMIT: u64 = 64 << 10;
/// Lines that say what happened, best first.
const TELLING: [&str; 5] = ["Kernel panic", "BUG:", "Oops", "watchdog:", "Call Trace"];

/// Lets the firmware keep the last words from here on. Machines without it keep none.
pub(crate) fn keep() {
    let _ = fs::write(FIRMWARE_STORE, "N");
}

/// Takes the last words of the kernel before this one. Says what they were, if there are any.
pub(crate) fn take(boot_id: &str) -> io::Result<Option<String>> {
    if !Path::new(STORE).is_dir() {
        return Ok(None);
    }
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("pstore", STORE, "pstore", flags, c"")?;
    take_from(Path::new(STORE), Path::new(KEPT), boot_id)
}

fn take_from(store: &Path, kept: &Path, boot_id: &str) -> io::Result<Option<String>> {
    let mut pieces: Vec<_> = fs::read_dir(store)?.flatten().map(|piece| piece.path()).collect();
    pieces.sort();
    pieces.truncate(PIECES);
    if pieces.is_empty() {
        return Ok(None);
    }
    let folder = kept.join(boot_id);
    fs::create_dir_all(&folder)?;
    rustix::fs::chmod(kept, rustix::fs::Mode::from_raw_mode(0o700))?;
    let mut telling: Option<(usize, String)> = None;
    for piece in &pieces {
        let mut bytes = Vec::new();
        File::open(piece)?.take(PIECE_LIMIT).read_to_end(&mut bytes)?;
        let better = tell(&String::from_utf8_lossy(&bytes));
        telling = telling.into_iter().chain(better).min_by_key(|(rank, _)| *rank);
        let copy = folder.join(piece.file_name().unwrap_or_default());
        fs::write(&copy, &bytes)?;
        File::open(&copy)?.sync_all()?;
        // Only what is safe elsewhere is cleared.
        fs::remove_file(piece)?;
    }
    forget_oldest(kept)?;
    let said = telling.map_or_else(|| "nothing that tells why".to_owned(), |(_, line)| line);
    Ok(Some(format!(
        "the kernel before this one died and said: {said}; {} pieces are in {}",
        pieces.len(),
        folder.display()
    )))
}

/// The line that says most, with its rank.
fn tell(text: &str) -> Option<(usize, String)> {
    TELLING.iter().enumerate().find_map(|(rank, word)| {
        let line = text.lines().find(|line| line.contains(word))?;
        Some((rank, line.chars().filter(|c| !c.is_control()).take(200).collect()))
    })
}

fn forget_oldest(kept: &Path) -> io::Result<()> {
    let mut folders: Vec<_> = fs::read_dir(kept)?
        .flatten()
        .filter_map(|folder| Some((folder.metadata().ok()?.modified().ok()?, folder.path())))
        .collect();
    folders.sort();
    let surplus = folders.len().saturating_sub(KEPT_FOLDERS);
    folders.into_iter().take(surplus).try_for_each(|(_, folder)| fs::remove_dir_all(folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_are_kept_elsewhere_before_they_are_cleared() {
        let folder = tempfile::tempdir().expect("a folder");
        let (store, kept) = (folder.path().join("store"), folder.path().join("kept"));
        fs::create_dir(&store).expect("made");
        assert_eq!(take_from(&store, &kept, "b0").expect("empty"), None);
        fs::write(store.join("dmesg-efi_pstore-2"), "Panic#1 Part1\n<0>[ 3.1] Call Trace:\n").expect("written");
        let panic = "Panic#1 Part2\n<0>[ 3.0] Kernel panic - not syncing: \x1bout of luck\n";
        fs::write(store.join("dmesg-efi_pstore-1"), panic).expect("written");
        let told = take_from(&store, &kept, "b1").expect("taken").expect("there are some");
        assert!(told.contains("Kernel panic - not syncing: out of luck") && told.contains("2 pieces"), "{told}");
        assert_eq!(fs::read_dir(&store).expect("there").count(), 0, "cleared");
        assert_eq!(fs::read_to_string(kept.join("b1/dmesg-efi_pstore-1")).expect("kept"), panic);
        for number in 2..12 {
            fs::write(store.join("dmesg-ramoops-0"), "BUG: x").expect("written");
            take_from(&store, &kept, &format!("b{number}")).expect("taken");
        }
        assert_eq!(fs::read_dir(&kept).expect("there").count(), KEPT_FOLDERS);
    }

    proptest::proptest! {
        #[test]
        fn no_last_words_make_it_panic(text in "\\PC{0,80}(Kernel panic|Oops)?\\PC{0,80}") {
            let _ = tell(&text);
        }
    }
}
