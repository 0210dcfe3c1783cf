//! A data partition that is encrypted.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use super::{Aios, MENU, OPERATOR, PASS_PHRASE, actions, install, recovery};
use crate::host::disk::{Disk, Partition};
use crate::scenario::{Failure, Stage, ensure};
use crate::vm::process::output;
use crate::vm::{BOOT, Login, Machine, Options, SecureBoot};

/// What opens the data; the operator's pass phrase is another one.
const DATA_PASS_PHRASE: &str = "open sesame, data";
/// What is written to the machine.
const SECRET: &str = "nobody-without-the-key-reads-this-0123456789";
const FILE: &str = "secret.txt";
const QUESTION: &str = "Pass phrase for the data partition: ";
/// The header of the data and some of what it describes.
const HEADER: usize = 17 << 20;
/// Computing a key and asking again, under translation.
const ANSWER: Duration = Duration::from_secs(180);

/// A machine that was installed with encryption.
pub(crate) struct Installed {
    disk: Disk,
    recovery_key: String,
}

/// Installs, and writes the recovery key down.
pub(crate) fn install(stage: &Stage<'_>) -> Result<Installed, Failure> {
    let answers = format!("{}data_pass_phrase = \"{DATA_PASS_PHRASE}\"\n", install::answers());
    let (disk, mut machine) = install::begin(stage, &answers)?;
    machine.console.wait_for("Then type its last", BOOT)?;
    let said = machine.console.said();
    let is_key = |line: &&str| line.split('-').count() == 6 && line.split('-').all(|group| group.len() == 5);
    let key = said.lines().map(str::trim).rfind(is_key);
    let key = key.ok_or_else(|| Failure::broken(format!("there is no recovery key in:\n{said}")))?.to_owned();
    ensure!(!said.contains(DATA_PASS_PHRASE), "the installer shows the pass phrase of the data");
    machine.console.type_line("wrong")?;
    machine.console.wait_for("those are not its last", ANSWER)?;
    let last = key.rsplit('-').next().unwrap_or_default();
    machine.console.type_line(last)?;
    machine.wait_for_power_off(BOOT)?;
    Ok(Installed { disk, recovery_key: key })
}

/// A wrong pass phrase is told and the question comes again.
pub(crate) fn start_after_a_wrong_pass_phrase(stage: &Stage<'_>, installed: &Installed) -> Result<Aios, Failure> {
    let mut aios = start(stage, installed, "disk")?;
    answer(&mut aios.machine, "open sesame, date")?;
    aios.machine.console.wait_for("neither its pass phrase nor its recovery key", ANSWER)?;
    answer(&mut aios.machine, DATA_PASS_PHRASE)?;
    aios.enter(BOOT)?;
    let said = aios.machine.console.said();
    ensure!(said.contains("opened after 1 wrong pass phrase"), "PID 1 does not say how it was opened");
    ensure!(!said.contains("open sesame"), "a pass phrase was shown as it was typed");
    let boot = aios.json("boot")?;
    ensure!(boot["boot"]["waited_ms"].as_u64() > Some(0), "waiting for a person is not told apart: {boot:#}");
    Ok(aios)
}

/// The recovery key is typed as people type from paper.
pub(crate) fn start_by_recovery_key(stage: &Stage<'_>, installed: &Installed) -> Result<Aios, Failure> {
    let mut aios = start(stage, installed, "again")?;
    answer(&mut aios.machine, &installed.recovery_key.to_uppercase().replace('-', " "))?;
    aios.enter(BOOT)?;
    Ok(aios)
}

fn start(stage: &Stage<'_>, installed: &Installed, name: &str) -> Result<Aios, Failure> {
    let options = Options {
        disk: vec![installed.disk.path.clone()],
        secure_boot: SecureBoot::On,
        timeout: 1500,
        ..Options::default()
    };
    let login = Login::As { name: OPERATOR.into(), pass_phrase: PASS_PHRASE.into() };
    let mut aios = Aios::start(stage, name, options, login)?;
    aios.machine.console.wait_for(MENU, BOOT)?;
    aios.machine.console.forget_marks();
    Ok(aios)
}

/// Answers the next question.
fn answer(machine: &mut Machine, typed: &str) -> Result<(), Failure> {
    machine.console.wait_for(QUESTION, BOOT)?;
    std::thread::sleep(Duration::from_millis(500));
    machine.console.type_line(typed)?;
    Ok(())
}

