//! The C functions in children of a process whose threads use them. Inherited handles are refused with a
//! status of their own, no call hangs, and a child can use pools of its own.

mod support;

use std::ffi::{CStr, c_void};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use warmheap_c::wh_status::{WH_FORKED, WH_INVALID_HANDLE, WH_OK};
use warmheap_c::{
    WH_MOVABLE, WH_ZEROED, wh_allocate, wh_allocate_with, wh_buffer, wh_buffer_info, wh_free, wh_grow,
    wh_grow_or_move, wh_in_flight_until, wh_inspect, wh_last_error, wh_log_record, wh_pin, wh_pool,
    wh_pool_close, wh_pool_compact, wh_pool_leak_report, wh_pool_maintain, wh_pool_make_purgeable,
    wh_pool_on_pressure, wh_pool_open, wh_pool_prometheus, wh_pool_quota, wh_pool_record,
    wh_pool_remove_quota, wh_pool_reset_statistics, wh_pool_set_quota, wh_pool_settings, wh_pool_statistics,
    wh_pool_statistics_json, wh_pool_stop_recording, wh_pool_trim, wh_pools_prometheus, wh_pressure,
    wh_queue, wh_queue_allocate, wh_queue_close, wh_queue_complete, wh_queue_lose, wh_queue_open,
    wh_queue_open_stream, wh_queue_poll, wh_queue_retired_bytes, wh_queue_signal, wh_request, wh_retire,
    wh_set_log, wh_statistics, wh_ticket, wh_ticket_wait, wh_unpin, wh_unset_log,
};

use support::in_child;

const SETTINGS: &CStr =
    c"metal_optimizations: {memory_pool: {heap_size_mb: 32, num_heaps: 2, trim_after_ms: 20}}";

fn open() -> wh_pool {
    let mut pool = wh_pool::default();
    // SAFETY: the texts end with zero bytes, and there is room for the result.
    assert_eq!(unsafe { wh_pool_open(c"host".as_ptr(), SETTINGS.as_ptr(), &mut pool) }, WH_OK);
    pool
}

fn allocate(pool: wh_pool, size: u64) -> (warmheap_c::wh_status, wh_buffer) {
    let mut buffer = wh_buffer::default();
    // SAFETY: as above.
    let status = unsafe { wh_allocate(pool, size, 0, WH_ZEROED, c"tag".as_ptr(), &mut buffer) };
    (status, buffer)
}

fn work(pool: wh_pool, ended: &AtomicBool) {
    while !ended.load(Relaxed) {
        let held: Vec<_> = (1..20).map(|size| allocate(pool, size * 3000).1).collect();
        let mut info = wh_buffer_info::default();
        // SAFETY: there is room for the result. Each call holds the lock of a table of handles for most of
        // its time.
        (0..2000).for_each(|look| unsafe { _ = wh_inspect(held[look % held.len()], &mut info) });
        held.into_iter().for_each(|buffer| assert_eq!(wh_free(buffer), WH_OK));
        assert_eq!(wh_pool_close(open()), WH_OK);
    }
}

/// A movable buffer and a queue with a ticket, as a program holds them when it forks.
fn more(pool: wh_pool) -> (wh_buffer, wh_queue, wh_ticket) {
    let (mut buffer, mut queue, mut ticket) = Default::default();
    let request = wh_request { size: 1000, flags: WH_MOVABLE, ..Default::default() };
    // SAFETY: the request is there, and there is room for the results.
    unsafe {
        assert_eq!(wh_allocate_with(pool, &request, &mut buffer), WH_OK);
        assert_eq!(wh_queue_open(pool, &mut queue), WH_OK);
        assert_eq!(wh_queue_signal(queue, &mut ticket), WH_OK);
    }
    (buffer, queue, ticket)
}

/// The calls that a pool of 0.1 does not have.
fn more_refused(pool: wh_pool, (movable, queue, mut ticket): (wh_buffer, wh_queue, wh_ticket)) {
    let request = wh_request { size: 1000, ..Default::default() };
    let (mut buffer, mut info, mut done) = (wh_buffer::default(), wh_buffer_info::default(), false);
    let (mut text, mut needed, mut number, null) = ([0; 9], 0, 0, ptr::null_mut());
    let mut opened = wh_queue::default();
    // SAFETY: the texts end with zero bytes, and there is room for the results.
    let statuses = unsafe {
        [
            wh_allocate_with(pool, &request, &mut buffer),
            wh_queue_open(pool, &mut opened),
            wh_queue_open_stream(pool, null, &mut opened),
            wh_queue_signal(queue, &mut ticket),
            wh_queue_allocate(queue, &request, &mut buffer),
            wh_queue_poll(queue, &mut number),
            wh_queue_retired_bytes(queue, &mut number),
            wh_queue_complete(ticket),
            wh_queue_lose(queue, c"gone".as_ptr()),
            wh_queue_close(queue),
            wh_ticket_wait(ticket, 10_000, &mut done),
            wh_retire(movable, ticket),
            wh_in_flight_until(movable, ticket),
            wh_pin(movable, &mut info),
            wh_unpin(movable),
            wh_grow(movable, 2000),
            wh_grow_or_move(movable, &request, &mut buffer),
            wh_pool_compact(pool, 0, 0, ptr::null_mut()),
            wh_pool_maintain(pool, 1, &mut number),
            wh_pool_make_purgeable(pool, &mut number),
            wh_pool_set_quota(pool, c"tag".as_ptr(), 1),
            wh_pool_remove_quota(pool, c"tag".as_ptr()),
            wh_pool_quota(pool, c"tag".as_ptr(), &mut number, &mut number),
            wh_pool_statistics_json(pool, text.as_mut_ptr(), text.len(), &mut needed),
            wh_pool_prometheus(pool, c"p".as_ptr(), text.as_mut_ptr(), text.len(), &mut needed),
            wh_pools_prometheus(&pool, &c"p".as_ptr(), 1, text.as_mut_ptr(), text.len(), &mut needed),
            wh_pool_leak_report(pool, text.as_mut_ptr(), text.len(), &mut needed),
            wh_pool_settings(pool, text.as_mut_ptr(), text.len(), &mut needed),
            wh_pool_on_pressure(pool, Some(never), null, None),
            wh_pool_record(pool, c"/nowhere/at/all".as_ptr()),
            wh_pool_stop_recording(pool, &mut number),
        ]
    };
    assert_eq!(statuses, [WH_FORKED; 31]);
}

