//! Threads coming and going, leaks, and the pool's end.
#![forbid(unsafe_code)]

use std::iter;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::counters::{Counters, Totals};
use super::leaks::{Leak, LeakReport};
use super::local::Local;
use super::lock;
use super::shared::Shared;

impl Shared {
    /// The calling thread's share of the pool; `None` once the pool is closed.
    pub(crate) fn new_local(&self) -> Option<Arc<Local>> {
        let mut locals = lock(&self.locals);
        if self.closed.load(Ordering::SeqCst) {
            return None;
        }
        let counters = Counters::new(self.largest_class, self.config.track_statistics);
        let local = Arc::new(Local::new(self.me.clone(), self.cache_limit(), counters));
        locals.push(Arc::clone(&local));
        Some(local)
    }

    /// Takes over what an ending thread had.
    pub(crate) fn detach(&self, local: &Arc<Local>) {
        let mut locals = lock(&self.locals);
        let Some(place) = locals.iter().position(|known| Arc::ptr_eq(known, local)) else { return };
        self.absorb(local);
        locals.swap_remove(place);
    }

    /// Ends a thread's share: its ranges go back, its counts are kept, its home is anyone's.
    fn absorb(&self, local: &Local) {
        let mut own = local.own.take();
        own.heaps.leave(&self.heaps);
        own.cache.close();
        let ranges = own.cache.empty(&local.held);
        self.heaps.release(ranges);
        local.counters.publish(&self.peak);
        let mut past = lock(&self.past);
        *past = Totals::of(&past, iter::once(&local.counters));
    }

    /// Ends the pool: work in flight of queues that are gone is waited for, caches are emptied and refuse
    /// from now on, what is still out is reported, and if anything is, the memory stays until the last
    /// of it is back.
    pub(crate) fn close(&self) -> LeakReport {
        self.poll_queues();
        self.wait_for_left();
        {
            let mut locals = lock(&self.locals);
            self.closed.store(true, Ordering::SeqCst);
            for local in locals.drain(..) {
                self.absorb(&local);
            }
        }
        *lock(&self.orphans) = self.me.upgrade();
        self.close_left();
        self.bury();
        self.leaks()
    }

    /// Ranges that are out: in buffers' hands, or cached.
    pub(crate) fn live_ranges(&self) -> u64 {
        let used = |slot: &super::heap::Slot| {
            slot.with(|open| open.heap().map_or(0, |heap| u64::from(heap.space.used_blocks())))
        };
        self.heaps.slots().iter().map(used).sum::<u64>() + self.fallback.count() as u64
    }

    /// Every buffer that is alive. Caches are given up first, so that what is left is held.
    pub(crate) fn leaks(&self) -> LeakReport {
        self.flush_caches();
        let mut leaks = Vec::new();
        let mut add = |tenant: &super::ledger::Tenant| {
            // Of nobody: freed, but withheld.
            if tenant.size() > 0 {
                leaks.push(Leak { size: tenant.size(), tag: tenant.tag(), site: tenant.site() });
            }
        };
        for slot in self.heaps.slots() {
            slot.with(|open| open.tenants().for_each(&mut add));
        }
        self.fallback.for_each_tenant(add);
        let totals = self.totals();
        LeakReport { acquired: totals.allocations, released: totals.deallocations, leaks }
    }
}
