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

use warmheap_trace::replay::FirstFailure;

use crate::failure::Failure;

/// Returns a parser of whole numbers from `least` to `most`, of `what`.
fn whole(
    what: &'static str,
    least: u64,
    most: u64,
) -> impl Fn(&str) -> Result<u64, String> + Clone + Send + Sync + 'static {
    move |text| {
        let number = text.parse().ok().filter(|number| (least..=most).contains(number));
        number.ok_or_else(|| format!("it must be a whole number{what} from {least} to {most}"))
    }
}

/// Parses a count of the command line: at least 1, and no larger than any sensible use.
fn count(text: &str) -> Result<NonZeroUsize, String> {
    text.parse()
        .ok()
        .filter(|count: &NonZeroUsize| count.get() <= 100_000)
        .ok_or_else(|| "it must be a whole number from 1 to 100000".to_owned())
}

/// Returns the failure of a run in which `side` could not serve `count` requests.
fn unserved(side: &str, count: u64, first: Option<&FirstFailure>) -> Failure {
    let requests = if count == 1 { "request" } else { "requests" };
    let first = first.map(|first| {
        let FirstFailure { round, event, size, error, .. } = first;
        format!("; the first is event {event}, from 0, in round {round}: {size} bytes: {error}")
    });
    Failure::Failed(format!("{side} could not serve {count} {requests}{}", first.unwrap_or_default()))
}
