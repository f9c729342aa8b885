//! A device that fails at start-up or in use: the errors, and that nothing is lost.

use std::sync::Arc;

use warmheap::config::{Limits, MIB, Scrub};
use warmheap::device::host::HostDevice;
use warmheap::device::sim::{Call, SimDevice};
use warmheap::device::{Device, DeviceError};
use warmheap::{AllocError, Pool, PoolConfig, Request, StartError};

use crate::support::assert_all_back;

fn config() -> PoolConfig {
    let mut config = PoolConfig::default();
    config.heap_size = 64 * MIB;
    config.warmup_sizes = vec![8 * MIB, 16 * MIB];
    config
}

fn start(sim: &SimDevice, config: PoolConfig) -> Result<Pool, StartError> {
    Pool::new(Arc::new(sim.clone()), config)
}

#[test]
fn the_heap_that_fails_is_named_and_the_others_go_back() {
    for nth in 1..=4 {
        let sim = SimDevice::new();
        sim.fail(Call::CreateHeap, nth as u64);
        match start(&sim, config()).unwrap_err() {
            StartError::Heap { number, heaps, size, source } => {
                assert_eq!((number, heaps, size), (nth, 4, 64 * MIB));
                assert_eq!(source, DeviceError::OutOfMemory { requested: 64 * MIB, available: None });
            }
            error => panic!("{error}"),
        }
        assert_all_back(&sim);
        start(&sim, config()).expect("a failed start is no hindrance to the next");
    }
}

#[test]
fn the_heap_that_cannot_be_warmed_is_named() {
    for nth in 1..=4 {
        let sim = SimDevice::new();
        sim.fail(Call::Warm, nth as u64);
        match start(&sim, config()).unwrap_err() {
            StartError::WarmUp { number, heaps, size, source } => {
                assert_eq!((number, heaps, size), (nth, 4, 24 * MIB));
                assert!(matches!(source, DeviceError::Failed { call: "warm", .. }), "{source}");
            }
            error => panic!("{error}"),
        }
        assert_all_back(&sim);
    }
}

#[test]
fn memory_that_does_not_suffice_is_explained_with_figures() {
    let expected = "heap 3 of 4 (64 MiB each) could not be created: the device is out of memory: asked for \
                    67108864 bytes, 23068672 free";
    let sim = SimDevice::new().budget(150 * MIB);
    let error = start(&sim, config()).unwrap_err().to_string();
    assert!(error.contains(expected), "{error}");
    assert!(error.contains("reduce heap_size_mb or num_heaps"), "{error}");
    assert_all_back(&sim);

    let host = Arc::new(HostDevice::with_budget(150 * MIB));
    let error = Pool::new(host.clone(), config()).unwrap_err().to_string();
    assert!(error.contains(expected), "{error}");
    assert_eq!(host.limits().available, Some(150 * MIB));
}

#[test]
fn a_failed_start_names_the_smaller_pool_that_fits() {
    let default = PoolConfig::default;
    let limited = |limits: Limits| default().with_limits(limits);
    for (budget, config, words) in [
        (600, default(), "2 heaps of 128 MiB would fit"),
        (100, default(), "1 heap of 64 MiB would fit"),
        (1, default().with_heap_size(100 * MIB / 10), "reduce heap_size_mb or num_heaps, or free memory"),
        (4096, limited(Limits::default().with_hard_bytes(600 * MIB)), "2 heaps of 128 MiB would fit"),
        (4096, limited(Limits::default().with_hard_objects(3)), "3 heaps of 256 MiB would fit"),
    ] {
        let sim = SimDevice::new().budget(budget * MIB);
        let error = start(&sim, config.clone()).unwrap_err();
        assert!(error.to_string().ends_with(words), "{error}");
        assert_eq!(Pool::check(&sim, &config).unwrap_err().to_string(), error.to_string());
        assert_all_back(&sim);
        if let Some((size, heaps)) = error.smaller() {
            start(&sim, config.with_heap_size(size).with_num_heaps(heaps)).expect("the smaller pool fits");
        }
    }
}

#[test]
fn growing_heaps_need_their_objects_and_a_step() {
    let limited = |limits: Limits| PoolConfig::elastic().with_limits(limits);
    let objects = |most| limited(Limits::default().with_hard_objects(most));
    for (config, starts) in [
        (objects(1), false),
        (objects(2), true),
        (objects(1).with_thread_heaps(false), true),
        (objects(1).with_enabled(false), true),
    ] {
        let sim = SimDevice::new();
        let check = Pool::check(&sim, &config).map(drop).map_err(|error| error.to_string());
        assert_eq!(check, start(&sim, config).map(drop).map_err(|error| error.to_string()));
        assert_eq!(check.is_ok(), starts);
        if let Err(words) = check {
            assert!(words.starts_with("limits.hard_objects: 1 is too few") && !words.contains("num_heaps"));
        }
    }
    let tiny = limited(Limits::default().with_hard_bytes(MIB));
    let words = Pool::check(&SimDevice::new(), &tiny).unwrap()[0].to_string();
    assert!(words.contains("less than the device commits at a time"), "{words}");
}

