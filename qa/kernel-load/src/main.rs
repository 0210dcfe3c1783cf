//! The first process of a machine that measures its kernel and nothing else; `cargo xtask bench kernel` starts it.
//!
//! It prints one line for each thing that it measured, in nanoseconds: the fastest of several rounds, because everything
//! else on the host only adds time. Then it switches the machine off.

use std::fs::{self, File};
use std::hint::black_box;
use std::io::{self, PipeReader, PipeWriter, Read, Seek, Write};
use std::process::{Command, ExitCode};
use std::time::Instant;

use rustix::mount::{MountFlags, mount};
use rustix::system::{RebootCommand, reboot};

/// Rounds of each measurement.
const ROUNDS: usize = 7;

const PAGE: usize = 4096;

/// What the program is told when it is its own child.
const CHILD: &str = "child";

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some(CHILD) {
        return ExitCode::SUCCESS;
    }
    let measured = measure();
    match &measured {
        Ok(()) => println!("kernel-load: done"),
        Err(error) => println!("kernel-load: failed: {error}"),
    }
    if std::process::id() == 1 {
        let _ = reboot(RebootCommand::PowerOff);
    }
    if measured.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn measure() -> io::Result<()> {
    report("syscall", 20_000, |count| {
        for _ in 0..count {
            black_box(rustix::process::getppid());
        }
        Ok(())
    })?;
    // Two megabytes at once would be one fault, and the kernels differ in when they do that.
    rustix::thread::disable_transparent_huge_pages(true)?;
    // So much memory is always asked of the kernel and given back to it.
    report("page-fault", 10_240, |count| {
        let mut memory = vec![0_u8; count * PAGE];
        for page in memory.chunks_mut(PAGE) {
            page[0] = 1;
        }
        black_box(&memory);
        Ok(())
    })?;
    let program = std::env::current_exe().unwrap_or_else(|_| "/init".into());
    report("fork-exec-exit", 20, |count| {
        for _ in 0..count {
            Command::new(&program).arg(CHILD).status()?;
        }
        Ok(())
    })?;
    report("context-switch", 2000, switches)?;
    let folder = if std::process::id() == 1 {
        mount("none", "/tmp", "tmpfs", MountFlags::empty(), None)?;
        std::path::PathBuf::from("/tmp")
    } else {
        std::env::temp_dir()
    };
    let path = folder.join("kernel-load");
    let mut file = File::options().read(true).write(true).create(true).truncate(true).open(&path)?;
    let mut block = [7; PAGE];
    report("file-write-read", 2000, |count| {
        file.rewind()?;
        for _ in 0..count {
            file.write_all(&block)?;
        }
        file.rewind()?;
        for _ in 0..count {
            file.read_exact(&mut block)?;
        }
        Ok(())
    })?;
    fs::remove_file(&path)
}

/// Prints how long one of `count` takes, in the fastest round.
fn report(name: &str, count: usize, mut work: impl FnMut(usize) -> io::Result<()>) -> io::Result<()> {
    let mut fastest = f64::INFINITY;
    for _ in 0..ROUNDS {
        let started = Instant::now();
        work(count)?;
        fastest = fastest.min(started.elapsed().as_secs_f64() * 1e9 / count as f64);
    }
    println!("kernel-load: {name} {fastest:.0} ns");
    Ok(())
}

/// A byte goes to another thread and back, so each turn is two switches on one processor.
fn switches(count: usize) -> io::Result<()> {
    let (mut near, far_write) = io::pipe()?;
    let (far_read, mut near_write) = io::pipe()?;
    let other = std::thread::spawn(move || echo(far_read, far_write, count));
    let mut byte = [1];
    for _ in 0..count {
        near_write.write_all(&byte)?;
        near.read_exact(&mut byte)?;
    }
    other.join().unwrap_or_else(|_| Err(io::Error::other("the other thread panicked")))
}

fn echo(mut from: PipeReader, mut to: PipeWriter, count: usize) -> io::Result<()> {
    let mut byte = [0];
    for _ in 0..count {
        from.read_exact(&mut byte)?;
        to.write_all(&byte)?;
    }
    Ok(())
}
