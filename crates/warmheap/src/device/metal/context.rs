//! The state that a Metal device shares with every heap, buffer and queue made from it.
//!
//! It owns the MTLDevice, the options, the object budget, the residency of live memory, and the queue on
//! which fills and copies run. It knows nothing of pools.
#![allow(unsafe_code)]

use std::ops::Range;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use objc2::rc::Retained;
use objc2::runtime::ProtocolObject;
use objc2_foundation::NSRange;
use objc2_metal::{
    MTLBlitCommandEncoder, MTLBuffer, MTLCommandBuffer, MTLCommandEncoder, MTLCommandQueue, MTLDevice,
    MTLResourceOptions,
};

use super::objects::Objects;
use super::options::MetalOptions;
use super::queue::{MetalQueue, Queues};
use super::residency::{Keeper, Residency};
use super::shared::Shared;
use crate::device::{DeviceError, Queue};

#[derive(Debug)]
pub(super) struct Context {
    pub(super) raw: Shared<dyn MTLDevice>,
    pub(super) options: MetalOptions,
    pub(super) resource_options: MTLResourceOptions,
    pub(super) objects: Arc<Objects>,
    pub(super) residency: Residency,
    pub(super) queues: Queues,
    _keeper: Option<Keeper>,
    /// The queue on which fills and copies run. The first of them creates it.
    fills: OnceLock<MetalQueue>,
    /// The last ticket of fills whose errors the program has asked for.
    checked_fills: AtomicU64,
}

impl Context {
    pub(super) fn new(raw: Retained<ProtocolObject<dyn MTLDevice>>, options: MetalOptions) -> Self {
        let residency = Residency::new(&raw, &options.residency);
        Self {
            _keeper: residency.keeper(&options.residency),
            queues: Queues::new(&residency, options.allows_early_reuse()),
            residency,
            resource_options: options.resource(),
            objects: Objects::new(options.object_limit),
            fills: OnceLock::new(),
            checked_fills: AtomicU64::new(0),
            options,
            raw: Shared(raw),
        }
    }

    /// Returns the bytes that this process may still take within the limit that the device recommends.
    pub(super) fn available(&self) -> u64 {
        self.raw.recommendedMaxWorkingSetSize().saturating_sub(self.raw.currentAllocatedSize() as u64)
    }

    /// Returns the queue on which fills and copies run.
    pub(super) fn fills(&self) -> Result<&MetalQueue, DeviceError> {
        if self.fills.get().is_none() {
            // If two threads are here at once, one of the two queues is dropped.
            let _ = self.fills.set(MetalQueue::new(&self.raw, None, &self.queues)?);
        }
        self.fills.get().ok_or(DeviceError::Unsupported { what: "command queues" })
    }

    /// As [`encode_fill`], on the queue for fills.
    pub(super) fn fill(
        &self,
        buffer: &ProtocolObject<dyn MTLBuffer>,
        range: Range<u64>,
        byte: u8,
        wait: bool,
    ) -> Result<(), DeviceError> {
        let queue = self.fills()?;
        let commands = queue.raw().commandBuffer().ok_or_else(|| no_fill("no command buffer"))?;
        encode_fill(&commands, buffer, range, byte)?;
        let ticket = queue.submit(&commands);
        if wait {
            wait_for(queue, ticket)?;
        }
        Ok(())
    }

