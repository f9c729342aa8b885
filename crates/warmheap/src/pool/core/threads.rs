//! The calling thread's part of a pool: entering it, and threads that come and go.
//!
//! The module owns how a thread enters its thread state, and how the state ends. It never lets another thread
//! enter a heap as its owner.
#![forbid(unsafe_code)]

use std::iter;
use std::sync::atomic::Ordering;
use std::sync::atomic::Ordering::Release;
use std::sync::{Arc, Weak};

use crate::pool::accounting::counters::{Counters, Totals};
use crate::pool::cache::thread_state;
use crate::pool::cache::thread_state::{CacheGuard, ThreadState, Threads};
use crate::pool::core::Core;
use crate::pool::heaps::arena_guard::ArenaGuard;
use crate::pool::heaps::thread_owned::OwnArenas;
use crate::sync::lock;

impl Core {
    /// Ends a thread state: its spans go back, its counts are kept, and its heaps are free for a later
    /// thread.
    pub(crate) fn absorb(&self, local: &ThreadState) {
        let _kept_out = local.end(&self.heaps);
        local.counters.publish(&self.peak);
        let mut past = lock(&self.past);
        *past = Totals::of(&past, iter::once(&local.counters));
    }

    /// Where this thread's own heaps are, if it has any.
    pub(crate) fn own_arenas(&self) -> Option<OwnArenas> {
        self.session(|session| session.own.heaps.places())
    }

    /// The arena that this thread cuts from first, if it owns none.
    pub(crate) fn residence(&self) -> Option<u16> {
        thread_state::enter(self, |session| session.own.heaps.residence()).flatten()
    }

    /// Whether another thread owns this heap. `own` names the heaps of the calling thread.
    pub(crate) fn is_others(&self, heap: u16, own: Option<OwnArenas>) -> bool {
        self.heaps.arena(heap).is_owned() && !own.is_some_and(|own| own.owns(heap))
    }

    /// Whether spans of a class lie in this heap. If threads have heaps of their own, they lie in one heap of
    /// each pair.
    pub(crate) fn is_for_class(&self, heap: u16, class: u16) -> bool {
        let pair = heap & !1;
        !self.sizing.has_thread_heaps() || OwnArenas { large: pair, small: pair + 1 }.for_class(class) == heap
    }

    /// Counts a request that was served, and then its fallback. Both happen in one visit: a reset of
    /// statistics sees both or neither, and no fallback is seen without its allocation.
    #[inline]
    pub(crate) fn count_allocation(&self, size: u64, fallback: bool) {
        let fell_back = || {
            if fallback {
                self.fallbacks.fetch_add(1, Release);
            }
        };
        if !self.config.track_statistics {
            fell_back();
            return;
        }
        let shard = |local: &ThreadState| {
            local.counters.allocated(size, &self.peak);
            fell_back();
        };
        self.count(shard, |past| {
            past.allocated(size, &self.peak);
            fell_back();
        });
    }

    /// Counts a buffer as freed and its span as allocated again, by early reuse.
    pub(crate) fn recount(&self, freed: u64, allocated: u64) {
        if self.config.track_statistics {
            let shard = |local: &ThreadState| {
                local.counters.freed(freed, &self.peak);
                local.counters.allocated(allocated, &self.peak);
            };
            self.count(shard, |past| {
                past.freed(freed, &self.peak);
                past.allocated(allocated, &self.peak);
            });
        }
    }

    /// Runs `work` inside this thread's cache, and creates its thread state first if need be. Returns `None`
    /// if the thread can have no cache, if another thread is in it now, or if `work` returns nothing.
    #[inline]
    pub(crate) fn session<R>(&self, mut work: impl FnMut(&mut CacheGuard<'_>) -> Option<R>) -> Option<R> {
        match thread_state::enter(self, |mut session| work(&mut session)) {
            Some(done) => done,
            None if thread_state::attach(self) => {
                thread_state::enter_fenced(self, |mut session| work(&mut session))?
            }
            None => None,
        }
    }

    /// Runs `work` on a heap, as its owner if this thread is that.
    pub(crate) fn open<R>(&self, heap: u16, mut work: impl FnMut(&mut ArenaGuard<'_>) -> R) -> R {
        let arena = self.heaps.arena(heap);
        let as_owner = thread_state::enter(self, |mut session| {
            session.own.heaps.at(heap).map(|own| arena.as_owner(own, &mut work))
        });
        as_owner.flatten().unwrap_or_else(|| arena.with(work))
    }

    /// Counts on this thread's shard, or with the counts of threads that are gone if the thread has none.
    #[inline]
    pub(crate) fn count(&self, shard: impl Fn(&ThreadState), past: impl FnOnce(&mut Totals)) {
        let counted = self.session(|session| {
            shard(session.local);
            Some(())
        });
        if counted.is_none() {
            past(&mut lock(&self.past));
        }
    }
}

impl Threads for Core {
    fn new_local(&self) -> Option<Arc<ThreadState>> {
        let mut locals = lock(&self.locals);
        if self.closed.load(Ordering::SeqCst) {
            return None;
        }
        let counters = Counters::new(self.largest_class, self.config.track_statistics);
        let local =
            Arc::new(ThreadState::new(self.me.clone() as Weak<dyn Threads>, self.cache_limit(), counters));
        locals.push(Arc::clone(&local));
        Some(local)
    }

    fn is_here(&self) -> bool {
        self.process.is_current()
    }

    fn detach(&self, local: &Arc<ThreadState>) {
        let mut locals = lock(&self.locals);
        let Some(place) = locals.iter().position(|known| Arc::ptr_eq(known, local)) else { return };
        self.absorb(local);
        locals.swap_remove(place);
    }
}
