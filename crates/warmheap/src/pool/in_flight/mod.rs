//! What waits for queues.

pub(crate) mod early_reuse;
pub(crate) mod left_behind;
pub(crate) mod timeline;
