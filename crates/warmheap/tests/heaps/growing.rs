//! Buffers grow in place while there is room, and never lose their contents.

#[path = "../../examples/growing/caches.rs"]
mod caches;

use std::sync::Arc;

use caches::Load;
use warmheap::config::{HeapSizing, MIB};
use warmheap::device::Device;
use warmheap::device::host::HostDevice;
use warmheap::device::sim::{Call, SimDevice, SimQueue};
use warmheap::{AllocError, Buffer, Pool, PoolConfig, Request};

fn remapping() -> [Arc<dyn Device>; 2] {
    [Arc::new(SimDevice::new()), Arc::new(HostDevice::new())]
}

fn write(buffer: &Buffer, byte: u8) {
    let bytes = buffer.host_ptr().unwrap();
    // SAFETY: the buffer is alive, and only this thread uses it.
    unsafe { bytes.write_bytes(byte, buffer.size() as usize) };
}

fn holds(buffer: &Buffer, len: u64, byte: u8) -> bool {
    let bytes = buffer.host_ptr().unwrap();
    // SAFETY: as above, and it has at least `len` bytes.
    let bytes = unsafe { std::slice::from_raw_parts(bytes.as_ptr(), len as usize) };
    bytes.iter().all(|found| *found == byte)
}

#[test]
fn caches_grow_to_32k_tokens_nearly_always_in_place() {
    for device in remapping() {
        for hinted in [true, false] {
            let pool = Pool::new(Arc::clone(&device), PoolConfig::elastic()).unwrap();
            let load = Load { caches: 3, tokens: 32 << 10, bytes_per_token: 12 << 10, hinted };
            let done = caches::run(&pool, load).unwrap();
            assert!(done.worst <= 1.125, "{} {load:?}: {done:?}", device.name());
            assert!(done.copies * 100 <= done.steps, "{} {load:?}: {done:?}", device.name());
            assert!(!hinted || done.copies == 0, "{} {load:?}: {done:?}", device.name());
        }
    }
}

#[test]
fn room_that_was_asked_for_goes_to_no_other_buffer() {
    for device in remapping() {
        let pool = Pool::new(device, PoolConfig::elastic()).unwrap();
        let mut buffer = pool.allocate(Request::new(1000).growable(64 * MIB)).unwrap();
        let address = buffer.device_address();
        let others: Vec<_> = (1..64_u64).map(|n| pool.allocate(n * 100_000).unwrap()).collect();
        for size in (1..=64).map(|n| n * MIB) {
            buffer.grow(size).unwrap();
        }
        let range = address..address + buffer.size();
        assert_eq!(buffer.device_address(), address);
        assert!(others.iter().all(|other| !range.contains(&other.device_address())));
        let statistics = pool.statistics();
        assert_eq!(statistics.largest_allocation_mb, 64.0);
        assert_eq!((statistics.total_allocations, statistics.active_allocations), (64, 64));
        let live = buffer.size() + others.iter().map(Buffer::size).sum::<u64>();
        assert_eq!(statistics.peak_used_mb, live as f64 / MIB as f64);
        drop((buffer, others));
        pool.trim(0).unwrap();
        assert_eq!(pool.reserved_bytes(), 0);
    }
}

#[test]
fn buffers_that_grew_leave_their_memory_to_the_next() {
    for (first, last) in [(512, 24 << 10), (MIB, 40 * MIB), (3 * MIB, 3 * MIB + 1)] {
        for alive in [1, 2, 3, 8] {
            for device in remapping() {
                let pool = Pool::new(device, PoolConfig::elastic()).unwrap();
                let mut buffers = std::collections::VecDeque::new();
                for _ in 0..200 {
                    if buffers.len() == alive {
                        buffers.pop_front();
                    }
                    let mut buffer = pool.allocate(Request::new(first).growable(2 * last)).unwrap();
                    buffer.grow(last).unwrap();
                    buffers.push_back(buffer);
                }
                // A buffer that grows has whole pages of 2 MiB to itself.
                let live = last.next_multiple_of(2 * MIB) * alive as u64;
                let held = pool.peak_reserved_bytes();
                assert!(held <= live + live / 4 + 16 * MIB, "{alive} of {last}: {held} for {live}");
            }
        }
    }
}

#[test]
fn what_the_rounding_covers_costs_nothing() {
    let sim = SimDevice::new();
    let pool = Pool::new(Arc::new(sim), PoolConfig::elastic()).unwrap();
    let mut buffer = pool.allocate(1000).unwrap();
    let behind = pool.allocate(1000).unwrap();
    let calls = pool.statistics().device_calls;
    buffer.grow(1024).unwrap();
    buffer.grow(10).unwrap();
    assert_eq!((buffer.size(), pool.statistics().device_calls), (1024, calls));
    let refused = buffer.grow(4000).unwrap_err();
    let AllocError::CannotGrow(refused) = refused else { panic!("{refused}") };
    assert_eq!((refused.size(), refused.requested(), refused.device()), (1024, 4000, None));
    drop(behind);
}

