//! Purgeable heaps: the system may take their pages, and they serve no request meanwhile.

use warmheap::config::MIB;
use warmheap::device::DeviceError;
use warmheap::device::sim::{Call, SimDevice};
use warmheap::{AllocError, Buffer, PoolConfig, Request};

use crate::support::{fixed, start};

fn sim() -> SimDevice {
    SimDevice::new().discrete().purgeable()
}

/// Makes a device call on the buffer's bytes, which volatile memory refuses.
fn touch(buffer: &Buffer) {
    let memory = buffer.memory().unwrap();
    // SAFETY: the bytes belong to this buffer.
    unsafe { memory.fill(memory.offset()..memory.offset() + buffer.size(), 1) }.unwrap();
}

#[test]
fn unused_heaps_become_purgeable_and_used_ones_do_not() {
    let sim = sim();
    let pool = start(&sim, fixed(4, 8 * MIB));
    let held = pool.allocate(3 * MIB).unwrap();
    drop(pool.allocate(1000).unwrap()); // stays in this thread's cache until the pool makes heaps purgeable
    let before = pool.statistics();
    assert_eq!(pool.make_purgeable(), Ok(24 * MIB));
    assert_eq!((sim.volatile_bytes(), pool.reserved_bytes()), (24 * MIB, 32 * MIB));
    assert_eq!(pool.make_purgeable(), Ok(0), "a heap that is purgeable already does not count again");
    let after = pool.statistics();
    let held_back = |s: &warmheap::Statistics| (s.total_heaps, s.total_capacity_mb as u64);
    assert_eq!((held_back(&before), held_back(&after)), ((4, 32), (4, 32)));
    touch(&held);
}

#[test]
fn a_purgeable_heap_is_reclaimed_before_anything_lies_in_it() {
    for pressure in [false, true] {
        let sim = sim();
        sim.set_pressure(pressure);
        let pool = start(&sim, fixed(4, 8 * MIB));
        pool.make_purgeable().unwrap();
        let mut held = Vec::new();
        for heaps in 1..=4 {
            held.push(pool.allocate(Request::new(6 * MIB).zeroed()).unwrap());
            held.push(pool.allocate(2 * MIB).unwrap());
            assert_eq!(sim.volatile_bytes(), (4 - heaps) * 8 * MIB, "one heap at a time, as needed");
        }
        held.iter().for_each(touch);
        assert_eq!(pool.statistics().fallback_allocations, 0);
        assert_eq!(sim.calls(Call::CreateHeap), 4);
        drop(held);
        assert_eq!(pool.make_purgeable(), Ok(32 * MIB));
        drop(pool);
        assert_eq!((sim.live_bytes(), sim.live_objects(), sim.volatile_bytes()), (0, 0, 0));
    }
}

#[test]
fn purgeable_heaps_make_way_for_the_device() {
    let sim = sim().budget(40 * MIB);
    let pool = start(&sim, fixed(4, 8 * MIB));
    assert!(matches!(pool.allocate(30 * MIB), Err(AllocError::OutOfMemory(_))), "heaps were promised");
    pool.make_purgeable().unwrap();
    let large = pool.allocate(30 * MIB).unwrap();
    assert!(large.is_fallback());
    assert_eq!((sim.volatile_bytes(), pool.reserved_bytes()), (0, 30 * MIB));
    // The pool creates promised heaps again when there is room.
    let one = pool.allocate(6 * MIB).unwrap();
    assert!(!one.is_fallback());
    drop(large);
    let three: Vec<_> = (0..3).map(|_| pool.allocate(6 * MIB).unwrap()).collect();
    assert!(three.iter().all(|buffer| !buffer.is_fallback()));
    assert_eq!(pool.statistics().total_heaps, 4);
    assert!(pool.allocate(6 * MIB).unwrap().is_fallback(), "and no more than that");
}

#[test]
fn a_pool_that_sizes_itself_reclaims_heaps_that_fit_and_destroys_the_others() {
    let sim = sim();
    let pool = start(&sim, PoolConfig::elastic());
    let held: Vec<_> = [40, 64, 100].map(|mib| pool.allocate(mib * MIB).unwrap()).into();
    assert_eq!(sim.calls(Call::CreateHeap), 3);
    drop(held);
    let rested = pool.make_purgeable().unwrap();
    assert_eq!(rested, pool.reserved_bytes());
    let buffer = pool.allocate(50 * MIB).unwrap();
    assert_eq!(rested - sim.volatile_bytes(), 64 * MIB, "the smallest that is long enough");
    touch(&buffer);
    let larger = pool.allocate(200 * MIB).unwrap();
    assert_eq!(sim.volatile_bytes(), 0, "heaps too small for a request go before the pool grows");
    assert_eq!(pool.reserved_bytes(), 264 * MIB);
    drop((buffer, larger));
    pool.make_purgeable().unwrap();
    assert_eq!(pool.trim(0), Ok(264 * MIB));
    assert_eq!(sim.live_bytes(), 0);
}

#[test]
fn devices_without_the_state_lose_nothing() {
    for (sim, config) in [
        (SimDevice::new().discrete(), fixed(2, 8 * MIB)),
        (SimDevice::new().discrete(), PoolConfig::elastic()),
        (SimDevice::new().purgeable(), PoolConfig::elastic()), // grows in place
    ] {
        let pool = start(&sim, config);
        drop(pool.allocate(6 * MIB).unwrap());
        let held = pool.reserved_bytes();
        assert_eq!(pool.make_purgeable(), Ok(0));
        assert_eq!((pool.reserved_bytes(), sim.volatile_bytes()), (held, 0));
        touch(&pool.allocate(6 * MIB).unwrap());
    }
}

#[test]
fn calls_that_fail_lose_nothing_either() {
    let sim = sim();
    let pool = start(&sim, fixed(3, 8 * MIB));
    sim.fail(Call::SetVolatile, 2);
    assert!(matches!(pool.make_purgeable(), Err(DeviceError::Failed { .. })));
    assert_eq!((sim.volatile_bytes(), pool.statistics().total_heaps), (8 * MIB, 3));
    pool.make_purgeable().unwrap();
    // The pool destroys a heap that it cannot reclaim, and the next one serves.
    sim.fail(Call::SetVolatile, 1);
    let buffer = pool.allocate(6 * MIB).unwrap();
    touch(&buffer);
    assert_eq!((sim.volatile_bytes(), pool.reserved_bytes()), (8 * MIB, 16 * MIB));
}

#[test]
fn no_request_fails_while_heaps_are_made_purgeable() {
    let sim = sim();
    let pool = start(&sim, fixed(3, 8 * MIB));
    std::thread::scope(|scope| {
        for seed in 0..3 {
            let pool = &pool;
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed);
                for _ in 0..2_000 {
                    let request = Request::new(random.u64(1..2 * MIB));
                    let request = if random.u8(..8) == 0 { request.zeroed() } else { request };
                    let buffer = pool.allocate(request).unwrap();
                    assert!(!buffer.is_fallback());
                    touch(&buffer);
                }
            });
        }
        (0..500).for_each(|_| assert!(pool.make_purgeable().is_ok()));
    });
    assert_eq!(pool.statistics().active_allocations, 0);
    pool.make_purgeable().unwrap();
    assert_eq!(sim.volatile_bytes(), 24 * MIB);
}
