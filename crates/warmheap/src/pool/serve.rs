//! Answering a request that this thread's cache could not: depot, heaps, the ladder, the device.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, Release};

use arrayvec::ArrayVec;

use super::account::UpTo;
use super::boxed::Boxed;
use super::classes::{LARGEST, class_of, len_of};
use super::counters::Totals;
use super::error::{AllocError, OutOfMemory};
use super::heap::{Heap, Open};
use super::heaps::Want;
use super::home::OwnHeaps;
use super::ladder::{Fall, Step};
use super::local::{self, Local, Own, Session};
use super::lock;
use super::notes::Note;
use super::range::{EXACT, Range};
use super::request::Request;
use super::shared::Shared;
use super::site::Site;
use crate::config::Scrub;
use crate::device::{DeviceError, Memory};

/// The most ranges cut at once for a small class, and the most granules of them. The request waits for
/// them all.
const BATCH: u32 = 4;
const BATCH_LEN: u32 = 1024;

impl Shared {
    /// Answers a request by any means it allows.
    #[inline(never)]
    pub(crate) fn serve(
        &self,
        request: &Request,
        site: Site,
        may_fall_back: bool,
    ) -> Result<Range, AllocError> {
        if self.quotas.cover(request.tag) {
            return self.serve_metered(request, site, may_fall_back);
        }
        self.serve_unmetered(request, site, may_fall_back)
    }

    /// As [`Shared::serve`], under the quota of the request's tag.
    #[cold]
    fn serve_metered(&self, request: &Request, site: Site, may_fall_back: bool) -> Result<Range, AllocError> {
        self.process.check()?;
        let charge = self.quotas.charge(request.tag, request.size, 0).inspect_err(|_| {
            self.failures.fetch_add(1, Relaxed);
        })?;
        let mut range = self.serve_unmetered(request, site, may_fall_back)?;
        if let Some(charge) = charge {
            range.meter();
            charge.settle();
        }
        Ok(range)
    }

    /// As [`Shared::serve`], past this thread's own and whatever the tag.
    #[inline]
    fn serve_unmetered(
        &self,
        request: &Request,
        site: Site,
        may_fall_back: bool,
    ) -> Result<Range, AllocError> {
        let align = self.check(request)?;
        let want = self.want(request.size, align).filter(|_| self.config.enabled);
        if request.room > 0
            && let Some(range) = want.and_then(|_| self.allocate_growing(request, align))
        {
            return self.speak_and_hand_over(range, request, site, false);
        }
        // Counted in the same visit, unless the device must clear the range first and may fail.
        let counted = !request.zeroed;
        let found = want.and_then(|want| {
            self.session(|session| {
                let range = self.take_from_heaps(session, want)?;
                if self.config.track_statistics && counted {
                    session.local.counters.allocated(request.size, &self.peak);
                }
                Some(range)
            })
        });
        match found {
            Some(range) => {
                if self.grows_ahead {
                    self.grow_ahead();
                    return self.speak_and_hand_over(range, request, site, counted);
                }
                self.hand_over(range, request, site, counted)
            }
            None => self.serve_hard(want, request, align, site, may_fall_back),
        }
    }

    /// The alignment to serve the request at, in bytes.
    #[inline]
    fn check(&self, request: &Request) -> Result<u64, AllocError> {
        if request.size == 0 {
            return Err(AllocError::ZeroSize);
        }
        if request.align != 0 && !request.align.is_power_of_two() {
            return Err(AllocError::BadAlignment { align: request.align });
        }
        Ok(request.align.max(1 << self.shift))
    }

    /// The request in granules; `None` if no heap could ever be that large.
    #[inline]
    pub(crate) fn want(&self, size: u64, align: u64) -> Option<Want> {
        let len = self.granules(size)?;
        let align = u32::try_from(align >> self.shift).ok()?;
        if len > LARGEST || align > 1 {
            return Some(Want { class: EXACT, len, align });
        }
        let class = class_of(len);
        Some(Want { class: class as u16, len: len_of(class), align: 1 })
    }

    /// A range from the depot or a heap that has room.
    #[inline]
    fn take_from_heaps(&self, session: &mut Session<'_>, want: Want) -> Option<Range> {
        if want.class != EXACT {
            // The quick path may have passed by: it does not count new peaks.
            let cached = session.own.cache.pop(want.class.into(), &session.local.held);
            return cached.or_else(|| self.refill(session, want));
        }
        self.cut(&mut session.own.heaps, want, |open| open.allocate(want))
    }

