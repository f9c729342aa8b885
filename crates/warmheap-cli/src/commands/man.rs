//! `warmheap man` writes a manual page for the command and one for each of its commands.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Command;
use clap_mangen::Man;

use crate::failure::Failure;
use crate::output_file::OutputFile;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The folder, which must exist: /usr/local/share/man/man1, for example.
    folder: PathBuf,
}

pub(crate) fn run(args: &Args, command: Command) -> Result<ExitCode, Failure> {
    let mut command = command.disable_help_subcommand(true);
    // Fills in what commands have in common, and the names of their pages.
    command.build();
    let pages = command.get_subcommands().filter(|page| !page.is_hide_set());
    for page in [&command].into_iter().chain(pages) {
        let page = Man::new(page.clone());
        let file = OutputFile::at(&args.folder.join(page.get_filename()))?;
        let mut text = Vec::new();
        page.render(&mut text).map_err(Failure::failed)?;
        file.write(&text)?;
    }
    Ok(ExitCode::SUCCESS)
}
