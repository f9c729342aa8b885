//! The program's code that the pool calls: callbacks, subscribers to the log, methods of a device,
//! destructors. It may use the pool, drop its last handle and panic. Nothing is lost, stuck or leaked.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use tracing::subscriber::with_default;
use warmheap::config::MIB;
use warmheap::device::sim::SimDevice;
use warmheap::{AllocError, CompactionBudget, Pool, PoolConfig, Request};

use crate::foreign_acts::{ACTS, Act, ON_PURPOSE, Stage};
use crate::support::foreign::{Hooked, Listener};
use crate::support::watchdog::within_patience;
use crate::support::{self, assert_all_back, fixed};

const THREADS: [usize; 3] = [1, 3, 16];

/// Every sizing, with a budget, limits and a quota.
fn ways() -> [(&'static str, SimDevice, PoolConfig); 3] {
    let with_limits = |mut config: PoolConfig| {
        config.limits.soft_bytes = Some(40 * MIB);
        config.quotas.insert("kv".into(), 60 * MIB);
        config
    };
    let fixed = fixed(2, 8 * MIB).with_dynamic_growth(true).with_max_heaps(6);
    let sim = || SimDevice::new().budget(64 * MIB);
    support::ways(sim, with_limits(PoolConfig::elastic()), with_limits(fixed))
}

/// Keeps intended panics out of the output.
fn hush() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let words = info.payload().downcast_ref::<String>();
            if !words.is_some_and(|words| words.contains(ON_PURPOSE)) {
                usual(info);
            }
        }));
    });
}

/// Plays each act on every sizing, with every number of threads. `arrange` makes foreign code do the act, and
/// returns how to undo that.
fn play_everywhere(arrange: impl Fn(&Stage, &Hooked, &Listener, Act) + Copy + Send + 'static) {
    hush();
    for act in ACTS {
        for threads in THREADS {
            for (way, sim, config) in ways() {
                within_patience(&format!("{act:?} on {way} heaps, {threads} threads"), move || {
                    let (device, listener) = (Hooked::new(sim.clone()), Listener::default());
                    let stage = Stage::new(device.clone(), config);
                    arrange(&stage, &device, &listener, act);
                    let play = |number: usize| {
                        let (stage, listener) = (stage.clone(), listener.clone());
                        thread::spawn(move || with_default(listener, || stage.play(number as u64)))
                    };
                    let threads: Vec<_> = (0..threads).map(play).collect();
                    threads.into_iter().for_each(|thread| thread.join().unwrap());
                    device.hook.clear();
                    listener.hook.clear();
                    stage.work.hook.clear();
                    assert_even(&stage, &sim);
                });
            }
        }
    }
}

#[test]
fn a_device_that_panics_when_it_is_asked_what_it_has_is_an_error() {
    hush();
    for (_, sim, config) in ways() {
        let device = Hooked::new(sim);
        device.hook.set(|_| panic!("{ON_PURPOSE}"));
        let shared: Arc<dyn warmheap::device::Device> = Arc::new(device.clone());
        for error in [
            Pool::check(&device, &config).unwrap_err(),
            Pool::new(Arc::clone(&shared), config.clone()).unwrap_err(),
        ] {
            assert!(error.to_string().starts_with("the device cannot tell its limits: "), "{error}");
        }
        device.hook.clear();
        let pool = Pool::new(shared, config).unwrap();
        device.hook.set(|_| panic!("{ON_PURPOSE}"));
        assert_eq!(pool.statistics().device_objects, 0);
        device.hook.clear();
    }
}

