//! What every object here needs of the interpreter: exceptions, the log, and its lock given up around
//! what may wait. It knows nothing of pools.

pub(crate) mod errors;
pub(crate) mod fork;
pub(crate) mod log;
pub(crate) mod pending;
pub(crate) mod site;
pub(crate) mod values;
pub(crate) mod wait;
