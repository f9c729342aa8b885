//! Pins wait for a buffer that is being moved, and make no other buffer wait.

use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use warmheap_c::wh_status::{WH_INVALID_HANDLE, WH_OK, WH_WRONG_ORDER};
use warmheap_c::*;

const MIB: u64 = 1 << 20;

/// How long each call of the device takes, a copy above all.
const COPY: Duration = Duration::from_millis(600);

/// A pool on a slow device.
fn open() -> wh_pool {
    let mut pool = wh_pool::default();
    let config = c"{heap_size_mb: 32, num_heaps: 1, warmup_sizes: [], thread_cache_mb: 0}";
    let device = c"sim:latency=600000";
    // SAFETY: the texts end with zero bytes, and there is room for the result.
    assert_eq!(unsafe { wh_pool_open(device.as_ptr(), config.as_ptr(), &mut pool) }, WH_OK);
    pool
}

fn allocate(pool: wh_pool, flags: u32) -> wh_buffer {
    let (request, mut buffer) = (wh_request { size: MIB, flags, ..Default::default() }, wh_buffer::default());
    // SAFETY: the request is there, and there is room for the result.
    assert_eq!(unsafe { wh_allocate_with(pool, &request, &mut buffer) }, WH_OK);
    buffer
}

fn pin(buffer: wh_buffer) -> (wh_status, u64) {
    let mut info = wh_buffer_info::default();
    // SAFETY: the struct is there.
    (unsafe { wh_pin(buffer, &mut info) }, info.moves)
}

fn inspect(buffer: wh_buffer) -> wh_status {
    // SAFETY: the struct is there.
    unsafe { wh_inspect(buffer, &mut wh_buffer_info::default()) }
}

/// Compacts `pool` on a thread, and calls `meanwhile` while its one movable buffer is being copied.
fn while_moving(pool: wh_pool, meanwhile: impl FnOnce()) {
    std::thread::scope(|scope| {
        // SAFETY: no report is wanted.
        scope.spawn(move || assert_eq!(unsafe { wh_pool_compact(pool, 0, 0, ptr::null_mut()) }, WH_OK));
        std::thread::sleep(COPY / 4);
        meanwhile();
    });
}

#[test]
fn a_pin_that_waits_for_a_move_makes_no_other_buffer_wait() {
    for threads in [1, 2, 3, 16, 64] {
        let pool = open();
        // All handles are of one table, the calling thread's.
        let (before, moving, other) = (allocate(pool, 0), allocate(pool, WH_MOVABLE), allocate(pool, 0));
        assert_eq!(wh_free(before), WH_OK);
        let done = AtomicBool::new(false);
        while_moving(pool, || {
            std::thread::scope(|scope| {
                for _ in 0..threads {
                    scope.spawn(|| {
                        assert_eq!(pin(moving), (WH_OK, 1), "after the move");
                        assert!(done.load(SeqCst), "the others had to wait");
                    });
                }
                std::thread::sleep(COPY / 4);
                let begun = Instant::now();
                assert_eq!((inspect(other), inspect(moving)), (WH_OK, WH_WRONG_ORDER));
                assert_eq!(wh_free(allocate(pool, 0)), WH_OK);
                assert!(begun.elapsed() < COPY / 4, "{threads} threads: waited {:?}", begun.elapsed());
                done.store(true, SeqCst);
            });
        });
        // Each pin counted.
        assert_eq!(wh_free(moving), WH_WRONG_ORDER);
        assert!((0..threads).all(|_| wh_unpin(moving) == WH_OK));
        assert_eq!((wh_unpin(moving), wh_free(moving)), (WH_WRONG_ORDER, WH_OK));
        assert_eq!((wh_free(other), wh_pool_close(pool)), (WH_OK, WH_OK));
    }
}

#[test]
fn a_pin_whose_buffer_is_freed_while_it_waits_fails_and_leaves_nothing() {
    let pool = open();
    let (before, moving) = (allocate(pool, 0), allocate(pool, WH_MOVABLE));
    assert_eq!(wh_free(before), WH_OK);
    while_moving(pool, || {
        std::thread::scope(|scope| {
            scope.spawn(|| assert_eq!(pin(moving).0, WH_INVALID_HANDLE));
            std::thread::sleep(COPY / 4);
            assert_eq!(wh_free(moving), WH_OK);
        });
    });
    let mut statistics = wh_statistics::default();
    // SAFETY: the struct is there.
    assert_eq!(unsafe { wh_pool_statistics(pool, &mut statistics) }, WH_OK);
    assert_eq!((statistics.active_allocations, wh_pool_close(pool)), (0, WH_OK));
}
