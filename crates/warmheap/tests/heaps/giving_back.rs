//! Memory goes back to the device on request, as much as was requested, whichever call fails.

use std::sync::Arc;

use warmheap::config::MIB;
use warmheap::device::sim::{Call, SimDevice, SimQueue};
use warmheap::{Buffer, Pool, PoolConfig};

use crate::loads::{promised, spike};
use crate::support::devices;

#[test]
fn trim_goes_down_to_its_target_and_no_further() {
    for (name, device) in devices() {
        let pool = Pool::new(device, PoolConfig::elastic()).unwrap();
        drop(pool.allocate(256 * MIB).unwrap());
        drop((0..64).map(|_| pool.allocate(MIB / 2).unwrap()).collect::<Vec<_>>());
        let before = pool.reserved_bytes();
        assert_eq!(pool.trim(before), Ok(0), "{name}");
        let gone = pool.trim(100 * MIB).unwrap();
        assert_eq!(pool.reserved_bytes(), before - gone, "{name}");
        assert!(pool.reserved_bytes() <= 100 * MIB, "{name}: {}", pool.reserved_bytes());
        if name != "discrete" {
            assert!(pool.reserved_bytes() > 97 * MIB, "{name}: {}", pool.reserved_bytes());
        }
        pool.trim(0).unwrap();
        assert_eq!(pool.reserved_bytes(), 0, "{name}");
        assert!(!pool.allocate(8 * MIB).unwrap().is_fallback(), "{name}");
    }
}

#[test]
fn trim_leaves_what_is_in_use() {
    for (name, device) in devices() {
        let pool = Pool::new(device, PoolConfig::elastic()).unwrap();
        let kept = spike(&pool, 128, 4);
        let live: u64 = kept.iter().map(Buffer::size).sum();
        pool.trim(0).unwrap();
        let most = if name == "discrete" { 512 * MIB } else { live + live / 10 };
        assert!((live..=most).contains(&pool.reserved_bytes()), "{name}: {}", pool.reserved_bytes());
    }
}

#[test]
fn trim_frees_what_queues_are_done_with() {
    let pool = Pool::new(Arc::new(SimDevice::new()), PoolConfig::elastic()).unwrap();
    let counter = Arc::new(SimQueue::new());
    let queue = pool.queue(counter.clone());
    pool.allocate(64 * MIB).unwrap().retire(&queue.ticket(counter.submit()));
    assert_eq!(pool.trim(0), Ok(0));
    counter.complete_all();
    pool.trim(0).unwrap();
    assert_eq!(pool.reserved_bytes(), 0);
}

#[test]
fn heaps_that_were_promised_stay() {
    let (devices, config) = promised();
    for device in devices {
        let pool = Pool::new(device, config.clone()).unwrap();
        let buffers: Vec<_> = (0..6).map(|_| pool.allocate(12 * MIB).unwrap()).collect();
        assert_eq!(pool.statistics().total_heaps, 6);
        drop(buffers);
        assert_eq!(pool.trim(80 * MIB), Ok(16 * MIB));
        assert_eq!(pool.trim(0), Ok(48 * MIB));
        assert_eq!((pool.statistics().total_heaps, pool.trim(0)), (2, Ok(0)));
        let again: Vec<_> = (0..6).map(|_| pool.allocate(12 * MIB).unwrap()).collect();
        assert_eq!((pool.statistics().total_heaps, again.len()), (6, 6));
    }
}

#[test]
fn a_device_that_does_not_take_memory_back_costs_nothing_else() {
    let sim = SimDevice::new();
    let pool = Pool::new(Arc::new(sim.clone()), PoolConfig::elastic()).unwrap();
    let kept = spike(&pool, 64, 4);
    let mut failed = 0;
    for nth in 1.. {
        sim.fail(Call::Decommit, nth);
        let trimmed = pool.trim(0);
        assert_eq!(sim.live_bytes(), pool.reserved_bytes(), "{nth}");
        sim.heal();
        let buffers: Vec<_> = (0..40).map(|_| pool.allocate(4 * MIB).unwrap()).collect();
        assert_eq!(sim.live_bytes(), pool.reserved_bytes(), "{nth}");
        drop(buffers);
        if trimmed.is_ok() {
            break;
        }
        failed += 1;
    }
    assert!(failed > 10, "only {failed} calls could fail");
    drop((kept, pool));
    assert_eq!(sim.live_bytes(), 0);
}