#[test]
fn sizes_in_errors_are_not_rounded_to_other_sizes() {
    let sim = SimDevice::new();
    sim.fail(Call::CreateHeap, 1);
    let error = start(&sim, config().with_heap_size(MIB / 2).with_warmup_sizes([])).unwrap_err().to_string();
    assert!(error.contains("(0.5 MiB each)"), "{error}");
}

/// What the check lets pass starts, and what it refuses does not.
#[test]
fn the_check_says_what_the_start_does() {
    let mut refused = 0;
    for (heap_mb, heaps, hard, objects, budget) in (0..400_u64).map(|seed| {
        let random = |step: u64, below: u64| (seed * 7919 + step * 104_729) % below;
        (1 + random(1, 70), 1 + random(2, 9), random(3, 400), random(4, 12), 1 + random(5, 600))
    }) {
        let limits = Limits::default()
            .with_hard_bytes((hard > 0).then_some(hard * MIB))
            .with_hard_objects((objects > 0).then_some(objects));
        let config = PoolConfig::default()
            .with_heap_size(heap_mb * MIB)
            .with_num_heaps(heaps as usize)
            .with_limits(limits);
        let sim = SimDevice::new().budget(budget * MIB);
        let check = Pool::check(&sim, &config).map(drop).map_err(|error| error.to_string());
        let begun = start(&sim, config).map(drop).map_err(|error| error.to_string());
        assert_eq!(check, begun);
        refused += usize::from(check.is_err());
        assert_all_back(&sim);
    }
    assert!((50..350).contains(&refused), "{refused} of 400 are refused");
}

#[test]
fn an_elastic_pool_that_gets_no_addresses_says_so() {
    let sim = SimDevice::new();
    sim.fail(Call::CreateHeap, 1);
    let error = start(&sim, PoolConfig::elastic()).unwrap_err();
    assert!(matches!(error, StartError::Heap { number: 1, heaps: 1, .. }), "{error}");
    assert_all_back(&sim);
}

#[test]
fn settings_that_cannot_be_honoured_name_their_key() {
    let mut compacting = config();
    compacting.compaction.threshold = 0.0;
    let error = start(&SimDevice::new(), compacting).unwrap_err().to_string();
    assert!(error.contains("threshold"), "{error}");
}

/// Makes requests of every kind, enough of them to make a pool call its device in every way.
fn use_pool(pool: &Pool) -> (Vec<warmheap::Buffer>, Vec<AllocError>) {
    let (mut held, mut errors) = (Vec::new(), Vec::new());
    for step in 0..120_u64 {
        let size = 100 + (step * step * 7919) % (5 * MIB);
        let request = Request::new(size);
        let request = if step % 5 == 0 { request.zeroed() } else { request };
        match pool.allocate(request) {
            Ok(buffer) => held.push(buffer),
            Err(error) => errors.push(error),
        }
        if step % 3 == 0 && !held.is_empty() {
            held.swap_remove((step * 31) as usize % held.len());
        }
        if step == 60 {
            held.clear();
            // Page migration takes pages out of a large free block elsewhere.
            match pool.allocate(40 * MIB) {
                Ok(buffer) => held.push(buffer),
                Err(error) => errors.push(error),
            }
        }
    }
    (held, errors)
}

#[test]
fn a_call_that_fails_in_use_loses_nothing_whichever_it_is() {
    let mut small = config();
    (small.heap_size, small.num_heaps, small.max_heaps) = (16 * MIB, 1, 3);
    small.dynamic_growth = true;
    for (sim, config) in [
        (SimDevice::new(), PoolConfig::elastic()),
        (SimDevice::new().discrete(), PoolConfig::elastic()),
        (SimDevice::new(), small),
    ] {
        let mut met = 0;
        for call in Call::ALL {
            for nth in 1..=40 {
                let pool = start(&sim, config.clone()).unwrap();
                let before = sim.calls(call);
                sim.fail(call, nth);
                let (held, errors) = use_pool(&pool);
                met += u64::from(sim.calls(call) - before >= nth);
                sim.heal();
                let seen = pool.statistics();
                assert_eq!(seen.failed_allocations, errors.len() as u64, "{call:?} {nth}");
                assert_eq!(seen.active_allocations, held.len() as u64, "{call:?} {nth}");
                assert_eq!(pool.leaks().leaks.len(), held.len(), "{call:?} {nth}");
                // The device serves if growth fails. Only a fill has no other way.
                let excused = |error: &AllocError| match error {
                    AllocError::Device(_) => call == Call::Fill,
                    _ => call == Call::Allocate,
                };
                assert!(errors.len() <= 1 && errors.iter().all(excused), "{call:?} {nth}: {errors:?}");
                drop(held);
                assert_eq!(pool.statistics().used_capacity_mb, 0.0, "{call:?} {nth}");
                drop(pool);
                assert_all_back(&sim);
            }
        }
        assert!(met > 20, "only {met} of the failures were met");
    }
}

