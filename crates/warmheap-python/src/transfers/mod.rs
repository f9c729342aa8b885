//! Copies on a thread of their own, and a bound on what is in flight: the mechanism under the queues that
//! `krserve_native` names. Nothing here knows Python, except that waits look for signals.

pub(crate) mod queue;
pub(crate) mod ring;
