//! The parts that speak to the interpreter, or to array libraries, in C. Everything unsafe of this
//! crate is here, and nothing here decides anything.
//!
//! - `site`: which line of Python is calling
//! - `exporter`: the class `Buffer`, which adds the buffer protocol to `buffer::Held`'s class
//! - `dlpack`: memory lent to array libraries
//! - `pending`: asking the interpreter, from any thread, to come by
//! - `stream`: CUDA streams by their handles
#![allow(unsafe_code)]

pub(crate) mod dlpack;
pub(crate) mod exporter;
pub(crate) mod pending;
pub(crate) mod site;
pub(crate) mod stream;
