//! Pools with as many fixed heaps as a configuration may name.

use warmheap::Request;
use warmheap::config::{MAX_HEAPS, MIB, Strategy};
use warmheap::device::sim::SimDevice;

use crate::support::{assert_all_back, assert_apart, fixed, start};

#[test]
fn as_many_heaps_as_settings_allow_fill_up_empty_and_fill_again() {
    for strategy in [Strategy::RoundRobin, Strategy::BestFit, Strategy::LeastUsed] {
        let sim = SimDevice::new().discrete();
        let pool = start(&sim, fixed(MAX_HEAPS, 8 * MIB).with_strategy(strategy));
        assert_eq!(pool.statistics().total_heaps, MAX_HEAPS as u64);
        // One request takes most of a heap, and the other what that leaves.
        for (most, rest) in [(5 * MIB, 3 * MIB), (7 * MIB, MIB + 256)] {
            let fits_beside = most + rest <= 8 * MIB;
            let held = |size| pool.allocate(Request::new(size).no_fallback());
            let mut buffers: Vec<_> = (0..MAX_HEAPS).map(|_| held(most).unwrap()).collect();
            assert_eq!(pool.statistics().active_heaps, MAX_HEAPS as u64, "{strategy:?}");
            let beside = (0..MAX_HEAPS).map_while(|_| held(rest).ok());
            buffers.extend(beside);
            let expected = if fits_beside { 2 * MAX_HEAPS } else { MAX_HEAPS };
            assert_eq!(buffers.len(), expected, "{strategy:?}");
            assert!(held(2 * MIB).is_err(), "{strategy:?}: there is no room for more");
            assert_apart(&buffers);
            drop(buffers);
            assert_eq!(pool.statistics().used_capacity_mb, 0.0, "{strategy:?}");
        }
        drop(pool);
        assert_all_back(&sim);
    }
}

#[test]
fn growth_adds_heaps_until_there_are_as_many_as_settings_allow() {
    for strategy in [Strategy::RoundRobin, Strategy::BestFit, Strategy::LeastUsed] {
        let sim = SimDevice::new().discrete();
        let growing = fixed(1, 2 * MIB).with_dynamic_growth(true).with_max_heaps(MAX_HEAPS);
        let pool = start(&sim, growing.with_strategy(strategy).with_growth_trigger(1.0));
        let buffers: Vec<_> = (0..MAX_HEAPS).map(|_| pool.allocate(2 * MIB).unwrap()).collect();
        let seen = pool.statistics();
        assert_eq!((seen.total_heaps, seen.fallback_allocations), (MAX_HEAPS as u64, 0), "{strategy:?}");
        assert!(pool.allocate(2 * MIB).unwrap().is_fallback(), "{strategy:?}");
        drop((buffers, pool));
        assert_all_back(&sim);
    }
}
