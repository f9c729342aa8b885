//! What the pool holds, counts and may have: the device's calls, limits, quotas, counters.

pub(crate) mod account;
pub(crate) mod counters;
pub(crate) mod device_calls;
pub(crate) mod foreign;
pub(crate) mod quotas;
pub(crate) mod rate_limit;
pub(crate) mod slack;
pub(crate) mod stages;
