//! One file for each command: its arguments, its work, its figures and their text.

pub(crate) mod bench;
pub(crate) mod check;
pub(crate) mod compare;
pub(crate) mod completions;
pub(crate) mod devices;
pub(crate) mod man;
pub(crate) mod replay;
pub(crate) mod soak;
pub(crate) mod watch;

use std::num::NonZeroUsize;

/// Parses a count of the command line: at least 1, and no larger than any sensible use.
fn count(text: &str) -> Result<NonZeroUsize, String> {
    text.parse()
        .ok()
        .filter(|count: &NonZeroUsize| count.get() <= 100_000)
        .ok_or_else(|| "it must be a whole number from 1 to 100000".to_owned())
}
