//! `export`: the evidence of the data partition as files on a volume that can be carried away.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use aios_evidence::tiles_of;

use crate::evidence::{self, EXPORT_LABEL, Form, form_in};
use crate::failure::{Failure, at};
use crate::log::Log;
use crate::unlock;
use crate::volume::{Access, Kind, Mounted, kind_of};

/// Copies, then reads back and checks.
pub(crate) fn run(device: &str) -> Result<(), Failure> {
    let target = Path::new(device);
    // The label is the person's word that this volume may be written to.
    match kind_of(target).map_err(at("read", target))? {
        Kind::Fat { label } if label == EXPORT_LABEL => {}
        _ => {
            return Err(Failure::plain(format!("{device} is no FAT volume labelled {EXPORT_LABEL}"))
                .hint(format!("label one on another machine: mkfs.vfat -n {EXPORT_LABEL} DEVICE")));
        }
    }
    let source = unlock::readable(evidence::data_partition()?)?;
    let from = Mounted::open(&source, Access::Read)?;
    let Some(Form::Log(folder)) = form_in(from.path()) else {
        return Err(Failure::plain(format!("{} has no evidence log", source.display()))
            .hint("'status' says what is on the disks"));
    };
    let log = evidence::open_log(&folder)?;
    let to = Mounted::open(target, Access::Write)?;
    if form_in(to.path()).is_some() {
        return Err(Failure::plain(format!("{device} already has evidence on it, and nothing is written over it"))
            .hint("move it away or use another volume"));
    }
    let files = write(&log, to.path())?;
    to.close()?;
    println!("{} records in {files} files on {device}; now they are read back", log.signed());
    evidence::verify(Some(device))
}

/// Writes the log's files below `folder` and says how many they are.
fn write(log: &Log, folder: &Path) -> Result<usize, Failure> {
    let names = ["key".to_owned(), "checkpoint".to_owned()].into_iter();
    let names: Vec<_> = names.chain(tiles_of(log.signed()).map(|path| path.to_string())).collect();
    for name in &names {
        let bytes =
            log.read(name).map_err(|reason| Failure::plain(format!("cannot read {name} of the log: {reason}")))?;
        let path = folder.join(name);
        write_file(&path, &bytes).map_err(|error| at("write", &path)(error).hint("the volume may be full"))?;
    }
    Ok(names.len())
}

fn write_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    File::create_new(path)?.write_all(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::tests::log_folder;

    #[test]
    fn an_export_of_a_log_holds() {
        let (source, target) = (log_folder(300), tempfile::tempdir().expect("a folder"));
        let log = evidence::open_log(source.path()).expect("sound");
        let files = write(&log, target.path()).expect("written");
        // Two tiles of entries, two of their hashes, one of the hashes above.
        assert_eq!(files, 2 + 2 + 2 + 1);
        assert_eq!(form_in(target.path()), Some(Form::Folder(target.path().to_owned())));
        evidence::verify(target.path().to_str()).expect("the export holds");
        assert!(write(&log, target.path()).is_err(), "nothing may be written over");
    }
}
