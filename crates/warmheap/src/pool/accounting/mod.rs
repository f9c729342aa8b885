//! What the pool holds, counts and may have: device calls, limits, quotas and counters. These modules own
//! every figure of the account and make every device call. They must never decide what the pool does about a
//! figure.

pub(crate) mod account;
pub(crate) mod counters;
pub(crate) mod device_calls;
pub(crate) mod foreign;
pub(crate) mod quotas;
pub(crate) mod rate_limit;
pub(crate) mod slack;
pub(crate) mod stages;