/// Asserts that nothing is left.
fn assert_even(stage: &Stage, sim: &SimDevice) {
    let buffers = std::mem::take(&mut *stage.buffers.lock().unwrap());
    drop(buffers);
    stage.work.counter.complete_all();
    drop(stage.queue.lock().unwrap().take());
    if let Some(pool) = stage.pool.lock().unwrap().take() {
        let statistics = pool.statistics();
        assert_eq!((statistics.active_allocations, statistics.used_capacity_mb), (0, 0.0), "{statistics:?}");
        assert_eq!(statistics.fallback_mb, 0.0);
        assert!(pool.leaks().is_clean(), "{}", pool.leaks());
        assert_eq!(pool.quota("kv"), Some((60 * MIB, 0)));
        assert_eq!(pool.reserved_bytes(), sim.live_bytes());
        assert_eq!(pool.reserved_objects(), sim.live_objects());
        drop(pool);
        assert_all_back(sim);
    }
    // If a pool closed with work in flight, a thread gives back what that work used.
    let begun = Instant::now();
    while (sim.live_bytes(), sim.live_objects()) != (0, 0) {
        assert!(begun.elapsed() < Duration::from_secs(60), "{} bytes are left", sim.live_bytes());
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn callbacks_may_do_anything() {
    play_everywhere(|stage, _, _, act| {
        let pool = stage.pool().unwrap();
        // This callback owns the buffers, but no handle, which would keep the pool open.
        let (buffers, work) = (Arc::clone(&stage.buffers), Arc::clone(&stage.work));
        let handles = (Arc::downgrade(&stage.pool), Arc::downgrade(&stage.queue));
        pool.on_pressure(move |_, _| {
            let (Some(pool), Some(queue)) = (handles.0.upgrade(), handles.1.upgrade()) else { return };
            Stage { pool, buffers: Arc::clone(&buffers), queue, work: Arc::clone(&work) }.act(act);
        });
    });
}

#[test]
fn methods_of_a_queue_may_do_anything() {
    play_everywhere(|stage, _, _, act| {
        let at = stage.clone();
        stage.work.hook.set(move |_| at.act(act));
    });
}

#[test]
fn subscribers_to_the_log_may_do_anything() {
    play_everywhere(|stage, _, listener, act| {
        let stage = stage.clone();
        listener.hook.set(move |_| stage.act(act));
    });
}

#[test]
fn methods_and_destructors_of_a_device_may_do_anything() {
    play_everywhere(|stage, device, _, act| {
        let stage = stage.clone();
        device.hook.set(move |_| stage.act(act));
    });
}

#[test]
fn callbacks_end_with_the_last_handle_and_what_they_own_is_no_leak() {
    within_patience("the program", || {
        for (_, sim, config) in ways() {
            let listener = Listener::default();
            with_default(listener.clone(), || {
                let pool = Pool::new(Arc::new(sim.clone()), config).unwrap();
                let cache = Arc::new(Mutex::new(vec![pool.allocate(MIB).unwrap()]));
                pool.on_pressure(move |_, _| cache.lock().unwrap().clear());
                let other = pool.allocate(MIB).unwrap();
                drop(pool);
                assert_eq!(
                    listener.lines().iter().filter(|line| line.contains("Leaked: 1 buffers")).count(),
                    1
                );
                drop(other);
            });
            assert_all_back(&sim);
        }
    });
}

#[test]
fn a_callback_whose_end_panics_does_not_keep_the_pool_open() {
    within_patience("the program", || {
        struct Bad;
        impl Drop for Bad {
            fn drop(&mut self) {
                panic!("{ON_PURPOSE}");
            }
        }
        hush();
        for (_, sim, config) in ways() {
            let pool = Pool::new(Arc::new(sim.clone()), config).unwrap();
            let (bad, buffer) = (Bad, pool.allocate(MIB).unwrap());
            pool.on_pressure(move |_, _| _ = (&bad, &buffer));
            drop(pool.allocate(MIB));
            assert!(catch_unwind(AssertUnwindSafe(|| drop(pool))).is_err());
            assert_all_back(&sim);
        }
    });
}

#[test]
fn a_device_that_panics_has_failed_and_its_words_are_told() {
    within_patience("the program", || {
        hush();
        for (way, sim, config) in ways() {
            let device = Hooked::new(sim.clone());
            let pool = Pool::new(Arc::new(device.clone()), config).unwrap();
            device.hook.set(|call| panic!("{ON_PURPOSE} in {call}"));
            let error = pool.allocate(30 * MIB).unwrap_err().to_string();
            assert!(error.contains("it panicked: on purpose in allocate"), "{way}: {error}");
            device.hook.clear();
            drop(pool.allocate(30 * MIB).unwrap());
            device.hook.set(|call| assert!(call != "drop", "{ON_PURPOSE}"));
            drop(pool);
            assert_eq!((sim.live_bytes(), sim.live_objects()), (0, 0), "{way}");
            device.hook.clear();
        }
    });
}

/// Some calls cannot be made within a call of the device. They return an error.
#[test]
fn a_device_that_calls_back_is_refused_with_words_where_it_would_wait_for_itself() {
    within_patience("the program", || {
        for (way, sim, config) in ways() {
            let device = Hooked::new(sim.clone());
            let pool = Pool::new(Arc::new(device.clone()), config).unwrap();
            let cached = pool.allocate(4096).unwrap();
            let buffer = Arc::new(Mutex::new(pool.allocate(MIB).unwrap()));
            drop(cached);
            let answers = Arc::new(Mutex::new(Vec::new()));
            let (inside, told) = (pool.clone(), Arc::clone(&answers));
            device.hook.set(move |call| {
                if call != "commit" && call != "create_heap" {
                    return;
                }
                assert!(inside.allocate(4096).is_ok(), "what is cached");
                let mut told = told.lock().unwrap();
                told.push(inside.trim(0).unwrap_err().to_string());
                told.push(inside.make_purgeable().unwrap_err().to_string());
                told.push(inside.allocate(Request::new(40 * MIB).no_fallback()).unwrap_err().to_string());
                if let Err(error) = buffer.lock().unwrap().grow(40 * MIB) {
                    told.push(error.to_string());
                }
            });
            // This is more than the pool holds, and each buffer is as large as a fixed heap.
            let held: Vec<_> = (0..5).map(|_| pool.allocate(8 * MIB).unwrap()).collect();
            device.hook.clear();
            let answers = answers.lock().unwrap();
            for name in ["Pool::trim", "Pool::make_purgeable", "Pool::allocate"] {
                let words = format!("{name} was called from within a call of the device");
                assert!(answers.iter().any(|answer| answer.contains(&words)), "{way}, {name}: {answers:?}");
            }
            drop(held);
        }
    });
}

#[test]
fn the_log_is_told_what_happened_once_nothing_is_held() {
    within_patience("the program", || {
        let listener = Listener::default();
        with_default(listener.clone(), || {
            let sim = SimDevice::new().budget(64 * MIB);
            let pool = Pool::new(Arc::new(sim.clone()), PoolConfig::elastic()).unwrap();
            let inside = pool.clone();
            listener.hook.set(move |_| {
                inside.trim(0).unwrap();
                drop(inside.allocate(2 * MIB));
                assert!(inside.maintain(Duration::from_secs(1)).is_ok());
            });
            let first = pool.allocate(60 * MIB).unwrap();
            assert!(matches!(pool.allocate(30 * MIB), Err(AllocError::OutOfMemory(_))));
            assert!(listener.lines().iter().any(|line| line == "the pool could not grow"));
            drop(first);
            listener.hook.clear();
        });
    });
}

#[test]
fn other_threads_go_on_while_the_device_takes_a_buffer_back() {
    let device = Hooked::new(SimDevice::new());
    let mut config = PoolConfig::default();
    (config.heap_size, config.num_heaps) = (8 * MIB, 1);
    config.warmup_sizes.clear();
    let pool = Pool::new(Arc::new(device.clone()), config).unwrap();
    let large = pool.allocate(64 * MIB).unwrap();
    assert!(large.is_fallback());
    let (begins, begun) = std::sync::mpsc::channel();
    let (end, ends) = std::sync::mpsc::channel::<()>();
    let ends = Mutex::new(ends);
    device.hook.set(move |call| {
        if call == "drop" {
            begins.send(()).unwrap();
            let _ = ends.lock().unwrap().recv();
        }
    });
    let other = pool.clone();
    let freeing = thread::spawn(move || {
        drop(other.allocate(4096).unwrap());
        drop(large);
    });
    begun.recv().unwrap();
    // Each of these calls takes every thread's cache.
    within_patience("the use of a pool whose device is slow", move || {
        pool.reset_statistics();
        let _ = (pool.leaks(), pool.trim(0), pool.compact(CompactionBudget::unlimited()));
        pool
    });
    device.hook.clear();
    end.send(()).unwrap();
    freeing.join().unwrap();
}

#[test]
fn a_device_that_uses_another_pool_does_not_cost_a_thread_its_heaps() {
    within_patience("the program", || {
        let sim = SimDevice::new();
        let device = Hooked::new(sim.clone());
        let pool = Pool::new(Arc::new(device.clone()), PoolConfig::elastic()).unwrap();
        let own = Pool::new(Arc::new(SimDevice::new()), PoolConfig::elastic()).unwrap();
        device.hook.set(move |_| drop(own.allocate(3 * MIB).unwrap()));
        let first = pool.allocate(3 * MIB).unwrap();
        for _ in 0..40 {
            let pool = pool.clone();
            // The threads run one after the other, and each takes over the heaps that the one before has
            // left.
            thread::spawn(move || drop(pool.allocate(3 * MIB).unwrap())).join().unwrap();
        }
        assert_eq!(pool.reserved_objects(), 4, "two heaps for each of two threads");
        device.hook.clear();
        drop((first, pool));
        assert_eq!(sim.live_objects(), 0);
    });
}

#[test]
fn threads_beyond_the_places_for_heaps_cost_no_objects() {
    let sim = SimDevice::new();
    let pool = Pool::new(Arc::new(sim.clone()), PoolConfig::elastic()).unwrap();
    let all_at_once = std::sync::Barrier::new(50);
    thread::scope(|scope| {
        let work = || {
            let buffer = pool.allocate(3 * MIB).unwrap();
            all_at_once.wait();
            drop(buffer);
        };
        let threads: Vec<_> = (0..50).map(|_| scope.spawn(work)).collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
    assert_eq!(pool.reserved_objects(), sim.live_objects());
}
