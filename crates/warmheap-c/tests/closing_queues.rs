//! A queue closes when no work that memory waits for is left, and not before: whatever form the wait has, and
//! whatever other threads do.

use std::ffi::CStr;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

use warmheap_c::wh_status::{WH_INVALID_HANDLE, WH_OK, WH_WRONG_ORDER};
use warmheap_c::*;

const MIB: u64 = 1 << 20;

fn open(device: &CStr, config: &CStr) -> (wh_pool, wh_queue) {
    let (mut pool, mut queue) = Default::default();
    // SAFETY: the texts end with zero bytes, and there is room for the results.
    unsafe {
        assert_eq!(wh_pool_open(device.as_ptr(), config.as_ptr(), &mut pool), WH_OK);
        assert_eq!(wh_queue_open(pool, &mut queue), WH_OK);
    }
    (pool, queue)
}

/// Growing, discrete and fixed heaps.
fn pools() -> impl Iterator<Item = (wh_pool, wh_queue)> {
    let fixed = c"{heap_size_mb: 16, num_heaps: 1, warmup_sizes: [], thread_cache_mb: 0}";
    let ways = [(c"sim", c"thread_cache_mb: 0"), (c"sim:discrete", c"thread_cache_mb: 0"), (c"sim", fixed)];
    ways.into_iter().map(|(device, config)| open(device, config))
}

fn allocate(pool: wh_pool, size: u64, flags: u32) -> wh_buffer {
    let request = wh_request { size, flags, ..wh_request::default() };
    let mut buffer = wh_buffer::default();
    // SAFETY: the request is there, and there is room for the result.
    assert_eq!(unsafe { wh_allocate_with(pool, &request, &mut buffer) }, WH_OK);
    buffer
}

fn reuse(queue: wh_queue, size: u64) -> wh_buffer {
    let request = wh_request { size, ..wh_request::default() };
    let mut buffer = wh_buffer::default();
    // SAFETY: as above.
    assert_eq!(unsafe { wh_queue_allocate(queue, &request, &mut buffer) }, WH_OK);
    buffer
}

fn signal(queue: wh_queue) -> wh_ticket {
    let mut ticket = wh_ticket::default();
    // SAFETY: there is room for the result.
    assert_eq!(unsafe { wh_queue_signal(queue, &mut ticket) }, WH_OK);
    ticket
}

fn address(buffer: wh_buffer) -> u64 {
    let mut info = wh_buffer_info::default();
    // SAFETY: the struct is there.
    assert_eq!(unsafe { wh_inspect(buffer, &mut info) }, WH_OK);
    info.device_address
}

fn lose(queue: wh_queue) {
    // SAFETY: the text ends with a zero byte.
    assert_eq!(unsafe { wh_queue_lose(queue, c"its worker died".as_ptr()) }, WH_OK);
}

fn last_error() -> String {
    // SAFETY: the library returns a text.
    unsafe { CStr::from_ptr(wh_last_error()) }.to_string_lossy().into_owned()
}

#[test]
fn a_queue_with_memory_that_it_reused_early_does_not_close_before_the_first_work_is_done() {
    for (pool, queue) in pools() {
        let first = allocate(pool, MIB, 0);
        let at = address(first);
        let ticket = signal(queue);
        assert_eq!(wh_retire(first, ticket), WH_OK);
        let reused = reuse(queue, MIB);
        assert_eq!(address(reused), at);
        assert_eq!(wh_queue_close(queue), WH_WRONG_ORDER);
        assert!(last_error().contains("position 1"), "{}", last_error());
        // Freed, the memory still belongs to the queue's work.
        assert_eq!(wh_free(reused), WH_OK);
        assert_eq!(wh_queue_close(queue), WH_WRONG_ORDER);
        let others: Vec<_> = (0..8).map(|_| allocate(pool, MIB, 0)).collect();
        assert!(others.iter().all(|other| address(*other) != at), "in use still");
        assert_eq!(wh_queue_complete(ticket), WH_OK);
        assert_eq!((wh_queue_close(queue), wh_queue_close(queue)), (WH_OK, WH_INVALID_HANDLE));
        assert!(others.into_iter().all(|other| wh_free(other) == WH_OK));
        assert_eq!(wh_pool_close(pool), WH_OK);
    }
}

