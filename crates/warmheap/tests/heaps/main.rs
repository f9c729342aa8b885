//! What pools hold from their device: growth, giving back, compaction, and buffers that grow.

mod compaction;
mod decay;
mod giving_back;
mod growing;
mod headroom;
mod loads;
mod many;
mod purgeable;
#[path = "../support/mod.rs"]
mod support;
mod whole;
