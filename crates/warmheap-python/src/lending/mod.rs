//! Memory that is lent in C: the class `Buffer`, which adds the buffer protocol to that of `contents`, and
//! capsules of DLPack; and the bytes of other objects, to copy from and to buffers. This module decides nothing.

mod borrowed;
pub(crate) mod copy;
pub(crate) mod dlpack;
pub(crate) mod exporter;
mod py_buffer;