#[test]
fn a_queue_does_not_close_while_its_work_uses_a_movable_buffer() {
    for (pool, queue) in pools() {
        let (before, moving) = (allocate(pool, MIB, 0), allocate(pool, MIB, WH_MOVABLE));
        let mut info = wh_buffer_info::default();
        let ticket = signal(queue);
        // SAFETY: the struct is there.
        assert_eq!(unsafe { wh_pin(moving, &mut info) }, WH_OK);
        assert_eq!((wh_in_flight_until(moving, ticket), wh_unpin(moving)), (WH_OK, WH_OK));
        assert_eq!(wh_free(before), WH_OK);
        assert_eq!(wh_queue_close(queue), WH_WRONG_ORDER);
        // SAFETY: no report is wanted, and the struct is there.
        unsafe {
            assert_eq!(wh_pool_compact(pool, 0, 0, ptr::null_mut()), WH_OK);
            assert_eq!(wh_pin(moving, &mut info), WH_OK);
        }
        assert_eq!(info.moves, 0, "work uses it");
        assert_eq!(wh_queue_complete(ticket), WH_OK);
        assert_eq!((wh_queue_close(queue), wh_unpin(moving), wh_free(moving)), (WH_OK, WH_OK, WH_OK));
        assert_eq!(wh_pool_close(pool), WH_OK);
    }
}

#[test]
fn a_queue_closes_when_its_work_is_done_or_uses_no_memory() {
    for (pool, queue) in pools() {
        let ticket = signal(queue);
        assert_eq!(wh_retire(allocate(pool, MIB, 0), ticket), WH_OK);
        signal(queue);
        assert_eq!(wh_retire(wh_buffer::default(), signal(queue)), WH_INVALID_HANDLE);
        assert_eq!(wh_queue_complete(ticket), WH_OK);
        assert_eq!(wh_queue_close(queue), WH_OK, "no memory waits for the later positions");
        assert_eq!(wh_pool_close(pool), WH_OK);
    }
}

#[test]
fn a_lost_queue_closes_with_all_that_waits_for_it() {
    for (pool, queue) in pools() {
        assert_eq!(wh_retire(allocate(pool, MIB, 0), signal(queue)), WH_OK);
        let reused = reuse(queue, MIB);
        lose(queue);
        assert_eq!((wh_queue_close(queue), wh_free(reused)), (WH_OK, WH_OK));
        let mut statistics = wh_statistics::default();
        // SAFETY: the struct is there.
        assert_eq!(unsafe { wh_pool_statistics(pool, &mut statistics) }, WH_OK);
        assert_eq!((statistics.active_allocations, statistics.in_flight_mb), (0, 0.0));
        assert_eq!(wh_pool_close(pool), WH_OK);
    }
}

/// The last work is never done. So a queue that closes has nothing retired to it, and a buffer that a queue
/// took never comes back.
#[test]
fn a_queue_that_closes_while_threads_retire_to_it_took_nothing() {
    for threads in [1, 2, 3, 16, 64] {
        for _ in 0..200 / threads {
            let (pool, queue) = open(c"sim", c"thread_cache_mb: 0");
            let buffers: Vec<_> = (0..threads).map(|_| allocate(pool, MIB, 0)).collect();
            let ticket = signal(queue);
            let retired = AtomicU64::new(0);
            let begin = std::sync::Barrier::new(threads + 1);
            let closed = std::thread::scope(|scope| {
                for buffer in &buffers {
                    scope.spawn(|| {
                        begin.wait();
                        match wh_retire(*buffer, ticket) {
                            WH_OK => drop(retired.fetch_add(1, Ordering::SeqCst)),
                            status => {
                                assert_eq!(status, WH_INVALID_HANDLE);
                                assert_eq!(wh_free(*buffer), WH_OK, "a refused buffer is its caller's");
                            }
                        }
                    });
                }
                begin.wait();
                wh_queue_close(queue)
            });
            let (retired, took) = (retired.into_inner(), closed == WH_WRONG_ORDER);
            assert_eq!(retired > 0, took, "{retired} of {threads} retired, the close returned {closed:?}");
            let mut statistics = wh_statistics::default();
            // SAFETY: the struct is there.
            assert_eq!(unsafe { wh_pool_statistics(pool, &mut statistics) }, WH_OK);
            assert_eq!(statistics.in_flight_mb, retired as f64);
            if took {
                assert_eq!((wh_queue_complete(ticket), wh_queue_close(queue)), (WH_OK, WH_OK));
            }
            assert_eq!(wh_pool_close(pool), WH_OK);
        }
    }
}
