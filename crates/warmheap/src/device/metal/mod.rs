//! Apple Metal: heaps of unified memory, each with one buffer.
//!
//! ```no_run
//! use warmheap::device::Device;
//! use warmheap::metal::{MetalDevice, MetalOptions};
//!
//! let device = MetalDevice::system_default(MetalOptions::default())?;
//! println!("{}: {} bytes free", device.name(), device.limits().available.unwrap_or_default());
//! # Ok::<(), warmheap::device::DeviceError>(())
//! ```
//!
//! A heap here is an MTLHeap with one MTLBuffer over all of it. The pool hands out ranges of that buffer. So
//! a hit makes no Objective-C call and takes no driver object. A caller that needs its own MTLBuffer gets one
//! placed over its range ([`own_buffer`]).
//!
//! This folder owns every Metal object of the library, and every `unsafe` call that needs one. It decides
//! nothing about pools: it has no free lists, no growth and no retries.
//!
//! | file | what it owns |
//! |---|---|
//! | `device` | [`MetalDevice`]: limits, checks before creation, heaps and fallback buffers |
//! | `context` | the state that a device shares with everything made from it |
//! | `heap`, `fallback` | the two kinds of [`Memory`](super::Memory) |
//! | `access` | converting memory and an offset to arguments of Metal calls |
//! | `autorelease` | an autorelease pool around a call |
//! | `shared` | a Metal object that any thread may keep and use |
//! | `support` | checks of the GPU and the system before any other call |
//! | `span` | one MTLBuffer over a region: address, contents, fill, warm-up |
//! | `placed` | MTLBuffers over single ranges, made for callers and kept for reuse |
//! | `objects` | the budget of driver objects |
//! | `queue` | [`MetalQueue`]: an MTLCommandQueue with one MTLSharedEvent |
//! | `residency` | which memory stays wired, with few commits: a pure policy and the sets |
//!
//! Every type here is `Send + Sync`. A lock serialises the calls that change a heap or a residency set. No
//! thread holds a lock while it waits for the GPU. Every call that autoreleases objects opens its own
//! autorelease pool, so nothing leaks on a thread without one.
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
mod shared;
mod span;
mod support;

pub use access::{Binding, binding, encode_zero, own_buffer};
pub use device::MetalDevice;
pub use fallback::MetalFallback;
pub use heap::{HeapUse, MetalHeap};
pub use options::{CpuCache, Hazards, MetalOptions, Placement, Storage, WarmUp};
pub use placed::OwnBuffer;
pub use queue::MetalQueue;
pub use residency::{ResidencyOptions, ResidencyUse};
use span::Span;

use super::{DeviceError, Memory};

/// Returns the span of a heap or fallback buffer of this backend. Either can be copied to the other.
fn span_of(memory: &dyn Memory) -> Result<&Span, DeviceError> {
    let memory = memory.as_any();
    let heap = memory.downcast_ref::<MetalHeap>().map(MetalHeap::span);
    let span = heap.or_else(|| memory.downcast_ref::<MetalFallback>().map(MetalFallback::span));
    span.ok_or(DeviceError::ForeignMemory { device: "metal" })
}

// MTLCreateSystemDefaultDevice returns nothing on macOS unless CoreGraphics is linked.
#[cfg(target_os = "macos")]
#[link(name = "CoreGraphics", kind = "framework")]
unsafe extern "C" {}
