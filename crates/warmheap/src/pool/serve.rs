//! Answering a request that this thread's cache could not: depot, heaps, the ladder, the device.
#![forbid(unsafe_code)]

use std::panic::Location;
use std::sync::atomic::Ordering::Relaxed;

use arrayvec::ArrayVec;

use super::cache::{Cache, MAGAZINE};
use super::classes::{LARGEST, class_of, len_of};
use super::error::{AllocError, OutOfMemory};
use super::heaps::Want;
use super::local::{self, ThreadCache};
use super::range::{EXACT, FALLBACK, Range};
use super::request::Request;
use super::shared::Shared;
use crate::device::DeviceError;
use crate::sync::Inside;

/// The most ranges cut at once for a small class.
const BATCH: usize = 16;
/// The most granules cut at once for a small class.
const BATCH_LEN: u32 = 256;

impl Shared {
    /// Answers a request by any means it allows.
    #[cold]
    #[inline(never)]
    pub(crate) fn serve(
        &self,
        request: &Request,
        site: &'static Location<'static>,
        may_fall_back: bool,
    ) -> Result<Range, AllocError> {
        let align = self.check(request)?;
        let found = match self.want(request.size, align) {
            Some(want) if self.config.enabled => self.from_heaps(want).ok_or(None),
            _ => Err(None),
        };
        let range = match found {
            Ok(range) => {
                self.exhausted.store(false, Relaxed);
                Ok(range)
            }
            Err(_) if may_fall_back => self.from_device(request.size, align).map_err(Some),
            Err(ruled_out) => Err(ruled_out),
        };
        let range = range.map_err(|device| self.out_of_memory(request.size, device))?;
        if request.zeroed
            && let Err(error) = self.clear(&range, request.size)
        {
            self.put_back(range);
            return Err(AllocError::Device(Box::new(error)));
        }
        range.tenant().moves_in(request.size, request.tag, site);
        if self.config.track_statistics {
            self.count(
                |thread| thread.counters.allocated(request.size, &self.peak),
                |past| {
                    past.allocations += 1;
                    past.requested += request.size;
                    past.largest = past.largest.max(request.size);
                    past.net += request.size as i64;
                    self.peak.add(request.size as i64);
                },
            );
        }
        Ok(range)
    }

    /// The alignment to serve the request at, in bytes.
    fn check(&self, request: &Request) -> Result<u64, AllocError> {
        if request.size == 0 {
            return Err(AllocError::ZeroSize);
        }
        let align = request.align.max(1 << self.shift);
        if request.align != 0 && !request.align.is_power_of_two() {
            return Err(AllocError::BadAlignment { align: request.align });
        }
        Ok(align)
    }

    /// The request in granules; `None` if no heap could ever be that large.
    fn want(&self, size: u64, align: u64) -> Option<Want> {
        let len = self.granules(size)?;
        let align = u32::try_from(align >> self.shift).ok()?;
        if len > LARGEST || align > 1 {
            return Some(Want { class: EXACT, len, align, count: 1 });
        }
        let class = class_of(len);
        let len = len_of(class);
        let count = (BATCH_LEN / len).clamp(1, BATCH as u32);
        Some(Want { class: class as u16, len, align: 1, count })
    }

    fn from_heaps(&self, want: Want) -> Option<Range> {
        let fits = |range: &Range| range.address & ((u64::from(want.align) << self.shift) - 1) == 0;
        if let Some(range) = self.refill(want) {
            if fits(&range) {
                return Some(range);
            }
            self.put_back(range);
        }
        let mut spare: ArrayVec<Range, BATCH> = ArrayVec::new();
        let range =
            self.heaps.allocate(want, |range| spare.push(range)).or_else(|| self.make_available(want))?;
        if !spare.is_empty() {
            self.keep(spare);
        }
        Some(range)
    }

    /// A range from this thread's cache or the depot, which are looked at before any heap.
    fn refill(&self, want: Want) -> Option<Range> {
        self.inside(|cache, thread| {
            cache.set_limit(self.cache_limit());
            if want.class == EXACT {
                return cache.pop_exact(want.len, &thread.held);
            }
            let class = u32::from(want.class);
            let mut refused = ArrayVec::<Range, { MAGAZINE / 2 }>::new();
            self.depot.take(class, MAGAZINE / 2, |range| {
                if let Err(range) = cache.push(range, &thread.held) {
                    refused.push(range);
                }
            });
            self.heaps.release(refused);
            cache.pop(class, &thread.held)
        })?
    }

    /// Puts ranges into this thread's cache, as far as they fit.
    fn keep(&self, spare: ArrayVec<Range, BATCH>) {
        let mut spare = spare.into_iter();
        let mut refused = None;
        self.inside(|cache, thread| {
            refused = spare.by_ref().find_map(|range| cache.push(range, &thread.held).err());
        });
        self.heaps.release(refused.into_iter().chain(spare));
    }

    fn from_device(&self, size: u64, align: u64) -> Result<Range, DeviceError> {
        let range = self.fallback.allocate(&self.driver, size, align)?;
        self.fallbacks.fetch_add(1, Relaxed);
        if self.config.enabled && !self.exhausted.swap(true, Relaxed) && self.config.log_exhaustion {
            let mib = size as f64 / (1 << 20) as f64;
            tracing::warn!(
                size,
                fallback_allocations = self.fallbacks.load(Relaxed),
                "Heap exhausted for {mib:.1}MB allocation, falling back to device allocation"
            );
            tracing::info!("Consider increasing heap_size_mb or num_heaps");
        }
        Ok(range)
    }

    fn out_of_memory(&self, requested: u64, device: Option<DeviceError>) -> AllocError {
        self.failures.fetch_add(1, Relaxed);
        let (free, largest_free) = self.free_bytes();
        AllocError::OutOfMemory(Box::new(OutOfMemory {
            requested,
            free,
            largest_free,
            reserved: self.driver.reserved(),
            device,
        }))
    }

    /// Zeroes the first `size` bytes of a range.
    pub(crate) fn clear(&self, range: &Range, size: u64) -> Result<(), DeviceError> {
        match self.memory(range) {
            Some((memory, offset)) => self.driver.fill(&*memory, offset, size),
            None => Ok(()),
        }
    }

    /// The memory a range lies in, and its offset there in bytes.
    pub(crate) fn memory(&self, range: &Range) -> Option<(std::sync::Arc<dyn crate::device::Memory>, u64)> {
        let memory = if range.class == FALLBACK {
            self.fallback.memory(range)?
        } else {
            self.heaps.slot(range).lock().heap()?.memory.clone()
        };
        let offset = range.address - memory.address();
        Some((memory, offset))
    }

    /// Enters this thread's cache, attaching it first if need be.
    pub(crate) fn inside<R>(&self, mut f: impl FnMut(&mut Cache, &ThreadCache) -> R) -> Option<R> {
        let mut enter = || local::enter(self, |mut cache: Inside<'_, Cache>, thread| f(&mut cache, thread));
        enter().or_else(|| if local::attach(self) { enter() } else { None })
    }

    /// Counts on this thread's shard, or among the past if the thread has none.
    pub(crate) fn count(
        &self,
        shard: impl Fn(&ThreadCache),
        past: impl FnOnce(&mut super::counters::Totals),
    ) {
        if self.inside(|_, thread| shard(thread)).is_none() {
            past(&mut super::lock(&self.past));
        }
    }
}
