//! The `warmheap` command.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    warmheap_cli::run(std::env::args_os().collect(), |log| {
        // Nothing has set one before.
        let _ = tracing::dispatcher::set_global_default(log);
    })
}
