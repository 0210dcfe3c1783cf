//! A virtual machine: starts it, talks to its console, cuts its power, ends it.
//!
//! The machine is QEMU's, by translation unless the host's virtualisation is known to work. Each machine has a folder of
//! its own for its firmware variables, sockets and logs; its program dies with its [`Machine`]. Nothing here knows AIOS
//! beyond its console marks, so the fixture can start any image.

mod console;
mod error;
mod firmware;
mod keyboard;
mod marks;
mod monitor;
mod options;
mod play;
pub(crate) mod process;
mod qemu;
pub mod screen;
pub mod script;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

pub use console::{Console, Echo, Output};
pub use error::VmError;
pub use options::{
    Bus, Chipset, Clock, Consoles, DirectKernel, DirectStart, Firmware, Medium, NetworkBoot, Options, Sector,
    SecureBoot, parse_size,
};
pub use play::{Login, play, vm};

use monitor::Monitor;
use process::{Child, Invocation, Streams};
use qemu::{ConsoleUser, Prepared};

/// How long a machine may take to its console under translation. Waiting ends with what is waited for, so this and all
/// limits here are for machines that never get there, not for a build machine that is busy with other work.
pub const BOOT: Duration = Duration::from_secs(300);

/// A running machine.
#[derive(Debug)]
pub struct Machine {
    /// Its serial console.
    pub console: Console,
    monitor: Monitor,
    // Declared in the order they end in: the machine before the TPM it talks to, both before their folder.
    child: Child,
    tpm: Option<Child>,
    options: Options,
    prepared: Prepared,
    folder: Folder,
    log: PathBuf,
    end: Instant,
    echo: Echo,
}

impl Machine {
    /// Starts a machine. `log` receives what its console says.
    pub fn start(options: Options, log: &Path, echo: Echo) -> Result<Self, VmError> {
        let folder = Folder::make(&options)?;
        let (prepared, tpm) = prepare(&options, &folder, ConsoleUser::Fixture)?;
        let end = Instant::now() + options.limit();
        let (child, console, monitor) = launch(&options, &prepared, &folder, log, end, echo)?;
        Ok(Self { console, monitor, child, tpm, options, prepared, folder, log: log.into(), end, echo })
    }

    /// Cuts the power: nobody is told, and the machine starts again from its disks. What it had handed to a disk stays
    /// there, flushed or not: this host's cache outlives the emulator.
    pub fn power_cut(&mut self) -> Result<(), VmError> {
        self.child.kill();
        let _ = std::fs::remove_file(&self.prepared.monitor);
        self.tpm = match self.tpm.take() {
            Some(tpm) => {
                drop(tpm);
                Some(start_tpm(&self.options, &self.folder)?.1)
            }
            None => None,
        };
        let started = launch(&self.options, &self.prepared, &self.folder, &self.log, self.end, self.echo)?;
        (self.child, self.console, self.monitor) = started;
        Ok(())
    }

    /// Waits until the machine, which was told to, starts again.
    pub fn wait_for_reset(&mut self, limit: Duration) -> Result<(), VmError> {
        self.monitor.wait_for_reset(limit)?;
        self.console.forget_marks();
        Ok(())
    }

    /// Saves a picture of the screen in the portable pixmap format.
    pub fn screenshot(&mut self, to: &Path) -> Result<(), VmError> {
        self.monitor.execute("screendump", serde_json::json!({ "filename": to }))?;
        Ok(())
    }

    /// Types on the machine's keyboard; a line's end is the return key.
    pub fn type_on_keyboard(&mut self, text: &str) -> Result<(), VmError> {
        for character in text.chars() {
            let keys = keyboard::keys(character).ok_or_else(|| VmError::Options {
                what: format!("the keyboard has no key for {character:?}"),
                hint: "type letters, digits and common signs only",
            })?;
            let keys: Vec<_> = keys.iter().map(|key| serde_json::json!({ "type": "qcode", "data": key })).collect();
            self.monitor.execute("send-key", serde_json::json!({ "keys": keys, "hold-time": 40 }))?;
            // A keyboard holds few keys that nobody has read.
            std::thread::sleep(Duration::from_millis(120));
        }
        Ok(())
    }

    /// Presses keys together, by the emulator's names for them.
    pub fn press(&mut self, keys: &[&str]) -> Result<(), VmError> {
        let keys: Vec<_> = keys.iter().map(|key| serde_json::json!({ "type": "qcode", "data": key })).collect();
        self.monitor.execute("send-key", serde_json::json!({ "keys": keys, "hold-time": 40 }))?;
        Ok(())
    }

    /// Presses the machine's power button.
    pub fn press_power(&mut self) -> Result<(), VmError> {
        self.monitor.execute("system_powerdown", serde_json::json!({}))?;
        Ok(())
    }

    /// Interrupts the machine's processors in a way that no kernel can hold off.
    pub fn interrupt(&mut self) -> Result<(), VmError> {
        self.monitor.execute("inject-nmi", serde_json::json!({}))?;
        Ok(())
    }

    /// Leads connections to a port of this host's loopback to a port of the machine.
    pub fn forward(&mut self, here: u16, there: u16) -> Result<(), VmError> {
        let line = format!("hostfwd_add net tcp:127.0.0.1:{here}-:{there}");
        let said = self.monitor.execute("human-monitor-command", serde_json::json!({ "command-line": line }))?;
        match said.as_str() {
            Some("") => Ok(()),
            _ => Err(VmError::Monitor { command: line, reason: said.to_string() }),
        }
    }

