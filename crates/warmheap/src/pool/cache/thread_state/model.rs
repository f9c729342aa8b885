//! Thread states and their heaps, under the interleavings that loom produces. Threads adopt the heaps, work on
//! them, leave them and pass them on. Other threads free, and end a thread state from outside.
//!
//! The locks, the inboxes and the metadata of two heaps are the real ones. Only the pool around them is
//! missing. A lost span stays used, a span that is cut twice has an address twice, and loom finds two threads
//! in the metadata of one heap. Run as `sync/model.rs` says.

use std::sync::{Arc as StdArc, Weak};

use loom::sync::Arc;
use loom::thread;

use super::{ThreadState, Threads};
use crate::config::Strategy;
use crate::device::sim::SimDevice;
use crate::device::{Device, HeapRequest};
use crate::pool::accounting::counters::Counters;
use crate::pool::accounting::device_calls::Held;
use crate::pool::heaps::arena_guard::{ArenaGuard, Heap};
use crate::pool::heaps::span::{EXACT, Span, SpanRequest};
use crate::pool::heaps::table::HeapTable;
use crate::pool::heaps::thread_owned::{OwnHeaps, Pair};
use crate::sync::model::model;

/// log2 of a granule's bytes, and granules in a heap.
const SHIFT: u32 = 8;
const LEN: u32 = 8;
const WANT: SpanRequest = SpanRequest { class: EXACT, len: 1, align: 1 };

/// The pool around a thread state, which these programs do without.
#[derive(Debug)]
struct NoPool;

impl Threads for NoPool {
    fn new_local(&self) -> Option<StdArc<ThreadState>> {
        None
    }

    fn is_here(&self) -> bool {
        true
    }

    fn detach(&self, _: &StdArc<ThreadState>) {}
}

/// Two heaps side by side, as threads have them.
fn heaps() -> Arc<HeapTable> {
    let sim = SimDevice::new();
    let heaps = HeapTable::new(2, SHIFT, Strategy::BestFit);
    for place in 0..2 {
        let size = u64::from(LEN) << SHIFT;
        let request = HeapRequest::fixed(size, "");
        let memory = sim.create_heap(&request).unwrap();
        let held = Held { address: memory.device_address(), size, memory: memory.into() };
        heaps.install(place, Heap::new(LEN, held, false)).unwrap();
    }
    Arc::new(heaps)
}

/// The calling thread's state, with heaps of its own if no thread has them.
fn share(heaps: &HeapTable) -> Arc<ThreadState> {
    let local = ThreadState::new(Weak::<NoPool>::new() as Weak<dyn Threads>, 64, Counters::new(0, false));
    if let Some(pair) = Pair::adopt(heaps.arena(0), heaps.arena(1)) {
        local.own.take().heaps = OwnHeaps::Pair(pair);
    }
    Arc::new(local)
}

/// Cuts a span as a request on this thread does, from its own heap or from those that all threads share.
fn cut(heaps: &HeapTable, local: &ThreadState) -> Span {
    let work = |open: &mut ArenaGuard<'_>| open.allocate(WANT).expect("the heap has room");
    // SAFETY: each thread state is used by the one thread that made it, which is not inside now.
    let own = unsafe { local.own.enter_as_owner() };
    match own {
        Some(mut own) => match own.heaps.large() {
            Some(large) => heaps.as_owner(large, work),
            None => heaps.arena(0).with(work),
        },
        None => heaps.arena(0).with(work),
    }
}

#[track_caller]
fn assert_apart(spans: &[&Span]) {
    for (place, span) in spans.iter().enumerate() {
        assert!(spans[..place].iter().all(|other| other.address != span.address), "cut twice: {span:?}");
    }
}

/// Gives spans back and looks whether any is missing.
fn assert_all_come_back(heaps: &HeapTable, spans: impl IntoIterator<Item = Span>) {
    heaps.release(spans);
    for arena in heaps.arenas() {
        let used = arena.with(|open| open.space().used_blocks());
        assert_eq!((used, arena.levels().free), (0, LEN), "spans lost, granules free");
    }
}

#[test]
fn a_closing_pool_takes_the_heaps_from_a_thread_that_goes_on() {
    model(|| {
        let heaps = heaps();
        let local = share(&heaps);
        let first = cut(&heaps, &local);
        let closer = {
            let (heaps, local) = (Arc::clone(&heaps), Arc::clone(&local));
            thread::spawn(move || {
                drop(local.end(&heaps));
                // As other threads do with what the pool leaves behind.
                cut_as_anybody(&heaps)
            })
        };
        heaps.release([first]);
        let second = cut(&heaps, &local);
        let third = closer.join().unwrap();
        let fourth = cut(&heaps, &local);
        assert_apart(&[&second, &third, &fourth]);
        assert!(!heaps.arena(0).is_owned() && local.own.take().heaps.places().is_none());
        assert_all_come_back(&heaps, [second, third, fourth]);
    });
}

fn cut_as_anybody(heaps: &HeapTable) -> Span {
    heaps.arena(0).with(|open| open.allocate(WANT).expect("the heap has room"))
}

#[test]
fn heaps_pass_from_one_thread_to_the_next() {
    model(|| {
        let heaps = heaps();
        let life = |heaps: &HeapTable| {
            let local = share(heaps);
            let span = cut(heaps, &local);
            drop(local.end(heaps));
            span
        };
        let other = {
            let heaps = Arc::clone(&heaps);
            thread::spawn(move || life(&heaps))
        };
        let mine = life(&heaps);
        let others = other.join().unwrap();
        assert_apart(&[&mine, &others]);
        assert_all_come_back(&heaps, [mine, others]);
    });
}

#[test]
fn what_others_free_comes_back_although_the_owner_leaves() {
    model(|| {
        let heaps = heaps();
        let local = share(&heaps);
        let free = |span: Span| {
            let heaps = Arc::clone(&heaps);
            thread::spawn(move || heaps.release([span]))
        };
        let threads = [cut(&heaps, &local), cut(&heaps, &local)].map(free);
        let last = cut(&heaps, &local);
        drop(local.end(&heaps));
        for thread in threads {
            thread.join().unwrap();
        }
        assert_all_come_back(&heaps, [last]);
    });
}
