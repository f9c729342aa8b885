//! Settings from files, from variables and from code.

mod effect;
mod guide;
mod roundtrip;
#[path = "../support/mod.rs"]
mod support;
mod yaml;
