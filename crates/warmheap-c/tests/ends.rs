//! The C functions where a thread or the process ends: in destructors of thread-specific keys and in handlers
//! of `atexit`, when the thread's own variables of Rust are gone. On host memory, on the simulated devices,
//! and on the double of the CUDA driver.
#![cfg(target_os = "linux")]

mod support;

use std::ffi::{CStr, c_void};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use cuda_double::Double;
use warmheap_c::wh_status::{WH_INVALID_HANDLE, WH_OK};
use warmheap_c::{
    WH_ZEROED, wh_allocate, wh_buffer, wh_free, wh_last_error, wh_log_record, wh_pool, wh_pool_close,
    wh_pool_open, wh_pool_trim, wh_queue_close, wh_queue_complete, wh_queue_open, wh_queue_open_stream,
    wh_queue_poll, wh_queue_signal, wh_retire, wh_set_log, wh_ticket_wait,
};

use support::in_child;

const DEVICES: [&CStr; 5] = [c"host", c"sim", c"sim:discrete", c"cuda", c"cuda:1"];

/// The lines of the log that came to the program.
static LINES: AtomicU64 = AtomicU64::new(0);

/// What the functions of C below work on.
static USED: Mutex<Option<(wh_pool, wh_buffer)>> = Mutex::new(None);

fn open(device: &CStr) -> wh_pool {
    let mut pool = wh_pool::default();
    // SAFETY: the text ends with a zero byte, and there is room for the result.
    let status = unsafe { wh_pool_open(device.as_ptr(), std::ptr::null(), &mut pool) };
    // SAFETY: the text stays until the next call.
    assert_eq!(status, WH_OK, "{device:?}: {:?}", unsafe { CStr::from_ptr(wh_last_error()) });
    pool
}

fn allocate(pool: wh_pool, size: u64) -> wh_buffer {
    let mut buffer = wh_buffer::default();
    // SAFETY: the text ends with a zero byte, and there is room for the result.
    assert_eq!(unsafe { wh_allocate(pool, size, 0, WH_ZEROED, c"end".as_ptr(), &mut buffer) }, WH_OK);
    buffer
}

/// Small and large requests, a trim, and the free of what another moment allocated. A failed assertion ends
/// the process, since no panic may leave a function of C.
fn work() {
    let (pool, kept) = USED.lock().unwrap().take().unwrap();
    let buffers = [100, 300 << 10, 40 << 20].map(|size| allocate(pool, size));
    buffers.into_iter().for_each(|buffer| assert_eq!(wh_free(buffer), WH_OK));
    let (mut queue, mut ticket, mut done) = Default::default();
    // SAFETY: there is room for the results. Null is the default stream.
    unsafe {
        if wh_queue_open_stream(pool, std::ptr::null_mut(), &mut queue) != WH_OK {
            assert_eq!(wh_queue_open(pool, &mut queue), WH_OK);
        }
        assert_eq!(wh_queue_signal(queue, &mut ticket), WH_OK);
        assert_eq!(wh_retire(kept, ticket), WH_OK);
        wh_queue_complete(ticket);
        assert_eq!((wh_ticket_wait(ticket, 10_000, &mut done), done), (WH_OK, true));
        assert_eq!(wh_queue_poll(queue, std::ptr::null_mut()), WH_OK);
    }
    assert_eq!(wh_queue_close(queue), WH_OK);
    assert_eq!(wh_queue_close(queue), WH_INVALID_HANDLE);
    // SAFETY: the text stays until the next failure.
    let words = unsafe { CStr::from_ptr(wh_last_error()) };
    assert!(words.to_str().unwrap().contains("the queue handle names nothing"), "{words:?}");
    assert_eq!(wh_pool_trim(pool, 0), WH_OK);
    // A leak is logged, and the log reaches the program here, too.
    let leaked = allocate(pool, 1000);
    assert_eq!((wh_pool_close(pool), wh_free(leaked)), (WH_OK, WH_OK));
    assert!(LINES.load(Relaxed) > 0);
}

extern "C" fn at_exit() {
    work();
}

unsafe extern "C" fn at_thread_end(_: *mut c_void) {
    work();
}

unsafe extern "C" fn count_line(_: *mut c_void, _: *const wh_log_record) {
    LINES.fetch_add(1, Relaxed);
}

fn keep(device: &CStr) {
    // SAFETY: the function is this test's own, and uses no data.
    assert_eq!(unsafe { wh_set_log(Some(count_line), std::ptr::null_mut(), 1) }, WH_OK);
    let pool = open(device);
    *USED.lock().unwrap() = Some((pool, allocate(pool, 5 << 20)));
}

#[test]
fn pools_work_and_close_when_the_process_exits() {
    let _double = Double::install();
    for device in DEVICES {
        in_child(|| {
            // SAFETY: the function is this test's own.
            assert_eq!(unsafe { libc::atexit(at_exit) }, 0);
            keep(device);
        });
    }
}

#[test]
fn pools_work_and_close_when_a_thread_ends() {
    let _double = Double::install();
    for device in DEVICES {
        for first_use in [true, false] {
            in_child(|| {
                let mut key = 0;
                // SAFETY: the function is this test's own.
                assert_eq!(unsafe { libc::pthread_key_create(&mut key, Some(at_thread_end)) }, 0);
                if first_use {
                    // The ending thread has never used the pool.
                    keep(device);
                }
                let ends = std::thread::spawn(move || {
                    if !first_use {
                        keep(device);
                    }
                    // SAFETY: this is the key from above. The destructor runs for what is not null.
                    assert_eq!(unsafe { libc::pthread_setspecific(key, std::ptr::dangling()) }, 0);
                });
                ends.join().unwrap();
                assert!(USED.lock().unwrap().is_none(), "the destructor ran");
            });
        }
    }
}
