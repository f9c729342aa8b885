//! Limits on what the pool holds from the device. The pool never exceeds them, and tells the program when it
//! reaches a soft one.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;

use warmheap::config::{Limits, MIB, Scrub};
use warmheap::device::DeviceError;
use warmheap::device::sim::{Call, SimDevice};
use warmheap::{AllocError, Buffer, Pool, PoolConfig, Pressure, Request, StartError};

use crate::support::foreign::Hooked;
use crate::support::{assert_all_back, fixed, ways};

fn hard(bytes: u64) -> Limits {
    Limits::default().with_hard_bytes(bytes)
}

fn soft(bytes: u64) -> Limits {
    Limits::default().with_soft_bytes(bytes)
}

#[test]
fn a_start_that_would_pass_a_hard_limit_says_which_and_gives_all_back() {
    let sim = SimDevice::new();
    let start = |limits| Pool::new(Arc::new(sim.clone()), fixed(4, 8 * MIB).with_limits(limits)).unwrap_err();
    match start(hard(20 * MIB)) {
        StartError::Heap { number: 3, heaps: 4, source, .. } => assert_eq!(
            source,
            DeviceError::PastLimit {
                key: "limits.hard_mb",
                requested: 8 * MIB,
                held: 16 * MIB,
                limit: 20 * MIB
            }
        ),
        error => panic!("{error}"),
    }
    let error = start(Limits::default().with_hard_objects(2)).to_string();
    assert!(error.contains("limits.hard_objects allows 2 device objects, of which 2 are held"), "{error}");
    assert_all_back(&sim);
}

#[test]
fn the_devices_budget_can_be_the_limit() {
    let limits = Limits::default().with_device_budget(true).with_hard_bytes(100 * MIB);
    let tight = Arc::new(SimDevice::new().budget(20 * MIB));
    let error = Pool::new(tight, fixed(4, 8 * MIB).with_limits(limits)).unwrap_err().to_string();
    assert!(error.contains("limits.device_budget allows 20971520 bytes"), "{error}");
    // The other limit holds where the device names no budget, or a larger one.
    let error = Pool::new(Arc::new(SimDevice::new()), fixed(16, 8 * MIB).with_limits(limits)).unwrap_err();
    assert!(error.to_string().contains("limits.hard_mb allows"), "{error}");
}

/// Threads request more than the limit allows, on every kind of pool.
#[test]
fn a_hard_limit_is_never_exceeded_and_can_be_used_up() {
    let elastic = PoolConfig::elastic();
    let growing = fixed(1, 8 * MIB).with_dynamic_growth(true).with_max_heaps(8);
    for (sim, config) in [
        (SimDevice::new(), elastic.clone()),
        (SimDevice::new().discrete(), elastic),
        (SimDevice::new().discrete(), growing),
    ] {
        let most = 40 * MIB;
        let limits = hard(most).with_hard_objects(12).with_soft_bytes(24 * MIB);
        let pool = Pool::new(Arc::new(sim.clone()), config.with_limits(limits)).unwrap();
        let refused = AtomicU64::new(0);
        std::thread::scope(|scope| {
            let work = |seed| {
                let (pool, refused) = (&pool, &refused);
                scope.spawn(move || {
                    let mut random = fastrand::Rng::with_seed(seed);
                    let mut held = Vec::new();
                    for _ in 0..3_000 {
                        match pool.allocate(random.u64(1..6 * MIB)) {
                            Ok(buffer) => held.push(buffer),
                            Err(AllocError::OutOfMemory(error)) => {
                                assert_eq!(error.limit(), Some(40 * MIB));
                                refused.fetch_add(1, SeqCst);
                                held.truncate(held.len() / 2);
                            }
                            Err(error) => panic!("{error}"),
                        }
                    }
                })
            };
            let threads: Vec<_> = (0..3).map(work).collect();
            // The end of a scope does not wait for what its threads do when they end.
            threads.into_iter().for_each(|thread| thread.join().unwrap());
        });
        assert!(sim.peak_bytes() <= most && sim.peak_objects() <= 12);
        assert!(pool.peak_reserved_bytes() <= most);
        assert!(refused.load(SeqCst) > 0, "nothing was refused");
        assert_eq!(pool.reserved_bytes(), sim.live_bytes());
        assert_eq!(pool.reserved_objects(), sim.live_objects());
        // A request can have all of it, in one piece unless heaps are in the way.
        drop(pool.allocate(30 * MIB).or_else(|_| pool.allocate(7 * MIB)).unwrap());
        drop(pool);
        assert_all_back(&sim);
    }
}

