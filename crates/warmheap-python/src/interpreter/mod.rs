//! What every object needs of the interpreter: exceptions, the log, and giving up its lock around calls that
//! may wait. This module knows nothing of pools.

pub(crate) mod arguments;
pub(crate) mod errors;
pub(crate) mod fork;
pub(crate) mod html;
pub(crate) mod interruptible;
pub(crate) mod log;
pub(crate) mod pending;
pub(crate) mod site;
pub(crate) mod values;
pub(crate) mod wait;