#[test]
fn out_of_memory_says_what_is_short_and_what_would_help() {
    let mut config = config();
    (config.heap_size, config.num_heaps) = (16 * MIB, 2);
    config.warmup_sizes.clear();
    let sim = SimDevice::new().budget(40 * MIB);
    let pool = start(&sim, config).unwrap();
    let held = pool.allocate(12 * MIB).unwrap();
    let before = pool.statistics();
    let Err(AllocError::OutOfMemory(error)) = pool.allocate(18 * MIB) else { panic!("there was memory") };
    assert_eq!((error.requested(), error.free(), error.largest_free()), (18 * MIB, 20 * MIB, 16 * MIB));
    assert_eq!(error.reserved(), 32 * MIB);
    let device = DeviceError::OutOfMemory { requested: 18 * MIB, available: Some(8 * MIB) };
    assert_eq!(error.device(), Some(&device));
    let text = error.to_string();
    for part in
        ["18.0 MiB requested", "20.0 MiB of the heaps are free", "largest block 16.0 MiB", "compact it"]
    {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
    let Err(AllocError::OutOfMemory(error)) = pool.allocate(Request::new(30 * MIB).no_fallback()) else {
        panic!("there was memory")
    };
    assert_eq!(error.device(), None);
    let text = error.to_string();
    assert!(text.contains("fallback to the device was ruled out"), "{text}");
    assert!(text.contains("raise heap_size_mb or num_heaps"), "{text}");

    let after = pool.statistics();
    assert_eq!(after.failed_allocations, 2);
    assert_eq!((after.used_capacity_mb, after.active_allocations), (before.used_capacity_mb, 1));
    drop(held);
}

#[test]
fn memory_that_cannot_be_cleared_is_not_handed_out_until_it_can() {
    let sim = SimDevice::new().budget(64 * MIB);
    let pool = start(&sim, PoolConfig::elastic().with_scrub(Scrub::OnFree)).unwrap();
    for (size, heal) in [(8 * MIB, true), (1000, true), (8 * MIB, false)] {
        let buffer = pool.allocate(size).unwrap();
        let address = buffer.device_address();
        sim.fail_always(Call::Fill);
        drop(buffer);
        assert!(pool.leaks().is_clean(), "it is freed as far as its holder is concerned");
        let seen = pool.statistics();
        assert_eq!((seen.active_allocations, seen.used_capacity_mb, seen.fallback_mb), (0, 0.0, 0.0));
        assert_eq!(seen.quarantined_mb, size.next_multiple_of(256) as f64 / MIB as f64);
        assert_ne!(pool.allocate(size).unwrap().device_address(), address);
        if heal {
            sim.heal();
            // This is all there is, so the pool must clear its quarantine for it.
            let all = pool.allocate(60 * MIB).unwrap();
            assert!(!all.is_fallback());
            drop(all);
            pool.trim(0).unwrap();
            assert_eq!(pool.statistics().quarantined_mb, 0.0);
        }
    }
    drop(pool);
    assert_all_back(&sim);
}

/// A quarantined span of a closed pool is not cleared, so no buffer may grow into it or move there.
#[test]
fn no_buffer_of_a_closed_pool_gets_memory_that_was_not_cleared() {
    for before_the_end in [true, false] {
        let sim = SimDevice::new();
        let mut config = config().with_scrub(Scrub::OnFree);
        config.num_heaps = 1;
        let pool = start(&sim, config).unwrap();
        let (mut first, second) = (pool.allocate(8 * MIB).unwrap(), pool.allocate(8 * MIB).unwrap());
        let dirty = second.device_address();
        assert_eq!(first.device_address() + 8 * MIB, dirty);
        sim.fail_always(Call::Fill);
        let mut second = Some(second);
        if before_the_end {
            second = None;
        }
        drop(pool);
        drop(second);
        let error = first.grow(9 * MIB).unwrap_err();
        assert!(matches!(error, AllocError::CannotGrow(_)), "{error}");
        let left = first.grow_or_move(9 * MIB).unwrap();
        assert_ne!(first.device_address(), dirty);
        drop((first, left));
        assert_all_back(&sim);
    }
}