#[test]
fn what_is_free_goes_back_before_a_soft_limit_is_crossed() {
    for sim in [SimDevice::new(), SimDevice::new().discrete()] {
        let pool =
            Pool::new(Arc::new(sim.clone()), PoolConfig::elastic().with_limits(soft(72 * MIB))).unwrap();
        let told = Arc::new(Mutex::new(Vec::new()));
        pool.on_pressure({
            let told = Arc::clone(&told);
            move |_, pressure| told.lock().unwrap().push(pressure)
        });
        // Each of these fits alone. They would not fit together.
        for size in [60 * MIB, 65 * MIB, 70 * MIB] {
            drop(pool.allocate(size).unwrap());
            assert!(sim.live_bytes() <= 72 * MIB);
        }
        assert_eq!(pool.statistics().soft_limit_crossings, 0);
        assert!(told.lock().unwrap().is_empty());
        // Nothing is left to give back here.
        let held: Vec<_> = (0..2).map(|_| pool.allocate(60 * MIB).unwrap()).collect();
        assert!(pool.reserved_bytes() >= 120 * MIB);
        assert_eq!(pool.statistics().soft_limit_crossings, 1);
        let seen = std::mem::take(&mut *told.lock().unwrap());
        assert!(
            matches!(seen[..], [Pressure::SoftLimit { reserved, .. }] if reserved >= 120 * MIB),
            "{seen:?}"
        );
        // The pool tells of it once, until the figure is below the limit again.
        let more = pool.allocate(40 * MIB).unwrap();
        assert_eq!(pool.statistics().soft_limit_crossings, 1);
        drop((held, more));
        pool.trim(0).unwrap();
        drop((pool.allocate(60 * MIB).unwrap(), pool.allocate(60 * MIB).unwrap()));
        let _held: Vec<_> = (0..2).map(|_| pool.allocate(60 * MIB).unwrap()).collect();
        assert_eq!(pool.statistics().soft_limit_crossings, 2);
    }
}

#[test]
fn objects_are_limited_too() {
    let limits = Limits::default().with_soft_objects(2).with_hard_objects(4);
    let sim = SimDevice::new();
    let pool = Pool::new(Arc::new(sim.clone()), fixed(1, 8 * MIB).with_limits(limits)).unwrap();
    let mut held: Vec<_> = (0..3).map(|_| pool.allocate(9 * MIB).unwrap()).collect();
    assert_eq!((pool.reserved_objects(), pool.statistics().soft_limit_crossings), (4, 1));
    let Err(AllocError::OutOfMemory(error)) = pool.allocate(9 * MIB) else { panic!("a fifth object") };
    assert!(
        matches!(error.device(), Some(DeviceError::PastLimit { key: "limits.hard_objects", .. })),
        "{error}"
    );
    held.pop();
    pool.allocate(9 * MIB).unwrap();
}

/// The callback makes every call that could deadlock if the pool held a lock.
#[test]
fn callbacks_may_free_trim_allocate_and_register() {
    let sim = SimDevice::new();
    let config = PoolConfig::elastic().with_limits(hard(32 * MIB).with_soft_bytes(16 * MIB));
    let pool = Pool::new(Arc::new(sim), config).unwrap();
    let cache = Arc::new(Mutex::new(Vec::new()));
    let calls = Arc::new(Mutex::new(Vec::new()));
    pool.on_pressure({
        let (cache, calls) = (Arc::clone(&cache), Arc::clone(&calls));
        move |pool, pressure| {
            calls.lock().unwrap().push(pressure);
            if matches!(pressure, Pressure::Exhausted { .. }) {
                cache.lock().unwrap().clear();
                // This runs short of memory itself, and is not called for that.
                assert!(pool.allocate(64 * MIB).is_err());
            }
            pool.trim(0).unwrap();
            let _ = pool.statistics();
            pool.on_pressure(|_, _| ());
        }
    });
    for _ in 0..3 {
        let buffer = pool.allocate(10 * MIB).unwrap();
        cache.lock().unwrap().push(buffer);
    }
    assert_eq!(calls.lock().unwrap().len(), 1);
    let buffer = pool.allocate(20 * MIB).unwrap();
    assert!(cache.lock().unwrap().is_empty());
    assert!(calls.lock().unwrap().contains(&Pressure::Exhausted { requested: 20 * MIB }));
    let slow_path = pool.statistics().slow_path;
    assert_eq!((slow_path.callbacks.tried, slow_path.callbacks.served), (1, 1));
    drop(buffer);
    // Several threads meet the limit at once.
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..200 {
                    if let Ok(buffer) = pool.allocate(11 * MIB) {
                        cache.lock().unwrap().push(buffer);
                    }
                }
            });
        }
    });
    assert!(pool.peak_reserved_bytes() <= 32 * MIB);
}

