//! The command line.

use std::ffi::OsString;
use std::io;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{ArgAction, CommandFactory, Parser, Subcommand};
use tracing_subscriber::filter::LevelFilter;

use crate::commands::{bench, check, compare, completions, man, replay, soak, watch};
use crate::failure::Failure;

/// Measure, check and replay pooled GPU memory.
#[derive(Debug, Parser)]
#[command(name = "warmheap", version, max_term_width = 100)]
pub(crate) struct Cli {
    /// Print JSON for machines instead of tables for people.
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// Log more to standard error: -v info, -vv debug, -vvv trace. WARMHEAP_LOG=LEVEL does so, too.
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Measure what a pool saves: replay one trace with device allocations and with the pool.
    Bench(bench::Args),
    /// Compare two results of `bench --output` or `replay --json`; exit with 1 on a regression.
    Compare(compare::Args),
    /// Validate a configuration, check that it starts here, grade it and recommend one.
    Check(check::Args),
    /// Replay a trace on a pool; print speed, packing, fallbacks and device calls.
    Replay(replay::Args),
    /// Test pools under many kinds of trouble at once, with checks all the way; exit with 1 on a broken
    /// promise.
    Soak(soak::Args),
    /// Show the statistics of a running program that was started with WARMHEAP_STATS=FILE.
    Watch(watch::Args),
    /// List the devices and what they can give, or the reason that they are missing.
    Devices,
    /// Print a shell's completions: warmheap completions bash > FILE.
    Completions(completions::Args),
    /// Write the manual pages to a folder.
    Man(man::Args),
}

impl Command {
    /// Returns the log level where the user names none. A soak causes the failures that the log would warn
    /// of.
    pub(crate) fn usual_log(&self) -> LevelFilter {
        if matches!(self, Self::Soak(_)) { LevelFilter::OFF } else { LevelFilter::WARN }
    }
}

impl Cli {
    /// Whether the command line asks for JSON. Needs no command line that can be parsed.
    pub(crate) fn asks_for_json(arguments: &[OsString]) -> bool {
        arguments.iter().skip(1).take_while(|word| *word != "--").any(|word| word == "--json")
    }

    /// Returns the command that the command line names, if there is one. Needs no command line that can be
    /// parsed.
    pub(crate) fn named_command(arguments: &[OsString]) -> Option<String> {
        // No option before the command takes a value.
        let word = arguments.iter().skip(1).find(|word| !word.as_encoded_bytes().starts_with(b"-"))?;
        let command = Self::command();
        command.get_subcommands().map(clap::Command::get_name).find(|name| *name == word).map(str::to_owned)
    }

    /// Parses the command line. Prints help and the version itself, which is a success.
    pub(crate) fn read(arguments: Vec<OsString>) -> Result<Self, Failure> {
        Self::try_parse_from(arguments).map_err(|error| match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                match error.print() {
                    // The reader may close the pipe early.
                    Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Failure::failed(e),
                    _ => Failure::Printed(ExitCode::SUCCESS),
                }
            }
            ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => Failure::Usage(
                "a command is missing: bench, compare, check, replay, soak, watch, devices, completions or man".into(),
            ),
            _ => Failure::Usage(one_line(&error.to_string())),
        })
    }
}

/// Joins the paragraphs of the parser's message and hints into one line.
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
        Cli::command().debug_assert();
    }

    #[test]
    fn a_message_of_the_parser_becomes_one_line() {
        let error = Cli::try_parse_from(["warmheap", "replay"]).unwrap_err();
        let line = one_line(&error.to_string());
        assert!(!line.contains('\n') && line.contains("<TRACE>"), "{line}");
    }
}
