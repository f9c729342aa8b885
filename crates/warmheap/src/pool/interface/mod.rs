//! What callers say and are told: requests, errors, call sites, leak reports, pressure.

pub(crate) mod call_site;
pub(crate) mod cold_box;
pub(crate) mod compaction;
pub(crate) mod error;
pub(crate) mod intern;
pub(crate) mod leak_report;
pub(crate) mod pressure;
pub(crate) mod request;