    /// Makes the GPU copy `len` bytes of `from` to `to`, and waits. The caller opens an autorelease pool.
    ///
    /// Blits on macOS copy whole words. So the length is rounded up to a word, as for fills.
    pub(super) fn copy(
        &self,
        (from, source): (&ProtocolObject<dyn MTLBuffer>, u64),
        (to, target): (&ProtocolObject<dyn MTLBuffer>, u64),
        len: u64,
    ) -> Result<(), DeviceError> {
        let failed = |reason: &str| DeviceError::Failed { call: "copyFromBuffer", reason: reason.into() };
        let room = (from.length() as u64 - source).min(to.length() as u64 - target);
        let len = len.next_multiple_of(4).min(room);
        let queue = self.fills()?;
        let commands = queue.raw().commandBuffer().ok_or_else(|| failed("no command buffer"))?;
        let blit = commands.blitCommandEncoder().ok_or_else(|| failed("no blit encoder"))?;
        for slice in slices(len) {
            // SAFETY: the length was limited above, so both ranges lie within their buffers. The command
            // buffer keeps the buffers until it has run.
            unsafe {
                blit.copyFromBuffer_sourceOffset_toBuffer_destinationOffset_size(
                    from,
                    (source + slice.start) as usize,
                    to,
                    (target + slice.start) as usize,
                    (slice.end - slice.start) as usize,
                );
            }
        }
        blit.endEncoding();
        wait_for(queue, queue.submit(&commands))
    }

    /// Waits until all fills and copies so far are done, and returns the last of their tickets. Those that
    /// failed are done too: the caller that waited for one has its error.
    pub(super) fn finish_fills(&self) -> u64 {
        let Some(queue) = self.fills.get() else { return 0 };
        let last = queue.last();
        let _ = wait_for(queue, last);
        last
    }

    /// Encodes into the caller's own `commands` that the GPU clears `range` of `buffer`, after the fills so
    /// far. The caller opens an autorelease pool.
    pub(super) fn encode_zero(
        &self,
        commands: &ProtocolObject<dyn MTLCommandBuffer>,
        buffer: &ProtocolObject<dyn MTLBuffer>,
        range: Range<u64>,
    ) -> Result<(), DeviceError> {
        if let Some(fills) = self.fills.get() {
            fills.encode_wait(commands, fills.last());
        }
        encode_fill(commands, buffer, range, 0)
    }

    /// As [`Context::finish_fills`], and returns the error of the first that failed since the last call.
    pub(super) fn check_fills(&self) -> Result<(), DeviceError> {
        let last = self.finish_fills();
        let checked = self.checked_fills.fetch_max(last, Relaxed);
        self.fills.get().and_then(|queue| queue.first_failure_after(checked)).map_or(Ok(()), Err)
    }
}

/// Cuts a blit of `len` bytes. Metal has filled and copied only a part of more than 4 GiB, without an error.
fn slices(len: u64) -> impl Iterator<Item = Range<u64>> {
    const SLICE: usize = 1 << 30;
    (0..len).step_by(SLICE).map(move |start| start..len.min(start + SLICE as u64))
}

/// Encodes that the GPU writes `range` of `buffer`. The caller opens an autorelease pool.
///
/// Blits on macOS write whole words. So the end is rounded up to a word, which stays within the last alignment
/// unit of the range.
fn encode_fill(
    commands: &ProtocolObject<dyn MTLCommandBuffer>,
    buffer: &ProtocolObject<dyn MTLBuffer>,
    range: Range<u64>,
    byte: u8,
) -> Result<(), DeviceError> {
    let end = range.end.next_multiple_of(4).min(buffer.length() as u64);
    let blit = commands.blitCommandEncoder().ok_or_else(|| no_fill("no blit encoder"))?;
    for slice in slices(end - range.start) {
        let start = range.start + slice.start;
        let words = NSRange::new(start as usize, (slice.end - slice.start) as usize);
        blit.fillBuffer_range_value(buffer, words, byte);
    }
    blit.endEncoding();
    Ok(())
}

fn no_fill(reason: &str) -> DeviceError {
    DeviceError::Failed { call: "fillBuffer", reason: reason.into() }
}

/// Waits for a fill or a copy, however long it takes. On a tracked heap it comes after all work on that heap.
/// An earlier return would give memory to its next user while the fill is still to come.
fn wait_for(queue: &MetalQueue, ticket: u64) -> Result<(), DeviceError> {
    const LONG: Duration = Duration::from_secs(60);
    while !queue.wait(ticket, LONG)? {
        tracing::warn!(ticket, "a fill or copy on the GPU has waited for another {} s", LONG.as_secs());
    }
    Ok(())
}