pub(crate) fn write_a_secret(aios: &mut Aios) -> Result<(), Failure> {
    actions::file(aios, FILE, SECRET)?;
    aios.ok(&format!("object put notes/secret {SECRET}"))?;
    Ok(())
}

pub(crate) fn the_secret_is_there(aios: &mut Aios) -> Result<(), Failure> {
    let kept = aios.ok("object get notes/secret")?;
    ensure!(kept.trim() == SECRET, "the object did not outlive the restart: {kept}");
    Ok(())
}

/// The disk in a stranger's hands: `cryptsetup` knows what it is, and the bytes say nothing.
pub(crate) fn nothing_to_be_read(installed: &Installed) -> Result<(), Failure> {
    let path = &installed.disk.path;
    ensure!(contains(installed, "argon2id")?, "the search does not find the header's own words");
    for plain in [SECRET, "system/evidence", "operators.json"] {
        ensure!(!contains(installed, plain)?, "'{plain}' can be read on {}", path.display());
    }
    let header = path.with_extension("header");
    let place = installed.disk.place(Partition::Data)?;
    let mut bytes = vec![0; HEADER];
    File::open(path)
        .and_then(|disk| disk.read_exact_at(&mut bytes, place.start))
        .and_then(|()| std::fs::write(&header, &bytes))
        .map_err(Failure::file("copy the header of", path))?;
    let dump = output("cryptsetup", "cryptsetup-bin", &["luksDump".into(), header.into()])?;
    let dump = String::from_utf8_lossy(&dump);
    for wanted in ["Version:       \t2", "aes-xts-plain64", "argon2id", "pbkdf2"] {
        ensure!(dump.contains(wanted), "cryptsetup does not see '{wanted}' in:\n{dump}");
    }
    Ok(())
}

/// Whether the data partition has these bytes anywhere.
fn contains(installed: &Installed, text: &str) -> Result<bool, Failure> {
    let path = &installed.disk.path;
    let place = installed.disk.place(Partition::Data)?;
    let failed = |error| Failure::file("read", path)(error);
    let mut disk = File::open(path).map_err(failed)?;
    disk.seek(SeekFrom::Start(place.start)).map_err(failed)?;
    let mut disk = disk.take(place.length);
    let mut piece = vec![0; 4 << 20];
    let mut kept = 0;
    loop {
        let read = disk.read(&mut piece[kept..]).map_err(failed)?;
        if read == 0 {
            return Ok(false);
        }
        let length = kept + read;
        // Most of the disk was never written; what is not zero is looked through for the first letter.
        let (first, rest) = text.as_bytes().split_first().unwrap_or((&0, &[]));
        let mut at = 0;
        while let Some(next) = piece[at..length].iter().position(|byte| byte == first) {
            if piece[at + next + 1..length].starts_with(rest) {
                return Ok(true);
            }
            at += next + 1;
        }
        // A text may lie across two pieces.
        kept = length.min(text.len() - 1);
        piece.copy_within(length - kept..length, 0);
    }
}

/// Recovery says that the data is encrypted, refuses a wrong key and checks the evidence with the right one.
pub(crate) fn recovery_asks_too(stage: &Stage<'_>, installed: &Installed) -> Result<(), Failure> {
    let mut machine = recovery::enter(stage, "recovery", vec![installed.disk.path.clone()])?;
    let status = recovery::ran(&mut machine, "status")?;
    ensure!(status.contains("data: encrypted; 'unlock' asks"), "recovery does not say that it is encrypted:\n{status}");
    for (typed, expected) in [("wrong one", 1), (DATA_PASS_PHRASE, 0)] {
        machine.console.start("verify", recovery::COMMAND)?;
        machine.console.wait_for("Pass phrase or recovery key of ", recovery::COMMAND)?;
        std::thread::sleep(Duration::from_millis(500));
        machine.console.type_line(typed)?;
        let output = machine.console.finish("verify", recovery::COMMAND)?;
        ensure!(output.status == expected, "after '{typed}' verify ended with {}:\n{}", output.status, output.text);
    }
    let status = recovery::ran(&mut machine, "status")?;
    ensure!(status.contains("has an evidence log"), "what was unlocked is not seen:\n{status}");
    machine.console.prompt(recovery::COMMAND)?;
    machine.console.type_line("poweroff")?;
    machine.wait_for_power_off(BOOT)?;
    Ok(())
}
