//! The command line.

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{ArgAction, Parser, Subcommand};
use tracing_subscriber::filter::LevelFilter;

use crate::commands::{bench, check, compare, replay, soak, watch};
use crate::failure::Failure;

/// Measure, check and replay pooled GPU memory.
#[derive(Debug, Parser)]
#[command(name = "warmheap", version, max_term_width = 100)]
pub(crate) struct Cli {
    /// Print JSON for machines instead of tables for people.
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// Log more to standard error: -v info, -vv debug, -vvv trace. WARMHEAP_LOG=LEVEL does too.
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Measure what a pool saves: every allocation from the device against the pool, on one trace.
    Bench(bench::Args),
    /// Compare two results of `bench --output` or `replay --json`; exit 1 on a regression.
    Compare(compare::Args),
    /// Validate a configuration, grade it and recommend one.
    Check(check::Args),
    /// Replay a trace on a pool: speed, packing, fallbacks, device calls.
    Replay(replay::Args),
    /// Try pools under every hardship at once, and check all the way; exit 1 on a broken promise.
    Soak(soak::Args),
    /// Show the statistics of a running program that was started with WARMHEAP_STATS=FILE.
    Watch(watch::Args),
    /// List the devices, what they can give, or why they are not there.
    Devices,
}

impl Command {
    /// How much to log if nobody says. A soak orders the failures that it would be warned of.
    pub(crate) fn usual_log(&self) -> LevelFilter {
        if matches!(self, Self::Soak(_)) { LevelFilter::OFF } else { LevelFilter::WARN }
    }
}

impl Cli {
    /// Parses the command line. Help and the version are printed and end the process' work well.
    pub(crate) fn read() -> Result<Self, Failure> {
        Self::try_parse().map_err(|error| match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                // A closed pipe is the reader's choice.
                let _ = error.print();
                Failure::Printed(ExitCode::SUCCESS)
            }
            ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => Failure::Usage(
                "a command is missing: bench, compare, check, replay, soak, watch or devices".into(),
            ),
            _ => Failure::Usage(one_line(&error.to_string())),
        })
    }
}

/// The parser's message and hints on one line; they come as paragraphs.
fn one_line(message: &str) -> String {
    let lines = message
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"))
        .filter(|line| !line.is_empty())
        .map(|line| line.trim_start_matches("error: "));
    lines.collect::<Vec<_>>().join("; ").replace(":;", ":")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn a_message_of_the_parser_becomes_one_line() {
        let error = Cli::try_parse_from(["warmheap", "replay"]).unwrap_err();
        let line = one_line(&error.to_string());
        assert!(!line.contains('\n') && line.contains("<TRACE>"), "{line}");
    }
}
