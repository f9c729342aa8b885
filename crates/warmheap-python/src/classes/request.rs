//! The options of a request, in the library's types.

use std::time::Duration;

use warmheap::Request;

/// Returns the request for these arguments of `allocate`.
#[inline]
pub(crate) fn request(
    size: u64,
    align: u64,
    zeroed: bool,
    tag: Option<String>,
    growable: u64,
    wait: Option<Duration>,
) -> Request {
    let mut request = Request::new(size).align(align);
    if zeroed {
        request = request.zeroed();
    }
    if growable > 0 {
        request = request.growable(growable);
    }
    if let Some(time) = wait {
        request = request.wait(time);
    }
    tag.map_or(request, |tag| request.tag(tag.as_str()))
}
