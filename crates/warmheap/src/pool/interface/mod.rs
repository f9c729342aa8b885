//! What callers say to the pool and what it tells them: requests, errors, call sites, leak reports and
//! pressure. These modules own plain values, and the tables of the process for tags and call sites. They must
//! never call the pool.

pub(crate) mod call_site;
pub(crate) mod cold_box;
pub(crate) mod compaction;
pub(crate) mod error;
pub(crate) mod intern;
pub(crate) mod leak_report;
pub(crate) mod pressure;
pub(crate) mod request;
pub(crate) mod start_error;
