//! Asking who is there. The answer goes to the policy kernel, which checks it and has PID 1 start the session; this
//! program learns nothing and can start nothing.

use std::io::{self, BufRead, Write};
use std::time::Duration;

use aios_daemon::proxy::Policy1Proxy;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use crate::greeting;

/// Asks until PID 1 replaces this program with the session.
pub(crate) fn run(terminal: &str) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    if let Some(banner) = greeting::soon_of(greeting::ISSUE) {
        println!("{banner}");
    }
    let mut lines = io::stdin().lock();
    loop {
        let Some(name) = ask(&mut lines, "login: ")? else { return Ok(()) };
        if name.is_empty() {
            continue;
        }
        let echo = EchoOff::new()?;
        let pass_phrase = ask(&mut lines, "pass phrase: ")?;
        drop(echo);
        println!();
        let Some(pass_phrase) = pass_phrase else { return Ok(()) };
        match runtime.block_on(log_in(&name, &pass_phrase, terminal)) {
            // PID 1 ends this program when the session takes the terminal over.
            Ok(()) => std::thread::sleep(Duration::from_secs(10)),
            Err(error) => println!("no session: {error}"),
        }
    }
}

async fn log_in(name: &str, pass_phrase: &str, terminal: &str) -> zbus::Result<()> {
    let connection = aios_daemon::connect("policy-kernel").await?;
    Policy1Proxy::new(&connection).await?.login(name, pass_phrase, terminal).await
}

fn ask(lines: &mut impl BufRead, prompt: &str) -> io::Result<Option<String>> {
    print!("{prompt}");
    io::stdout().flush()?;
    let mut text = String::new();
    Ok((lines.read_line(&mut text)? > 0).then(|| text.trim_end_matches(['\r', '\n']).to_owned()))
}

/// While this lives, the terminal does not show what is typed.
struct EchoOff;

impl EchoOff {
    fn new() -> io::Result<Self> {
        set_echo(false)?;
        Ok(Self)
    }
}

impl Drop for EchoOff {
    fn drop(&mut self) {
        // The terminal may be gone; then nobody sees it anyway.
        let _ = set_echo(true);
    }
}

fn set_echo(on: bool) -> io::Result<()> {
    let terminal = io::stdin();
    let mut modes = tcgetattr(&terminal)?;
    modes.local_modes.set(LocalModes::ECHO, on);
    tcsetattr(&terminal, OptionalActions::Flush, &modes)?;
    Ok(())
}