unsafe extern "C" fn never(_: *mut c_void, _: wh_pool, _: *const wh_pressure) {}

fn refused(pool: wh_pool, buffer: wh_buffer) {
    let mut info = wh_buffer_info::default();
    let mut statistics = wh_statistics::default();
    assert_eq!(allocate(pool, 64), (WH_FORKED, wh_buffer::default()));
    // SAFETY: there is room for the results.
    let looked = unsafe { (wh_inspect(buffer, &mut info), wh_pool_statistics(pool, &mut statistics)) };
    assert_eq!(looked, (WH_FORKED, WH_FORKED));
    assert_eq!((wh_pool_trim(pool, 0), wh_pool_reset_statistics(pool)), (WH_FORKED, WH_FORKED));
    assert_eq!((wh_free(buffer), wh_pool_close(pool)), (WH_FORKED, WH_FORKED));
    // SAFETY: the text stays until the next call.
    let words = unsafe { CStr::from_ptr(wh_last_error()) }.to_str().unwrap();
    assert!(words.contains("is a fork of it"), "{words}");
    assert_eq!(wh_free(wh_buffer::default()), WH_INVALID_HANDLE);
}

#[test]
fn inherited_handles_are_refused_while_other_threads_are_busy() {
    for threads in [1, 3, 16] {
        let (pool, ended) = (open(), AtomicBool::new(false));
        let others = more(pool);
        // Each thread adds to the next table, and there are 14.
        let buffers: Vec<_> =
            (0..14).map(|_| thread::spawn(move || allocate(pool, 1000).1).join().unwrap()).collect();
        thread::scope(|scope| {
            (0..threads).for_each(|_| _ = scope.spawn(|| work(pool, &ended)));
            let forks = std::panic::catch_unwind(|| {
                for _ in 0..6 {
                    in_child(|| {
                        buffers.iter().for_each(|buffer| refused(pool, *buffer));
                        more_refused(pool, others);
                        let own = open();
                        let (status, held) = allocate(own, 1 << 20);
                        assert_eq!((status, wh_free(held), wh_pool_trim(own, 0)), (WH_OK, WH_OK, WH_OK));
                        assert_eq!(wh_pool_close(own), WH_OK);
                        assert_eq!(wh_pool_close(own), WH_INVALID_HANDLE);
                    });
                }
            });
            ended.store(true, Relaxed);
            forks.unwrap();
        });
        buffers.iter().for_each(|buffer| assert_eq!(wh_free(*buffer), WH_OK));
        assert_eq!((wh_free(others.0), wh_queue_close(others.1)), (WH_OK, WH_OK));
        assert_eq!(wh_pool_close(pool), WH_OK);
    }
}

unsafe extern "C" fn stay(user: *mut c_void, _: *const wh_log_record) {
    // SAFETY: the test passes two flags that outlive the log.
    let [inside, go] = unsafe { &*user.cast::<[AtomicBool; 2]>() };
    inside.store(true, Relaxed);
    while !go.load(Relaxed) {
        thread::sleep(Duration::from_millis(1));
    }
}

/// The thread in the callback is the parent's, and the child does not wait for it.
#[test]
fn a_child_sets_its_own_log_while_a_thread_of_its_parent_is_in_the_callback() {
    let flags = [AtomicBool::new(false), AtomicBool::new(false)];
    let user = ptr::from_ref(&flags).cast_mut().cast();
    // SAFETY: the flags outlive the log, whose end the last call waits for.
    let set = |callback, user| unsafe { wh_set_log(callback, user, 4) };
    assert_eq!(set(Some(stay), user), WH_OK);
    thread::scope(|scope| {
        scope.spawn(|| assert_eq!(wh_pool_close(open()), WH_OK));
        while !flags[0].load(Relaxed) {
            thread::yield_now();
        }
        in_child(|| {
            assert_eq!((set(None, ptr::null_mut()), wh_unset_log(Some(stay), user)), (WH_OK, WH_OK));
        });
        flags[1].store(true, Relaxed);
        assert_eq!(wh_unset_log(Some(stay), user), WH_OK);
    });
}
