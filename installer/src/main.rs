//! The installer: what the boot entry "install" starts. It asks nothing; an answer file decides.
//!
//! Exit status: 0 installed or planned, 1 nothing was changed or the installation failed, 2 wrong usage.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use aios_daemon::error_chain;
use aios_image::disk::Payload;
use aios_image::release::ReleaseKey;
use aios_wire::init::Request;
use installer::answers::{Answers, Data};
use installer::encryption::Keys;
use installer::seed::Users;
use installer::{carry_out, disks, plan, seed, shown, sources};

const RELEASE_KEY: &str = "/usr/share/aios/keys/release.pub";
const USERS: &str = "/usr/share/aios/users.toml";
const TEMPLATE: &str = "/usr/share/aios/data.ext4";

const USAGE: &str = "installer [--plan] [--answers FILE]
  --plan          says what would be done and changes nothing
  --answers FILE  reads the answers from FILE; without it from answers.toml on a
                  FAT volume labelled AIOS-ANSWER, or from the host of a virtual
                  machine (fw_cfg name opt/aios/answers)";

const INCOMPLETE: &str = "the running system is not complete; start from another copy of the ISO";

/// What the command line asks.
#[derive(Debug, Default)]
struct Args {
    only_plan: bool,
    answers: Option<PathBuf>,
}

/// A failure as one line, with what to try.
struct Failure {
    line: String,
    hint: &'static str,
}

fn main() -> ExitCode {
    let Some(args) = parse(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { line, hint }) => {
            eprintln!("installer: {line}");
            eprintln!("  try: {hint}");
            ExitCode::FAILURE
        }
    }
}

fn parse(mut words: impl Iterator<Item = String>) -> Option<Args> {
    let mut args = Args::default();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--plan" => args.only_plan = true,
            "--answers" => args.answers = Some(words.next()?.into()),
            _ => return None,
        }
    }
    Some(args)
}

fn run(args: &Args) -> Result<(), Failure> {
    let (bytes, origin) = sources::answers(args.answers.as_deref())
        .map_err(because("put an answer file on one of these ways; docs/install.md shows one"))?;
    println!("answers: {origin}");
    let answers = Answers::parse(&bytes, &random()?).map_err(because("correct the answer file and start again"))?;
    let medium = sources::medium().map_err(because("leave the medium in until the installation is done"))?;
    let read = |path: &str| {
        fs::read(path).map_err(|error| Failure { line: format!("cannot read '{path}': {error}"), hint: INCOMPLETE })
    };
    let key = String::from_utf8_lossy(&read(RELEASE_KEY)?).into_owned();
    let key = ReleaseKey::parse(&key).map_err(because(INCOMPLETE))?;
    let payload = Payload::open(&medium.path.join("aios"), &key)
        .map_err(because("the medium is damaged or not genuine; write the ISO to it again and compare its SHA-256"))?;
    let running = sources::running_root().map_err(because("start the entry 'install' of the ISO"))?;
    if payload.release.root_hash != running {
        return Err(Failure {
            line: format!(
                "the release on the medium has root {}, this system runs {running}",
                payload.release.root_hash
            ),
            hint: "remove other AIOS media and start again",
        });
    }
    let disks = disks::find(Some(&medium.device)).map_err(because("see the kernel's messages"))?;
    let plan = plan::plan(&answers.disk, answers.existing, &disks, &payload.release.version)
        .map_err(because("choose another disk in the answers"))?;
    print!("{plan}");
    if let Data::Encrypted(_) = answers.data {
        println!("  the data is encrypted; its pass phrase is asked for at every start");
    }
    if args.only_plan {
        return Ok(());
    }
    let users = Users::parse(&String::from_utf8_lossy(&read(USERS)?)).map_err(because(INCOMPLETE))?;
    let files = seed::files(&answers, &users).map_err(because(INCOMPLETE))?;
    let keys = match answers.data {
        Data::Plain => None,
        Data::Encrypted(pass_phrase) => Some(
            Keys::make(pass_phrase).map_err(because("give the machine more memory, or leave data_pass_phrase out"))?,
        ),
    };
    let keys = keys.as_ref();
    carry_out::carry_out(&plan, &payload, &read(TEMPLATE)?, &files, keys, &random()?, |step| println!("{step}"))
        .map_err(because("the disk cannot be started from; if it is not faulty, start the installation again"))?;
    println!("AIOS {} is installed on {} and was read back", plan.version, plan.disk.path());
    if let Some(keys) = keys {
        shown::until_written_down(keys.shown());
    }
    aios_daemon::init::ask(&Request::Shutdown { then: answers.after })
        .map(drop)
        .map_err(because("the installation is complete; turn the machine off"))
}

/// Fresh bytes from the kernel.
fn random<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    match getrandom::fill(&mut bytes) {
        Ok(()) => Ok(bytes),
        Err(error) => Err(Failure {
            line: format!("the kernel gives no random numbers: {error}"),
            hint: "start the machine again",
        }),
    }
}

/// Turns an error with its causes into a failure with this hint.
fn because<E: std::error::Error>(hint: &'static str) -> impl FnOnce(E) -> Failure {
    move |error| Failure { line: error_chain(&error), hint }
}
