//! Threads coming and going, leaks, and the pool's end.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::leaks::{Leak, LeakReport};
use super::local::ThreadCache;
use super::lock;
use super::shared::Shared;

impl Shared {
    /// A cache for the calling thread; `None` once the pool is closed.
    pub(crate) fn new_cache(&self) -> Option<Arc<ThreadCache>> {
        let mut caches = lock(&self.caches);
        if self.closed.load(Ordering::SeqCst) {
            return None;
        }
        let cache = Arc::new(ThreadCache::new(self.me.clone(), self.cache_limit()));
        caches.push(Arc::clone(&cache));
        Some(cache)
    }

    /// Takes over what an ending thread had.
    pub(crate) fn detach(&self, thread: &Arc<ThreadCache>) {
        let mut caches = lock(&self.caches);
        let Some(place) = caches.iter().position(|cache| Arc::ptr_eq(cache, thread)) else { return };
        self.absorb(thread);
        caches.swap_remove(place);
    }

    /// Ends a cache: its ranges go back, its counts are kept.
    fn absorb(&self, thread: &ThreadCache) {
        let mut cache = thread.cache.take();
        cache.close();
        let ranges = cache.empty(&thread.held);
        self.heaps.release(ranges);
        lock(&self.past).add(&thread.counters.totals());
        thread.counters.reset(&self.peak);
    }

    /// Ends the pool: caches are emptied and refuse from now on, what is still out is reported, and
    /// if anything is, the memory stays until the last of it is back.
    pub(crate) fn close(&self) -> LeakReport {
        {
            let mut caches = lock(&self.caches);
            self.closed.store(true, Ordering::SeqCst);
            for thread in caches.drain(..) {
                self.absorb(&thread);
            }
        }
        *lock(&self.orphans) = self.me.upgrade();
        self.bury();
        self.leaks()
    }

    /// Ranges that are out: in buffers' hands, or cached.
    pub(crate) fn live_ranges(&self) -> u64 {
        let used = |slot: &super::heap::Slot| {
            slot.lock().heap().map_or(0, |heap| u64::from(heap.space.used_blocks()))
        };
        self.heaps.slots().iter().map(used).sum::<u64>() + self.fallback.count() as u64
    }

    /// Every buffer that is alive. Caches are given up first, so that what is left is held.
    pub(crate) fn leaks(&self) -> LeakReport {
        self.flush_caches();
        let mut leaks = Vec::new();
        let mut add = |tenant: &super::ledger::Tenant| {
            leaks.push(Leak { size: tenant.size(), tag: tenant.tag(), site: tenant.site() });
        };
        for slot in self.heaps.slots() {
            let locked = slot.lock();
            if let Some(heap) = locked.heap() {
                heap.space.used().for_each(|placed| add(locked.tenant(placed.block)));
            }
        }
        self.fallback.tenants().into_iter().for_each(add);
        let totals = self.totals();
        LeakReport { acquired: totals.allocations, released: totals.deallocations, leaks }
    }
}
