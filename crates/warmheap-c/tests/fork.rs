//! The C functions in children of a process whose threads use them. Inherited handles are refused with a
//! status of their own, no call hangs, and a child can use pools of its own.

mod support;

use std::ffi::CStr;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

use warmheap_c::wh_status::{WH_FORKED, WH_INVALID_HANDLE, WH_OK};
use warmheap_c::{
    WH_ZEROED, wh_allocate, wh_buffer, wh_buffer_info, wh_free, wh_inspect, wh_last_error, wh_pool,
    wh_pool_close, wh_pool_open, wh_pool_reset_statistics, wh_pool_statistics, wh_pool_trim, wh_statistics,
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
        let mut info =
            wh_buffer_info { device_address: 0, host_ptr: ptr::null_mut(), size: 0, is_fallback: false };
        // SAFETY: there is room for the result. Each call holds the lock of a table of handles for most of
        // its time.
        (0..2000).for_each(|look| unsafe { _ = wh_inspect(held[look % held.len()], &mut info) });
        held.into_iter().for_each(|buffer| assert_eq!(wh_free(buffer), WH_OK));
        assert_eq!(wh_pool_close(open()), WH_OK);
    }
}

fn refused(pool: wh_pool, buffer: wh_buffer) {
    let mut info =
        wh_buffer_info { device_address: 0, host_ptr: ptr::null_mut(), size: 0, is_fallback: false };
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
        // Each thread adds to a table of its own, up to 16 tables.
        let buffers: Vec<_> =
            (0..16).map(|_| thread::spawn(move || allocate(pool, 1000).1).join().unwrap()).collect();
        thread::scope(|scope| {
            (0..threads).for_each(|_| _ = scope.spawn(|| work(pool, &ended)));
            let forks = std::panic::catch_unwind(|| {
                for _ in 0..6 {
                    in_child(|| {
                        buffers.iter().for_each(|buffer| refused(pool, *buffer));
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
        assert_eq!(wh_pool_close(pool), WH_OK);
    }
}
