//! The `warmheap` command measures, checks and replays pooled GPU memory.
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
mod progress;
mod show;

use std::process::ExitCode;

use clap::CommandFactory;
use cli::{Cli, Command};
use failure::Failure;

fn main() -> ExitCode {
    let outcome = failure::guarded(|| {
        let cli = Cli::read()?;
        log::start(cli.verbose, cli.command.usual_log())?;
        run(&cli)
    });
    match outcome {
        Ok(code) => code,
        Err(failure) => failure.report(Cli::asks_for_json()),
    }
}

fn run(cli: &Cli) -> Result<ExitCode, Failure> {
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
