//! `aios service logs`: what programs and the kernel said, from the service that keeps it; from PID 1's memory when that
//! service is away.

use std::collections::VecDeque;
use std::io::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aios_daemon::proxy::Logs1Proxy;
use aios_wire::init::{Reply, Request};
use aios_wire::logs::{INIT, KERNEL, Kept, Page, Priority, Question};

use crate::args::LogsArgs;
use crate::failure::Failure;
use crate::service;
use crate::show::{Format, Ink, Tone, harmless, read};
use crate::when;

/// How long a service that went away is waited for before it is asked again.
const AGAIN: Duration = Duration::from_secs(1);

pub(crate) async fn run(args: LogsArgs, format: Format) -> Result<(), Failure> {
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis() as u64);
    let since_ms = match &args.since {
        None => None,
        Some(text) => Some(when::parse(text, now_ms).ok_or_else(|| {
            Failure::usage(format!("'{}' is no time", text.escape_default())).hint("--since 15m, or 2026-11-21T10:30")
        })?),
    };
    let question = Question {
        boots_back: args.boot.unsigned_abs(),
        unit: args.name.clone(),
        priority: args.priority,
        since_ms,
        ..Question::default()
    };
    let logbook = match connect().await {
        Ok(logbook) => logbook,
        Err(failure) => return from_memory(&args, format, failure),
    };
    let (lines, page) = newest(&logbook, &question, args.lines).await?;
    if lines.is_empty()
        && let Some(name) = args.name.as_deref().filter(|name| ![INIT, KERNEL].contains(name))
        && args.boot == 0
        && service::services()?.iter().all(|service| service.name != name)
    {
        return Err(service::unknown(name));
    }
    if args.follow {
        tell(&lines, format)?;
        return follow(logbook, question, lines.last().map_or(0, |line| line.index), format).await;
    }
    format.print(&lines, |lines| {
        lines.iter().for_each(|line| println!("{}", shown(line, Ink::of_stdout())));
        if page.unreadable > 0 {
            eprintln!("{} lines cannot be read; power may have failed while they were written", page.unreadable);
        }
    });
    Ok(())
}

/// At most `most` of the newest lines that match, oldest first, with the last page's other fields.
async fn newest(logbook: &Logs1Proxy<'_>, question: &Question, most: usize) -> Result<(Vec<Kept>, Page), Failure> {
    let mut lines: VecDeque<Kept> = VecDeque::new();
    loop {
        let before = lines.front().map(|line| line.index);
        let question = Question { before, last: Some(most - lines.len()), ..question.clone() };
        let mut page = ask(logbook, &question).await?;
        for line in page.lines.drain(..).rev() {
            lines.push_front(line);
        }
        if !page.more || lines.len() >= most {
            return Ok((lines.into(), page));
        }
    }
}

/// Prints each new line, until somebody ends it.
async fn follow(
    mut logbook: Logs1Proxy<'static>,
    question: Question,
    after: u64,
    format: Format,
) -> Result<(), Failure> {
    let mut after = after;
    loop {
        let asked = Question { after: Some(after), ..question.clone() };
        let page: Page = match logbook.follow(&text(&asked)).await {
            Ok(answer) => read("logbook", &answer)?,
            Err(error @ (zbus::Error::MethodError(..) | zbus::Error::FDO(_))) => return Err(error.into()),
            // It was restarted: its files are still there.
            Err(_) => {
                tokio::time::sleep(AGAIN).await;
                if let Ok(again) = connect().await {
                    logbook = again;
                }
                continue;
            }
        };
        let lines = match page.more {
            true => newest(&logbook, &asked, usize::MAX).await?.0,
            false => page.lines,
        };
        tell(&lines, format)?;
        after = lines.last().map_or(after, |line| line.index);
    }
}

async fn connect() -> Result<Logs1Proxy<'static>, Failure> {
    let connection = aios_daemon::connect("logbook").await.map_err(|error| Failure::not_reachable("logbook", error))?;
    Ok(Logs1Proxy::new(&connection).await?)
}

async fn ask(logbook: &Logs1Proxy<'_>, question: &Question) -> Result<Page, Failure> {
    read("logbook", &logbook.query(&text(question)).await?)
}

fn text(question: &Question) -> String {
    serde_json::to_string(question).expect("a question has only text keys")
}

/// What PID 1 still has of one service, when whoever keeps it is away.
fn from_memory(args: &LogsArgs, format: Format, failure: Failure) -> Result<(), Failure> {
    let Some(name) = args.name.clone().filter(|_| args.boot == 0) else { return Err(failure) };
    eprintln!("the service that keeps what was said is away; this is what PID 1 has in memory");
    match aios_daemon::init::ask(&Request::Logs { name })? {
        Reply::Logs { lines } => {
            let newest = &lines[lines.len().saturating_sub(args.lines)..];
            format.print(&newest, |lines| lines.iter().for_each(|line| println!("{}", harmless(line))));
            Ok(())
        }
        other => Err(Failure::failed(format!("PID 1 answered something else: {other:?}"))),
    }
}

/// Prints lines as they come; as JSON one a line.
fn tell(lines: &[Kept], format: Format) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    for line in lines {
        let text = match format {
            Format::Json => serde_json::to_string(line).expect("a line has only text keys"),
            Format::People => shown(line, Ink::of_stdout()),
        };
        writeln!(out, "{text}").map_err(|error| Failure::failed(format!("cannot write the lines: {error}")))?;
    }
    out.flush().map_err(|error| Failure::failed(format!("cannot write the lines: {error}")))
}

fn shown(line: &Kept, ink: Ink) -> String {
    let tone = match line.priority {
        Priority::Emerg | Priority::Alert | Priority::Crit | Priority::Err => Tone::Bad,
        Priority::Warning => Tone::Waits,
        _ => Tone::Plain,
    };
    let seconds = format!("{}.{:03}", line.at_ms / 1000, line.at_ms % 1000);
    let text = ink.paint(tone, &harmless(&line.text));
    format!("{} {seconds:>9} {:14} {text}", when::format(line.wall_ms), line.unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_shows_both_clocks_and_cannot_act_on_the_terminal() {
        let line = Kept {
            index: 1,
            number: None,
            nth: 1,
            at_ms: 12_034,
            wall_ms: 1_795_257_005_000,
            unit: KERNEL.into(),
            priority: Priority::Err,
            text: "a\u{202e}b".into(),
            lost: 0,
        };
        assert_eq!(shown(&line, Ink::None), "2026-11-21T10:30:05Z    12.034 kernel         a\u{fffd}b");
        assert!(shown(&line, Ink::Colour).contains("\u{1b}[31m"));
    }
}