#[test]
fn a_buffer_grows_into_free_memory_behind_it() {
    let config = PoolConfig::default().with_heap_size(8 * MIB).with_num_heaps(1).with_warmup_sizes([]);
    for sizing in [HeapSizing::Fixed, HeapSizing::Elastic] {
        let config = config.clone().with_heap_sizing(sizing);
        let pool = Pool::new(Arc::new(SimDevice::new().discrete()), config).unwrap();
        let mut buffer = pool.allocate(2 * MIB).unwrap();
        let behind = pool.allocate(2 * MIB).unwrap();
        let far = pool.allocate(2 * MIB).unwrap();
        assert!(matches!(buffer.grow(3 * MIB), Err(AllocError::CannotGrow(_))));
        drop(behind);
        buffer.grow(4 * MIB).unwrap();
        assert!(matches!(buffer.grow(4 * MIB + 1), Err(AllocError::CannotGrow(_))));
        assert_eq!(pool.statistics().used_capacity_mb, 6.0);
        drop((buffer, far));
        assert_eq!(pool.statistics().used_capacity_mb, 0.0);
    }
}

#[test]
fn a_buffer_without_room_moves_with_its_contents_and_leaves_the_old_one() {
    let pool = Pool::new(Arc::new(HostDevice::new()), PoolConfig::elastic()).unwrap();
    let queue = Arc::new(SimQueue::new());
    let work = pool.queue(queue.clone());
    let mut buffer = pool.allocate(Request::new(3 * MIB).tag("kv-cache")).unwrap();
    let _behind = pool.allocate(4 * MIB).unwrap();
    write(&buffer, 7);
    let address = buffer.device_address();
    let left = buffer.grow_or_move(5 * MIB).unwrap().expect("there is no room behind it");
    assert_eq!((left.device_address(), left.size()), (address, 3 * MIB));
    assert!(holds(&buffer, 3 * MIB, 7) && holds(&left, 3 * MIB, 7));
    assert_eq!((buffer.size(), buffer.tag().name()), (5 * MIB, "kv-cache"));
    left.retire(&work.ticket(queue.submit()));
    // Now there is room.
    for size in 6..200 {
        assert!(buffer.grow_or_move(size * MIB).unwrap().is_none(), "{size} MiB");
    }
    assert!(holds(&buffer, 3 * MIB, 7));
    let other = pool.allocate(3 * MIB).unwrap();
    assert_ne!(other.device_address(), address, "work in flight still reads the old place");
    queue.complete_all();
}

#[test]
fn growth_counts_against_the_quota_of_its_tag() {
    let pool = Pool::new(Arc::new(SimDevice::new()), PoolConfig::elastic()).unwrap();
    pool.set_quota("kv-cache", Some(10 * MIB));
    let mut buffer = pool.allocate(Request::new(MIB).tag("kv-cache").growable(64 * MIB)).unwrap();
    buffer.grow(10 * MIB).unwrap();
    assert!(matches!(buffer.grow(11 * MIB), Err(AllocError::QuotaExceeded(_))));
    assert!(matches!(buffer.grow_or_move(11 * MIB), Err(AllocError::QuotaExceeded(_))));
    assert_eq!(buffer.size(), 10 * MIB);
    drop(buffer);
    drop(pool.allocate(Request::new(10 * MIB).tag("kv-cache")).unwrap());
}

#[test]
fn calls_that_fail_leave_the_buffer_as_it_was() {
    for call in [Call::Commit, Call::Decommit, Call::Copy, Call::Allocate] {
        for nth in 1..6 {
            let sim = SimDevice::new();
            let pool = Pool::new(Arc::new(sim.clone()), PoolConfig::elastic()).unwrap();
            let mut buffer = pool.allocate(Request::new(MIB).growable(8 * MIB)).unwrap();
            let mut plain = pool.allocate(3 * MIB).unwrap();
            let holes: Vec<_> = (0..32).map(|_| pool.allocate(3 * MIB).unwrap()).collect();
            let kept: Vec<_> = holes.into_iter().step_by(2).collect();
            sim.fail(call, nth);
            let mut refused = 0;
            for size in (1..40).map(|n| n * MIB) {
                let (old, plain_old) = (buffer.size(), plain.size());
                if buffer.grow(size).is_err() {
                    refused += 1;
                    assert_eq!(buffer.size(), old);
                }
                if plain.grow_or_move(size).is_err() {
                    refused += 1;
                    assert_eq!(plain.size(), plain_old);
                }
                assert_eq!(sim.live_bytes(), pool.reserved_bytes(), "{call:?} {nth}");
            }
            assert!(refused > 0);
            sim.heal();
            plain.grow_or_move(64 * MIB).unwrap();
            assert_eq!(pool.statistics().active_allocations, 18);
            drop((buffer, plain, kept));
            pool.trim(0).unwrap();
            assert_eq!(sim.live_bytes(), 0, "{call:?} {nth}");
        }
    }
}

#[test]
fn caches_grow_on_several_threads_while_others_churn() {
    let pool = Pool::new(Arc::new(HostDevice::new()), PoolConfig::elastic()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4_u8 {
            let pool = &pool;
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(thread.into());
                let request = Request::new(1 << 10);
                let request = if thread % 2 == 0 { request.growable(16 * MIB) } else { request };
                let mut cache = pool.allocate(request).unwrap();
                write(&cache, thread);
                let mut others: Vec<Buffer> = Vec::new();
                while cache.size() < 16 * MIB {
                    let old = cache.size();
                    drop(cache.grow_or_move(old + random.u64(1..200_000)).unwrap());
                    assert!(holds(&cache, old, thread));
                    write(&cache, thread);
                    others.push(pool.allocate(random.u64(1..MIB)).unwrap());
                    if others.len() > 8 {
                        others.swap_remove(random.usize(..8));
                    }
                }
            });
        }
    });
    pool.trim(0).unwrap();
    assert_eq!(pool.reserved_bytes(), 0);
}
