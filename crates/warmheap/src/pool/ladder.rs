//! What is tried when no heap has room, cheapest first; and how often each step was tried and served.
//!
//! 1. *retired*: buffers whose work on a queue has completed
//! 2. *caches*: ranges that threads hold back for themselves
//! 3. *empty heaps*: heaps at rest are claimed back
//! 4. *compaction*: movable buffers make room, a step's worth, if the settings let the pool do so
//! 5. *growth*: memory from the device, for a heap; what nobody uses makes way for it
//! 6. *fallback*: memory from the device, for this request alone
//! 7. *wait*: for work in flight, as long as the request or the settings allow
//! 8. *callbacks*: the program is asked to free something
//!
//! Then the request fails, with the figures. One thread at a time climbs to the fifth step; the
//! others wait for it and look again. No lock is held in the last two, nor while buffers are moved. The device is never called
//! under a heap's lock, so frees and hits go on meanwhile.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::account::UpTo;
use super::buffer::Buffer;
use super::cache::Cache;
use super::heaps::Want;
use super::home::Home;
use super::local::Local;
use super::lock;
use super::notes::Note;
use super::pressure::Pressure;
use super::range::{EXACT, Range};
use super::request::Request;
use super::shared::Shared;
use super::timeline::Timeline;
use crate::device::DeviceError;
use crate::stats;
use crate::sync::Holding;

/// With several queues to wait for, how long one is waited for before the next is.
const SLICE: Duration = Duration::from_micros(500);

/// A step of the ladder.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    Retired,
    Caches,
    EmptyHeaps,
    Compaction,
    Growth,
    Fallback,
    Wait,
    Callbacks,
}

/// How often each step was tried, and how often it served.
#[derive(Debug, Default)]
pub(crate) struct Ladder([[AtomicU64; 2]; 8]);

impl Ladder {
    /// Notes that a step was tried.
    pub(crate) fn tried(&self, step: Step) {
        self.0[step as usize][0].fetch_add(1, Relaxed);
    }

    /// Notes that a step was tried before and has served, if it has.
    pub(crate) fn served<T>(&self, step: Step, found: Option<T>) -> Option<T> {
        if found.is_some() {
            self.0[step as usize][1].fetch_add(1, Relaxed);
        }
        found
    }

    pub(crate) fn reset(&self) {
        self.0.iter().flatten().for_each(|counter| counter.store(0, Relaxed));
    }

    pub(crate) fn snapshot(&self) -> stats::SlowPath {
        let step = |step: Step| {
            let [tried, served] = &self.0[step as usize];
            let tried = tried.load(Relaxed);
            // A step that was tried before a reset, or after the first reading, may have served since.
            stats::Stage { tried, served: served.load(Relaxed).min(tried) }
        };
        stats::SlowPath {
            retired: step(Step::Retired),
            caches: step(Step::Caches),
            purgeable: step(Step::EmptyHeaps),
            compaction: step(Step::Compaction),
            growth: step(Step::Growth),
            fallback: step(Step::Fallback),
            wait: step(Step::Wait),
            callbacks: step(Step::Callbacks),
        }
    }
}

/// How a climb ended without a range.
#[derive(Debug)]
pub(crate) struct Fall {
    /// The device's last answer; `None` if the request ruled fallback out.
    pub(crate) device: Option<DeviceError>,
    /// How long the request waited.
    pub(crate) waited: Duration,
}

impl Shared {
    /// Climbs the ladder for a request until a range is found or nothing is left to try.
    #[cold]
    pub(crate) fn climb(
        &self,
        want: Option<Want>,
        request: &Request,
        align: u64,
        may_fall_back: bool,
    ) -> Result<Range, Fall> {
        let begun = Instant::now();
        let patience = request.patience().unwrap_or(self.config.wait);
        let (mut reached, mut asked) = (None, false);
        loop {
            let found = want.and_then(|want| self.make_available(want));
            let within = self.is_within_call().then_some(DeviceError::WithinCall { call: "Pool::allocate" });
            let (found, device) = match found {
                None if may_fall_back => match self.fall_back(request.size, align) {
                    Ok(range) => (Some(range), None),
                    Err(error) => (None, Some(within.unwrap_or(error))),
                },
                found => (found, within),
            };
            if let Some(step) = reached {
                self.ladder.served(step, found.as_ref());
            }
            if let Some(range) = found {
                return Ok(self.speak_with(range, None));
            }
            self.speak();
            if self.wait_for_queues(begun, patience) {
                reached = Some(Step::Wait);
            } else if !asked && self.ask_for_help(request.size) {
                (reached, asked) = (Some(Step::Callbacks), true);
            } else {
                let waited = if patience.is_zero() { patience } else { begun.elapsed() };
                return Err(Fall { device, waited });
            }
        }
    }

