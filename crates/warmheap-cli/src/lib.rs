//! The `warmheap` command measures, checks and replays pooled GPU memory. It is a library, so that the
//! package for Python has the same command; [`run`] is all of it.
//!
//! A command in `commands` measures, returns plain figures, and says how they read. `show` prints them.
//! Results go to standard output, and everything else to standard error. The exit code is 0 on success, 1 on
//! a failure or a finding, and 2 when the command was called wrongly.
#![forbid(unsafe_code)]

mod cli;
mod commands;
mod device;
mod failure;
mod input;
mod log;
mod output_file;
mod progress;
mod schema;
mod show;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::CommandFactory;
use cli::{Cli, Command};
use failure::Failure;
use tracing::Dispatch;

/// Runs the command with `arguments`, the first of which is its name. `install` makes the process's log go to
/// standard error, as the given dispatcher does. Returns the exit code. Never panics.
pub fn run(arguments: Vec<OsString>, install: impl FnOnce(Dispatch)) -> ExitCode {
    let json = Cli::asks_for_json(&arguments);
    let named = Cli::named_command(&arguments);
    let outcome = failure::guarded(|| {
        let cli = Cli::read(arguments)?;
        install(log::dispatcher(cli.verbose, cli.command.usual_log())?);
        command(&cli)
    });
    match outcome {
        Ok(code) => code,
        Err(failure) => failure.report(json, named.as_deref()),
    }
}

/// Returns an exit code's number, for callers that end by other means than `main`.
#[must_use]
pub fn number(code: ExitCode) -> u8 {
    (0..=u8::MAX).find(|number| ExitCode::from(*number) == code).unwrap_or(1)
}

fn command(cli: &Cli) -> Result<ExitCode, Failure> {
    match &cli.command {
        Command::Bench(args) => commands::bench::run(args, cli.json),
        Command::Compare(args) => commands::compare::run(args, cli.json),
        Command::Check(args) => commands::check::run(args, cli.json),
        Command::Replay(args) => commands::replay::run(args, cli.json),
        Command::Soak(args) => commands::soak::run(args, cli.json),
        Command::Watch(args) => commands::watch::run(args, cli.json),
        Command::Devices => commands::devices::run(cli.json),
        Command::Completions(args) => commands::completions::run(args, Cli::command()),
        Command::Man(args) => commands::man::run(args, Cli::command()),
    }
}
