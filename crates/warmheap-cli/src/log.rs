//! Prints the library's log on standard error.

use std::io;

use tracing::Dispatch;
use tracing_subscriber::filter::LevelFilter;

use crate::failure::Failure;

const VARIABLE: &str = "WARMHEAP_LOG";

/// Returns what logs at the level that `-v` or the environment names. The default is the `usual` level.
pub(crate) fn dispatcher(verbose: u8, usual: LevelFilter) -> Result<Dispatch, Failure> {
    let level = match verbose {
        0 => from_environment(usual)?,
        1 => LevelFilter::INFO,
        2 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(io::stderr)
        .with_ansi(false)
        .without_time()
        // Standard error may be closed or full, and there is nowhere else to say so.
        .log_internal_errors(false)
        .finish();
    Ok(Dispatch::new(subscriber))
}

fn from_environment(usual: LevelFilter) -> Result<LevelFilter, Failure> {
    match std::env::var_os(VARIABLE) {
        None => Ok(usual),
        Some(value) => value.to_str().and_then(|v| v.parse().ok()).ok_or_else(|| {
            let value = value.to_string_lossy();
            Failure::Usage(format!(
                "{VARIABLE} is `{value}`; it may be off, error, warn, info, debug or trace"
            ))
        }),
    }
}
