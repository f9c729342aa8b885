//! `warmheap man` writes a manual page for the command and one for each of its commands.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Command;

use crate::failure::Failure;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The folder, which must exist: /usr/local/share/man/man1, for example.
    folder: PathBuf,
}

pub(crate) fn run(args: &Args, command: Command) -> Result<ExitCode, Failure> {
    clap_mangen::generate_to(command, &args.folder).map_err(|e| {
        Failure::Failed(format!("{}: {e}; give a folder that can be written", args.folder.display()))
    })?;
    Ok(ExitCode::SUCCESS)
}