    /// Cuts from the thread's own heap, or from those that all share if it uses them.
    #[inline]
    fn cut(
        &self,
        heaps: &mut OwnHeaps,
        want: Want,
        cut: impl FnMut(&mut Open<'_>) -> Option<Range>,
    ) -> Option<Range> {
        match heaps {
            OwnHeaps::Pair(pair) => self.heaps.at_home(pair.for_class(want.class), cut),
            // The ladder's first rung.
            OwnHeaps::Undecided => None,
            OwnHeaps::Shared => self.heaps.allocate_with(want, cut),
        }
    }

    /// One range of a class, and a few more for this thread's cache.
    fn refill(&self, session: &mut Session<'_>, want: Want) -> Option<Range> {
        let (class, held) = (u32::from(want.class), &session.local.held);
        let Own { cache, heaps } = &mut *session.own;
        cache.set_limit(self.cache_limit());
        let from_depot = |stack: &mut Vec<Range>, most: usize| self.depot.take(class, most, stack);
        if let Some(range) = cache.take_in(class, want.len, held, from_depot) {
            return Some(range);
        }
        let mut more: ArrayVec<Range, { BATCH as usize }> = ArrayVec::new();
        let count = (BATCH_LEN / want.len).clamp(1, BATCH);
        let cut = |open: &mut Open<'_>| open.allocate_some(want, count, |range| more.push(range));
        let range = self.cut(heaps, want, cut);
        for range in more {
            if let Err(refused) = cache.push(range, held) {
                self.release(heaps, [refused]);
            }
        }
        range
    }

    /// The way when no heap has room: make some, or ask the device.
    #[cold]
    #[inline(never)]
    fn serve_hard(
        &self,
        want: Option<Want>,
        request: &Request,
        align: u64,
        site: Site,
        may_fall_back: bool,
    ) -> Result<Range, AllocError> {
        self.process.check()?;
        match self.climb(want, request, align, may_fall_back) {
            Ok(range) => self.hand_over(range, request, site, false),
            Err(fall) => Err(self.out_of_memory(request.size, fall)),
        }
    }

    /// As [`Shared::hand_over`], after the device was asked for memory.
    fn speak_and_hand_over(
        &self,
        range: Range,
        request: &Request,
        site: Site,
        counted: bool,
    ) -> Result<Range, AllocError> {
        let range = self.speak_with(range, counted.then_some(request.size));
        self.hand_over(range, request, site, counted)
    }

    /// Makes a range ready for its holder, and counts it if that is still to do.
    #[inline]
    fn hand_over(
        &self,
        range: Range,
        request: &Request,
        site: Site,
        counted: bool,
    ) -> Result<Range, AllocError> {
        if request.zeroed
            && let Err(error) = self.clear(&range, request.size)
        {
            self.put_back(range);
            self.failures.fetch_add(1, Relaxed);
            return Err(AllocError::Device(Boxed::new(error)));
        }
        range.tenant().moves_in(request.size, request.tag, site);
        if !counted {
            self.count_allocation(request.size, range.is_fallback());
        }
        Ok(range)
    }

    /// Counts a request that was answered, and then that it fell back: in one visit, so that a reset
    /// of statistics has both or neither, and no fallback is seen without its allocation.
    #[inline]
    fn count_allocation(&self, size: u64, fallback: bool) {
        let fell_back = || {
            if fallback {
                self.fallbacks.fetch_add(1, Release);
            }
        };
        if !self.config.track_statistics {
            fell_back();
            return;
        }
        let shard = |local: &Local| {
            local.counters.allocated(size, &self.peak);
            fell_back();
        };
        self.count(shard, |past| {
            past.allocated(size, &self.peak);
            fell_back();
        });
    }

    /// Asks the device for a buffer of its own; what nobody uses makes way for it.
    pub(crate) fn fall_back(&self, size: u64, align: u64) -> Result<Range, DeviceError> {
        self.ladder.tried(Step::Fallback);
        let ask = |up_to| self.fallback.allocate(&self.driver, size, align, up_to);
        let asked = ask(UpTo::Soft).or_else(|error| {
            let Some(_climbing) = self.growth.lock() else { return Err(error) };
            self.make_way(error)?;
            ask(UpTo::Soft)
        });
        // Past the soft limit only once nothing is left to give back.
        let asked = match asked {
            Err(DeviceError::PastLimit { .. }) => ask(UpTo::Hard),
            asked => asked,
        };
        self.ladder.served(Step::Fallback, asked.as_ref().ok());
        let range = asked?;
        if self.config.enabled && self.config.log_exhaustion && self.exhaustion.begins() {
            let fallback_allocations = self.fallbacks.load(Relaxed) + 1;
            self.notes.add(Note::FellBack { size, fallback_allocations });
        }
        Ok(range)
    }

    #[cold]
    fn out_of_memory(&self, requested: u64, Fall { device, waited }: Fall) -> AllocError {
        self.failures.fetch_add(1, Relaxed);
        let (free, largest_free) = self.free_bytes();
        AllocError::OutOfMemory(Boxed::new(OutOfMemory {
            requested,
            free,
            largest_free,
            reserved: self.driver.reserved(),
            in_flight: self.in_flight(),
            waited,
            limit: self.driver.account().most_bytes(),
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

    /// Copies the first `size` bytes of a range to another.
    pub(crate) fn copy(&self, from: &Range, to: &Range, size: u64) -> Result<(), DeviceError> {
        match (self.memory(from), self.memory(to)) {
            (Some((from, at)), Some((to, to_at))) => self.driver.copy((&*from, at), (&*to, to_at), size),
            _ => Ok(()),
        }
    }

    /// The memory a range lies in, and its offset there in bytes.
    pub(crate) fn memory(&self, range: &Range) -> Option<(Arc<dyn Memory>, u64)> {
        let (memory, address) = if range.is_fallback() {
            self.fallback.memory(range)?
        } else {
            self.heaps.slot(range.heap()).with(|open| open.heap().map(Heap::place))?
        };
        Some((memory, range.address - address))
    }

    /// Whether a range that is out is what `request` would be given, as it is: nothing that must be
    /// cleared first, by the request's wish or the settings'.
    pub(crate) fn suits(&self, range: &Range, request: &Request) -> bool {
        let as_is = request.plain && self.config.scrub == Scrub::Never;
        let plain = as_is && request.align <= 1 << self.shift;
        let want = self.check(request).ok().and_then(|align| self.want(request.size, align));
        plain && want.is_some_and(|want| range.serves(want.class, want.len))
    }

    /// Counts a buffer freed and its range allocated again, by the way of a queue.
    pub(crate) fn recount(&self, freed: u64, allocated: u64) {
        if self.config.track_statistics {
            let shard = |local: &Local| {
                local.counters.freed(freed, &self.peak);
                local.counters.allocated(allocated, &self.peak);
            };
            self.count(shard, |past| {
                past.freed(freed, &self.peak);
                past.allocated(allocated, &self.peak);
            });
        }
    }

    /// Works inside this thread's cache, attaching it first if need be. `None` if the thread can
    /// have no cache, or another thread is at it now, or the work yields nothing.
    #[inline]
    pub(crate) fn session<R>(&self, mut work: impl FnMut(&mut Session<'_>) -> Option<R>) -> Option<R> {
        match local::enter(self, |mut session| work(&mut session)) {
            Some(done) => done,
            None if local::attach(self) => local::enter(self, |mut session| work(&mut session))?,
            None => None,
        }
    }

    /// Works on a heap: as its owner, if this thread is.
    pub(crate) fn open<R>(&self, heap: u16, mut work: impl FnMut(&mut Open<'_>) -> R) -> R {
        let slot = self.heaps.slot(heap);
        let at_home = local::enter(self, |mut session| {
            session.own.heaps.at(heap).map(|own| slot.at_home(own, &mut work))
        });
        at_home.flatten().unwrap_or_else(|| slot.with(work))
    }

    /// Counts on this thread's shard, or among the past if the thread has none.
    #[inline]
    pub(crate) fn count(&self, shard: impl Fn(&Local), past: impl FnOnce(&mut Totals)) {
        let counted = self.session(|session| {
            shard(session.local);
            Some(())
        });
        if counted.is_none() {
            past(&mut lock(&self.past));
        }
    }
}
