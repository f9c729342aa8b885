//! Apple Metal: heaps of unified memory, handed out as ranges of one buffer each.
//!
//! A heap here is an MTLHeap with one MTLBuffer over all of it. What the pool hands out is a range
//! of that buffer, so a hit makes no Objective-C call and costs no driver object; callers who need
//! an MTLBuffer of their own get one placed over the range ([`own_buffer`]).
//!
//! This folder owns every Metal object of the library and every `unsafe` call that needs one. It
//! decides nothing about pools: no free lists, no growth, no retry.
//!
//! | file | what it owns |
//! |---|---|
//! | `device` | [`MetalDevice`]: limits, checks before creation, heaps and fallback buffers |
//! | `context` | what the device shares with everything made from it |
//! | `heap`, `fallback` | the two kinds of [`Memory`](super::Memory) |
//! | `access` | from a region and an offset to what Metal calls take |
//! | `autorelease` | an autorelease pool around a call |
//! | `span` | one MTLBuffer over a region: address, contents, fill, warm-up |
//! | `placed` | MTLBuffers of the caller's own over ranges, kept for reuse |
//! | `objects` | the budget of driver objects |
//! | `queue` | [`MetalQueue`]: an MTLCommandQueue with one MTLSharedEvent |
//! | `residency` | which memory stays wired, in how few commits: pure policy and its sets |
//!
//! Threads: every type here is `Send + Sync`. Calls that change a heap or a residency set are
//! serialised by a lock of their own; no lock is held while waiting for the GPU. On a thread
//! without an autorelease pool nothing leaks: every call that autoreleases brings its own pool.
#![allow(unsafe_code)]

mod access;
mod autorelease;
mod context;
mod device;
mod fallback;
mod heap;
mod objects;
mod options;
mod placed;
mod queue;
mod residency;
mod span;

pub use access::{Binding, binding, own_buffer};
pub use device::MetalDevice;
pub use fallback::MetalFallback;
pub use heap::{HeapUse, MetalHeap};
pub use options::{CpuCache, Hazards, MetalOptions, Placement, Storage, WarmUp};
pub use placed::OwnBuffer;
pub use queue::MetalQueue;
pub use residency::{ResidencyOptions, ResidencyUse};

// MTLCreateSystemDefaultDevice returns nothing on macOS unless CoreGraphics is linked.
#[cfg(target_os = "macos")]
#[link(name = "CoreGraphics", kind = "framework")]
unsafe extern "C" {}