#[test]
fn a_callback_does_not_keep_its_pool_open() {
    let sim = SimDevice::new();
    let pool = Pool::new(Arc::new(sim.clone()), fixed(2, 8 * MIB)).unwrap();
    let kept = pool.allocate(MIB).unwrap();
    pool.on_pressure(move |pool, _| assert!(pool.reserved_bytes() > kept.size()));
    assert!(pool.allocate(Request::new(9 * MIB).no_fallback()).is_err());
    drop(pool);
}

#[test]
fn limits_hold_with_scrubbing_and_with_pools_that_are_off() {
    let sim = SimDevice::new();
    let off = fixed(4, 8 * MIB).with_enabled(false).with_limits(hard(10 * MIB));
    let pool = Pool::new(Arc::new(sim.clone()), off).unwrap();
    let held = pool.allocate(8 * MIB).unwrap();
    assert!(pool.allocate(3 * MIB).is_err());
    drop(held);
    drop((pool.allocate(3 * MIB).unwrap(), pool));
    let scrubbing = PoolConfig::elastic().with_scrub(Scrub::OnFree).with_limits(hard(10 * MIB));
    let pool = Pool::new(Arc::new(sim.clone()), scrubbing).unwrap();
    for _ in 0..5 {
        drop(pool.allocate(9 * MIB).unwrap());
    }
    assert!(pool.peak_reserved_bytes() <= 10 * MIB);
}

/// A request whose callback panics has changed nothing: no figure, no quota, no buffer.
#[test]
fn a_request_whose_callback_panics_is_in_no_figure() {
    let ahead = fixed(1, 8 * MIB).with_dynamic_growth(true).with_max_heaps(64);
    for (way, sim, config) in ways(SimDevice::new, PoolConfig::elastic(), ahead) {
        for metered in [false, true] {
            let mut config = config.clone().with_limits(soft(20 * MIB));
            config.quotas.insert("kv".into(), 1 << 30);
            let pool = Pool::new(Arc::new(sim.clone()), config).unwrap();
            pool.on_pressure(|_, _| resume_unwind(Box::new("on purpose")));
            let request = |size| Request::new(size).tag(if metered { "kv" } else { "" });
            let (mut held, mut panics) = (Vec::new(), 0);
            for size in (0..60).map(|n| (1 + n % 3) * MIB) {
                match catch_unwind(AssertUnwindSafe(|| pool.allocate(request(size)).unwrap())) {
                    Ok(buffer) => held.push(buffer),
                    Err(_) => panics += 1,
                }
                let grown = held.first_mut().filter(|_| size == 3 * MIB);
                let grown = grown.map(|buffer: &mut Buffer| {
                    let size = buffer.size() + MIB;
                    (catch_unwind(AssertUnwindSafe(|| buffer.grow(size))).is_err(), size, buffer.size())
                });
                if let Some((true, size, now)) = grown {
                    assert_eq!(now, size - MIB, "{way}: the buffer has grown");
                    panics += 1;
                }
            }
            assert!(panics > 0, "{way}: the limit was not crossed");
            let seen = pool.statistics();
            let count = held.len() as u64;
            assert_eq!((seen.total_allocations, seen.active_allocations), (count, count), "{way}");
            let bytes: u64 = held.iter().map(Buffer::size).sum();
            assert_eq!(pool.leaks().bytes(), bytes, "{way}");
            let used = if metered { bytes } else { 0 };
            assert_eq!(pool.quota("kv"), Some((1 << 30, used)), "{way}");
            pool.set_quota("kv", Some(used + MIB));
            let last = catch_unwind(AssertUnwindSafe(|| pool.allocate(Request::new(MIB).tag("kv"))));
            assert!(!matches!(last, Ok(Err(_))), "{way}: the quota keeps what panicked: {last:?}");
        }
    }
}

