//! Memory that is lent in C: the class `Buffer`, which adds the buffer protocol to that of `contents`, and
//! capsules of DLPack. This module decides nothing.

pub(crate) mod dlpack;
pub(crate) mod exporter;