    /// Waits until the machine has switched itself off.
    pub fn wait_for_power_off(&mut self, limit: Duration) -> Result<(), VmError> {
        self.console.wait_for_end(limit)?;
        self.child.wait(Duration::from_secs(60));
        Ok(())
    }

    /// The machine's own folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder.path
    }
}

/// Boots a machine on this terminal; Ctrl-A X leaves it.
pub fn interactive(options: &Options) -> Result<ExitStatus, VmError> {
    let folder = Folder::make(options)?;
    let (prepared, _tpm) = prepare(options, &folder, ConsoleUser::Person)?;
    let mut child = Child::spawn(&Invocation {
        program: "qemu-system-x86_64".into(),
        package: "qemu-system-x86",
        arguments: qemu::arguments(options, &prepared),
        stdio: Streams::Terminal,
        errors: None,
    })?;
    loop {
        if let Some(status) = child.wait(Duration::from_secs(3600)) {
            return Ok(status);
        }
    }
}

fn launch(
    options: &Options,
    prepared: &Prepared,
    folder: &Folder,
    log: &Path,
    end: Instant,
    echo: Echo,
) -> Result<(Child, Console, Monitor), VmError> {
    let errors = folder.path.join("qemu.log");
    let mut child = Child::spawn(&Invocation {
        program: "qemu-system-x86_64".into(),
        package: "qemu-system-x86",
        arguments: qemu::arguments(options, prepared),
        stdio: Streams::Pipes,
        errors: Some(File::create(&errors).map_err(VmError::file("write", &errors))?),
    })?;
    let pipes = child.pipes().expect("the child was started with pipes");
    let console = Console::new(pipes, log, end, echo)?;
    let monitor = match Monitor::connect(&prepared.monitor) {
        Ok(monitor) => monitor,
        Err(error) => {
            // An emulator that refuses its command line says why and ends.
            let said = std::fs::read_to_string(&errors).unwrap_or_default();
            let program = "qemu-system-x86_64".to_owned();
            let refused = !said.trim().is_empty();
            return Err(if refused { VmError::Program { program, text: said.trim().to_owned() } } else { error });
        }
    };
    Ok((child, console, monitor))
}

fn prepare(options: &Options, folder: &Folder, console: ConsoleUser) -> Result<(Prepared, Option<Child>), VmError> {
    let firmware = match &options.direct {
        Some(direct) if direct.start == DirectStart::Alone => None,
        // The emulator's own.
        _ if options.firmware == Firmware::Bios => None,
        _ => Some(firmware::prepare(options, &folder.path)?),
    };
    let mut disks = options.disk.clone();
    if let Some(size) = options.new_disk {
        let disk = folder.path.join("disk.raw");
        let file = File::create(&disk).map_err(VmError::file("write", &disk))?;
        file.set_len(size).map_err(VmError::file("set the size of", &disk))?;
        disks.push(disk);
    }
    let (tpm_socket, tpm) = match options.tpm || options.tpm_memory.is_some() {
        true => start_tpm(options, folder).map(|(socket, child)| (Some(socket), Some(child)))?,
        false => (None, None),
    };
    let prepared = Prepared {
        firmware,
        disks,
        monitor: folder.path.join("monitor"),
        tpm: tpm_socket,
        accelerator: match options.clock {
            Clock::Host => firmware::accelerator(),
            // Only translation can count.
            Clock::Instructions => qemu::Accelerator::Tcg,
        },
        console,
    };
    Ok((prepared, tpm))
}

fn start_tpm(options: &Options, folder: &Folder) -> Result<(PathBuf, Child), VmError> {
    let state = options.tpm_memory.clone().unwrap_or_else(|| folder.path.join("tpm"));
    std::fs::create_dir_all(&state).map_err(VmError::file("make", &state))?;
    let socket = folder.path.join("tpm.socket");
    let log = folder.path.join("tpm.log");
    let child = Child::spawn(&Invocation {
        program: "swtpm".into(),
        package: "swtpm",
        arguments: vec![
            "socket".into(),
            "--tpm2".into(),
            "--tpmstate".into(),
            format!("dir={}", state.display()).into(),
            "--ctrl".into(),
            format!("type=unixio,path={}", socket.display()).into(),
        ],
        stdio: Streams::None,
        errors: Some(File::create(&log).map_err(VmError::file("write", &log))?),
    })?;
    let end = Instant::now() + Duration::from_secs(60);
    while !socket.exists() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok((socket, child))
}

/// A machine's folder; its path is short because the names of sockets are.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
    /// Removes the folder; absent when it is to be kept.
    _removal: Option<tempfile::TempDir>,
}

impl Folder {
    fn make(options: &Options) -> Result<Self, VmError> {
        let parent = std::env::temp_dir();
        let made = tempfile::Builder::new().prefix("aios-vm-").tempdir();
        let made = made.map_err(VmError::file("make a folder in", parent))?;
        Ok(match options.keep {
            true => Self { path: made.keep(), _removal: None },
            false => Self { path: made.path().to_owned(), _removal: Some(made) },
        })
    }
}
