//! The options of a request, in the library's types.

use std::time::Duration;

use pyo3::prelude::*;
use warmheap::Request;

use crate::interpreter::errors::Class;

/// Returns the request for these arguments of `allocate`.
#[inline]
pub(crate) fn request(
    size: u64,
    align: u64,
    zeroed: bool,
    tag: Option<&str>,
    growable: u64,
    wait: Option<f64>,
) -> PyResult<Request> {
    let mut request = Request::new(size).align(align);
    if zeroed {
        request = request.zeroed();
    }
    if growable > 0 {
        request = request.growable(growable);
    }
    if let Some(seconds) = wait {
        request = request.wait(duration("wait", seconds)?);
    }
    Ok(tag.map_or(request, |tag| request.tag(tag)))
}

/// Converts a time in seconds.
pub(crate) fn duration(name: &str, seconds: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(seconds)
        .map_err(|error| Class::Request.error(format!("{name} is {seconds}: {error}")))
}