    /// Becomes the one thread that makes memory available, once others are done. `call` is for the
    /// error.
    ///
    /// # Errors
    /// [`DeviceError::WithinCall`] if this thread is that one already: the device has called.
    pub(crate) fn climb_alone(&self, call: &'static str) -> Result<Holding<'_>, DeviceError> {
        self.growth.lock().ok_or(DeviceError::WithinCall { call })
    }

    /// Whether this thread is inside a call of the device that keeps others waiting.
    pub(crate) fn is_within_call(&self) -> bool {
        self.growth.is_held_here() || self.compactor.is_held_here()
    }

    /// Finds room in heaps, or makes some.
    pub(crate) fn make_available(&self, want: Want) -> Option<Range> {
        if self.move_in()
            && let Some(range) = self.search(want)
        {
            return Some(range);
        }
        // What has come back from queues since anyone looked is the cheapest memory there is.
        self.ladder.tried(Step::Retired);
        if self.poll_queues()
            && let Some(range) = self.ladder.served(Step::Retired, self.search(want))
        {
            return Some(range);
        }
        let mut climbing = self.growth.lock()?;
        // Whoever climbed before may have left room for both.
        if let Some(range) = self.search(want) {
            return Some(range);
        }
        self.ladder.tried(Step::Caches);
        if let Some(range) = self.search_caches(want) {
            return Some(range);
        }
        self.ladder.tried(Step::EmptyHeaps);
        while self.wake(want) {
            if let Some(range) = self.ladder.served(Step::EmptyHeaps, self.search(want)) {
                return Some(range);
            }
        }
        if self.may_compact_for(want) {
            drop(climbing);
            self.ladder.tried(Step::Compaction);
            if self.compact_unless_busy()
                && let Some(range) = self.ladder.served(Step::Compaction, self.search(want))
            {
                return Some(range);
            }
            climbing = self.growth.lock()?;
        }
        self.ladder.tried(Step::Growth);
        let grown = self.ladder.served(Step::Growth, self.grow_and_search(want));
        drop(climbing);
        grown
    }

    /// Grows until there is room, or until neither settings nor device allow more.
    fn grow_and_search(&self, want: Want) -> Option<Range> {
        let mut up_to = UpTo::Soft;
        loop {
            match self.grow(want, up_to) {
                Ok(true) => {}
                Ok(false) => return self.search_everywhere(want),
                Err(error) => {
                    self.notes.add(Note::CouldNotGrow(error.clone()));
                    // What is free in others' heaps may do as it lies; else it may make way.
                    let found = self.search_everywhere(want);
                    if found.is_some() {
                        return found;
                    }
                    match self.make_way(error) {
                        Ok(()) => {}
                        // Past the soft limit only once nothing is left to give back.
                        Err(DeviceError::PastLimit { .. }) if up_to == UpTo::Soft => up_to = UpTo::Hard,
                        Err(_) => return None,
                    }
                }
            }
            if let Some(range) = self.search(want) {
                return Some(range);
            }
        }
    }

    /// Looks in this thread's own heap, or in all if it has none.
    fn search(&self, want: Want) -> Option<Range> {
        let home = self.home();
        let at_home = |home: Home| self.open(home.for_class(want.class), |open| open.allocate(want));
        if let Some(range) = home.and_then(at_home) {
            return Some(range);
        }
        // What is free in others' heaps is not for this thread while its own can grow: it can have
        // the pages without the addresses.
        if home.is_some() {
            return None;
        }
        self.heaps.refresh_hints();
        self.heaps.allocate(want)
    }

    /// Looks again with caches given up: this thread's own first, then those of others if they could
    /// be enough. What would go back to another heap than the one to cut from stays where it is;
    /// growth gives it up if it is short of pages.
    fn search_caches(&self, want: Want) -> Option<Range> {
        let home = self.home();
        let own = home.is_none() || want.class != EXACT;
        // Bit by bit, the coldest first: what is used all the time would be missed at once.
        while own && self.shed_own_cache() {
            if let Some(range) = self.ladder.served(Step::Caches, self.search(want)) {
                return Some(range);
            }
        }
        let all = home.is_none() && self.cached() >= want.len.into() && self.flush_caches();
        let range = if all { self.search(want) } else { None };
        self.ladder.served(Step::Caches, range)
    }

    /// Looks in all heaps, whoever's they are, with every cache given up.
    fn search_everywhere(&self, want: Want) -> Option<Range> {
        self.flush_caches();
        self.heaps.refresh_hints();
        self.heaps.allocate(want)
    }

    /// Gives every cached range back to its heap, and what can be cleared by now. `false` if there
    /// was none.
    pub(crate) fn flush_caches(&self) -> bool {
        let mut any = self.clear_withheld() || self.depot.held() > 0;
        self.heaps.release(self.depot.empty());
        any |= self.flush_own_cache();
        for local in &*lock(&self.locals) {
            if local.held.load(Relaxed) > 0 {
                any = true;
                self.give_up(local);
            }
        }
        any
    }

    /// Gives what a thread has cached back to the heaps, whichever thread that is.
    pub(crate) fn give_up(&self, local: &Local) {
        let ranges = local.own.take().cache.empty(&local.held);
        self.heaps.release(ranges);
    }

    /// Gives what this thread has cached back to its heaps, without disturbing anyone. `false` if
    /// that was nothing.
    pub(crate) fn flush_own_cache(&self) -> bool {
        self.give_up_own(Cache::empty)
    }

    /// As [`Shared::flush_own_cache`], a part of it.
    fn shed_own_cache(&self) -> bool {
        self.give_up_own(Cache::shed)
    }

    fn give_up_own(&self, part: impl Fn(&mut Cache, &AtomicU64) -> Vec<Range>) -> bool {
        let given_up = self.session(|session| {
            let ranges = part(&mut session.own.cache, &session.local.held);
            let any = !ranges.is_empty();
            self.release(&mut session.own.heaps, ranges);
            any.then_some(())
        });
        given_up.is_some()
    }

    /// Keeps a queue in mind, as long as somebody else does.
    pub(crate) fn watch(&self, timeline: &Arc<Timeline<Buffer>>) {
        let mut timelines = lock(&self.timelines);
        timelines.retain(|known| known.strong_count() > 0);
        timelines.push(Arc::downgrade(timeline));
    }

    /// The queues that are in use.
    pub(crate) fn queues(&self) -> Vec<Arc<Timeline<Buffer>>> {
        let known: Vec<_> = lock(&self.timelines).iter().filter_map(Weak::upgrade).collect();
        known.into_iter().chain(self.left.lists()).collect()
    }

    /// Frees what has completed on any queue; `true` if that was something. A lost queue has
    /// nothing to give, and says so to those who poll it.
    pub(crate) fn poll_queues(&self) -> bool {
        let freed = |queue: &Arc<Timeline<Buffer>>| queue.poll(usize::MAX).unwrap_or(0);
        let freed = self.queues().iter().map(freed).sum::<usize>();
        self.left.tidy() || freed > 0
    }

    /// Requested bytes that wait for queues.
    pub(crate) fn in_flight(&self) -> u64 {
        self.queues().iter().map(|queue| queue.bytes()).fold(0, u64::saturating_add)
    }

    /// Waits until some queue has freed something; `false` if the time is up or no queue will.
    fn wait_for_queues(&self, begun: Instant, patience: Duration) -> bool {
        // Within a call of the device others wait for this thread.
        if patience.is_zero() || self.is_within_call() {
            return false;
        }
        self.ladder.tried(Step::Wait);
        let left = || (begun + patience).saturating_duration_since(Instant::now());
        loop {
            let mut waiting = self.queues();
            waiting.retain(|queue| queue.bytes() > 0);
            let slice = if waiting.len() == 1 { Duration::MAX } else { SLICE };
            let mut alive = false;
            for queue in waiting {
                match queue.wait(Instant::now() + left().min(slice)) {
                    Ok(true) => return true,
                    // Emptied by someone else meanwhile.
                    Ok(false) if queue.bytes() == 0 => return true,
                    Ok(false) => alive = true,
                    // A lost queue: its memory does not come back while anyone holds it.
                    Err(_) => {}
                }
            }
            if !alive || left().is_zero() {
                return false;
            }
        }
    }

    /// Calls the program's callbacks because a request is about to fail; `false` if there are none.
    fn ask_for_help(&self, requested: u64) -> bool {
        let called = !self.is_within_call() && self.callbacks.call(Pressure::Exhausted { requested });
        if called {
            self.ladder.tried(Step::Callbacks);
        }
        called
    }

    /// Tells the program that a soft limit has been crossed, if it has. No lock is held.
    pub(crate) fn tell_of_soft_limit(&self) {
        let account = self.driver.account();
        if account.crossed() {
            let (reserved, objects) = (account.bytes(), account.objects());
            tracing::warn!(reserved, objects, "more is held from the device than the soft limit says");
            self.callbacks.call(Pressure::SoftLimit { reserved, objects });
        }
    }
}