#[test]
fn a_buffer_that_grows_past_a_soft_limit_is_as_it_was_if_the_callback_panics() {
    let sim = SimDevice::new();
    let mut config = PoolConfig::elastic().with_limits(soft(20 * MIB));
    config.quotas.insert("kv".into(), 1 << 30);
    let pool = Pool::new(Arc::new(sim), config).unwrap();
    pool.on_pressure(|_, _| resume_unwind(Box::new("on purpose")));
    let mut buffer = pool.allocate(Request::new(MIB).growable(64 * MIB).tag("kv")).unwrap();
    catch_unwind(AssertUnwindSafe(|| buffer.grow(40 * MIB))).unwrap_err();
    assert_eq!((buffer.size(), pool.leaks().bytes()), (MIB, MIB));
    assert_eq!(pool.quota("kv"), Some((1 << 30, MIB)));
    buffer.grow(40 * MIB).unwrap();
    assert_eq!((buffer.size(), pool.leaks().bytes()), (40 * MIB, 40 * MIB));
    assert_eq!(pool.quota("kv"), Some((1 << 30, 40 * MIB)));
}

/// The thread whose request crossed the limit calls the callbacks. A thread that only frees meanwhile does
/// not.
#[test]
fn a_thread_that_frees_calls_no_callback() {
    let device = Hooked::new(SimDevice::new());
    let limits = Limits::default().with_soft_objects(2);
    let config = PoolConfig::elastic().with_limits(limits).with_scrub(Scrub::OnFree);
    let pool = Pool::new(Arc::new(device.clone()), config).unwrap();
    let callers = Arc::new(Mutex::new(Vec::new()));
    pool.on_pressure({
        let callers = Arc::clone(&callers);
        move |_, _| callers.lock().unwrap().push(thread::current().id())
    });
    let held = Mutex::new(Some(pool.allocate(MIB).unwrap()));
    assert_eq!(pool.reserved_objects(), 2);
    let (watched, freed) = (pool.clone(), Arc::new(AtomicU64::new(0)));
    let count = Arc::clone(&freed);
    device.hook.set(move |call| {
        if call == "commit" && watched.reserved_objects() > 2 {
            let held = held.lock().unwrap().take();
            count.fetch_add(u64::from(held.is_some()), SeqCst);
            thread::spawn(move || drop(held)).join().unwrap();
        }
    });
    let asking = thread::spawn({
        let pool = pool.clone();
        move || drop(pool.allocate(MIB).unwrap())
    });
    let asker = asking.thread().id();
    asking.join().unwrap();
    device.hook.clear();
    assert_eq!(freed.load(SeqCst), 1, "no thread freed while the limit was crossed and not told");
    assert_eq!(*callers.lock().unwrap(), [asker]);
}

/// Requests when it is dropped, and keeps what it gets.
struct LastWish<'a>(&'a Pool, &'a mut Vec<Buffer>);

impl Drop for LastWish<'_> {
    fn drop(&mut self) {
        self.1.extend((0..2).map(|_| self.0.allocate(7 * MIB).unwrap()));
    }
}

/// A thread that panics calls no callback, so the next request does. A heap serves that request.
#[test]
fn a_request_that_calls_back_for_another_is_in_no_figure_if_that_panics() {
    let config = fixed(1, 8 * MIB).with_dynamic_growth(true).with_max_heaps(4).with_limits(soft(12 * MIB));
    let pool = Pool::new(Arc::new(SimDevice::new()), config).unwrap();
    pool.on_pressure(|_, _| resume_unwind(Box::new("on purpose")));
    let mut held = Vec::new();
    let panics = catch_unwind(AssertUnwindSafe(|| {
        let _wish = LastWish(&pool, &mut held);
        resume_unwind(Box::new("on purpose"));
    }));
    panics.unwrap_err();
    assert_eq!((held.len(), pool.reserved_bytes()), (2, 16 * MIB));
    for size in [MIB, 4096] {
        catch_unwind(AssertUnwindSafe(|| pool.allocate(size).unwrap())).map(drop).unwrap_or_default();
        let seen = pool.statistics();
        assert_eq!(seen.total_allocations - seen.total_deallocations, 2);
    }
    assert_eq!(pool.statistics().total_allocations, 3, "the request that did not panic is counted");
}

#[test]
fn what_the_device_refused_leaves_the_whole_limit_for_others() {
    let fixed = fixed(1, 8 * MIB).with_dynamic_growth(true).with_max_heaps(64);
    for (way, sim, config) in ways(SimDevice::new, PoolConfig::elastic(), fixed) {
        let pool = Pool::new(Arc::new(sim.clone()), config.with_limits(hard(64 * MIB))).unwrap();
        sim.fail_always(Call::CreateHeap);
        sim.fail_always(Call::Commit);
        sim.fail_always(Call::Allocate);
        (0..20).for_each(|_| assert!(pool.allocate(30 * MIB).is_err(), "{way}"));
        sim.heal();
        assert!(pool.allocate(50 * MIB).is_ok(), "{way}: the limit keeps what was refused");
    }
}
