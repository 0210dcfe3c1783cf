//! Evidence in each form, whole and damaged. The log is written here as the format page says, by the core's own frames.

use std::fs;

use aios_evidence::segment::{Frame, HEADER};
use aios_evidence::{Tree, leaf_hash, sample, tiles_of};
use serde_json::json;
use tempfile::TempDir;

use super::*;

/// The folder of a log with so many records, a commit after each hundred.
pub(crate) fn log_folder(records: u64) -> TempDir {
    let entries = sample::entries(records, |index| json!({"text": format!("n{index}")}));
    let (mut segment, mut tree) = (HEADER.to_vec(), Tree::default());
    for (number, entry) in (1..).zip(&entries) {
        let hash = leaf_hash(entry.as_bytes());
        Frame::Entry { hash, entry: entry.as_bytes() }.write(&mut segment);
        tree.push(hash);
        if number % 100 == 0 || number == records {
            Frame::Commit { size: tree.size(), root: tree.root() }.write(&mut segment);
        }
    }
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join(SEGMENT), segment).expect("written");
    fs::write(folder.path().join("checkpoint"), sample::head(&tree).sign(&sample::key())).expect("written");
    folder
}

fn bundle_of(folder: &TempDir) -> String {
    let log = open_log(folder.path()).expect("sound");
    let names = ["key".to_owned(), "checkpoint".to_owned()].into_iter();
    let names = names.chain(tiles_of(log.signed()).map(|path| path.to_string()));
    names.map(|name| Bundle::line(&name, &log.read(&name).expect("there")) + "\n").collect()
}

fn why(form: &Form) -> String {
    check(form).expect_err("damaged").to_string()
}

#[test]
fn a_log_holds_wherever_its_folder_is() {
    let folder = log_folder(260);
    let data = tempfile::tempdir().expect("a folder");
    fs::create_dir(data.path().join("system")).expect("made");
    std::os::unix::fs::symlink(folder.path(), data.path().join(ON_DATA)).expect("linked");
    for place in [folder.path(), data.path()] {
        let form = form_in(place).expect("evidence");
        assert!(matches!(form, Form::Log(_)), "{form:?}");
        let verified = check(&form).expect("sound");
        assert_eq!((verified.report.size, verified.report.boots), (260, 1));
        assert!(verified.notes.is_empty(), "{:?}", verified.notes);
    }
}

#[test]
fn a_bundle_holds_by_its_name_and_as_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join(BUNDLE);
    let text = bundle_of(&log_folder(3));
    fs::write(&file, &text).expect("written");
    assert_eq!(form_in(folder.path()), Some(Form::Bundle(file.clone())));
    assert_eq!(check(&Form::Bundle(file.clone())).expect("sound").report.size, 3);
    verify(file.to_str()).expect("sound");

    fs::write(&file, text.lines().skip(1).collect::<Vec<_>>().join("\n")).expect("written");
    assert!(why(&Form::Bundle(file.clone())).contains("cannot read key: not in the bundle"));
    fs::write(&file, "{}\n").expect("written");
    assert!(why(&Form::Bundle(file)).contains("line 1"));
}

#[test]
fn one_changed_letter_of_a_promised_record_is_found() {
    let folder = log_folder(12);
    let path = folder.path().join(SEGMENT);
    let mut bytes = fs::read(&path).expect("there");
    let at = bytes.windows(2).position(|pair| pair == b"n7").expect("record 7");
    bytes[at] = b'm';
    fs::write(&path, bytes).expect("written");
    let why = why(&Form::Log(folder.path().to_owned()));
    assert!(why.contains("does not hold") && why.contains("entry 7 was changed"), "{why}");
}

#[test]
fn what_a_power_cut_leaves_is_no_damage_and_told() {
    let folder = log_folder(12);
    let path = folder.path().join(SEGMENT);
    let mut bytes = fs::read(&path).expect("there");
    bytes.extend_from_slice(b"E\x00\x10");
    fs::write(&path, bytes).expect("written");
    let verified = check(&Form::Log(folder.path().to_owned())).expect("sound");
    assert!(verified.notes[0].starts_with("3 bytes at the end"), "{:?}", verified.notes);
}

#[test]
fn a_log_that_lost_its_end_or_its_head_does_not_hold() {
    let folder = log_folder(150);
    let path = folder.path().join(SEGMENT);
    let bytes = fs::read(&path).expect("there");
    fs::write(&path, &bytes[..bytes.len() - 60]).expect("written");
    let form = Form::Log(folder.path().to_owned());
    let lost = why(&form);
    assert!(lost.contains("150 entries and the segment only 100 whole ones"), "{lost}");
    fs::write(&path, &bytes).expect("written");
    fs::remove_file(folder.path().join("checkpoint")).expect("removed");
    assert!(why(&form).contains("cannot be read"));
}

#[test]
fn a_folder_without_evidence_says_what_to_look_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let failure = verify(folder.path().to_str()).expect_err("nothing there").to_string();
    assert!(failure.contains("there is no evidence on") && failure.contains("checkpoint"), "{failure}");
}
