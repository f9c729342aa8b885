//! Settings from files, from variables and from code.

mod guide;
mod roundtrip;
#[path = "../support/mod.rs"]
mod support;
mod yaml;
