//! Services: what runs, and what it says.

use aios_wire::logs::Priority;
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum ServiceCommand {
    /// Every service with its state
    List,
    /// One service
    Show {
        /// The service
        name: String,
    },
    /// What services, the kernel and PID 1 said, across boots
    Logs(LogsArgs),
    /// Stops a service and starts it again
    Restart {
        /// The service
        name: String,
    },
    /// Starts a service that is stopped
    Start {
        /// The service
        name: String,
    },
    /// Stops a service until it, or the machine, is started again
    Stop {
        /// The service
        name: String,
    },
    /// Makes an app a service, now and at each start of the machine
    Enable {
        /// The app
        name: String,
    },
    /// Ends an app that is a service; the app stays
    Disable {
        /// The app
        name: String,
    },
    /// What PID 1 saw of a service in this boot
    History {
        /// The service
        name: String,
    },
}

/// Which lines.
#[derive(Debug, clap::Args)]
pub(crate) struct LogsArgs {
    /// The service, 'kernel' or 'init'; all without it
    pub(crate) name: Option<String>,
    /// Goes on with each new line until Ctrl-C
    #[arg(short, long, conflicts_with = "boot")]
    pub(crate) follow: bool,
    /// Not before this time: 2026-11-21T10:30 (UTC), or 15m, 2h, 3d ago
    #[arg(long)]
    pub(crate) since: Option<String>,
    /// At least so urgent: emerg, alert, crit, err, warning, notice, info, debug
    #[arg(short, long, value_parser = priority)]
    pub(crate) priority: Option<Priority>,
    /// Which boot: 0 is the running one, -1 the one before
    #[arg(short, long, default_value_t = 0, allow_negative_numbers = true, value_parser = clap::value_parser!(i32).range(-100_000..=0))]
    pub(crate) boot: i32,
    /// At most this many, the newest
    #[arg(short = 'n', long, default_value_t = 200)]
    pub(crate) lines: usize,
}

fn priority(word: &str) -> Result<Priority, String> {
    let found = Priority::ALL.into_iter().find(|priority| priority.word() == word);
    found.ok_or_else(|| {
        let words: Vec<_> = Priority::ALL.iter().map(|priority| priority.word()).collect();
        format!("one of {}", words.join(", "))
    })
}
