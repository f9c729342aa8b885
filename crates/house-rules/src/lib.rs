//! The rules of this repository's source and documents, as a program.
//!
//! A [`Source`] is one crate's `src` folder, parsed. It says which modules use which, counted between
//! siblings: the children of one folder. A child may use its parent's types, and a parent its children.
//! The rules are checked by the tests of this crate; this code only reads.
#![forbid(unsafe_code)]

mod graph;
mod members;
mod methods;
mod references;
mod source;

pub use graph::{Edge, circles};
pub use members::{Members, members};
pub use source::{File, Source};
