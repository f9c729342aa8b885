//! Buffers that wait for work on queues. These modules own the lists of such buffers and the record of
//! pending tickets. They must never hand a span to other work before the work that uses it has completed.

pub(crate) mod early_reuse;
pub(crate) mod left_behind;
pub(crate) mod timeline;
