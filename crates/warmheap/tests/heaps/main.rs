//! What pools hold from their device: growing, giving back, compaction, buffers that grow.

mod compaction;
mod decay;
mod giving_back;
mod growing;
mod headroom;
mod purgeable;
#[path = "../support/mod.rs"]
mod support;
