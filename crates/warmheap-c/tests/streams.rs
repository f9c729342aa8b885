//! Queues of CUDA streams in C, on the double of the driver.
#![cfg(target_os = "linux")]

use std::ffi::{CStr, c_void};
use std::ptr;

use cuda_double::Double;
use warmheap_c::wh_status::{WH_DEVICE_ERROR, WH_INVALID_ARGUMENT, WH_OK};
use warmheap_c::*;

fn stream(number: usize) -> *mut c_void {
    ptr::without_provenance_mut(number)
}

fn open(device: &CStr, number: usize) -> (wh_pool, wh_queue) {
    let (mut pool, mut queue) = Default::default();
    // SAFETY: the text ends with a zero byte, there is room for the results, and the double takes any stream.
    unsafe {
        assert_eq!(wh_pool_open(device.as_ptr(), ptr::null(), &mut pool), WH_OK);
        assert_eq!(wh_queue_open_stream(pool, stream(number), &mut queue), WH_OK);
    }
    (pool, queue)
}

fn signal(queue: wh_queue) -> (wh_status, wh_ticket) {
    let mut ticket = wh_ticket::default();
    // SAFETY: there is room for the result.
    (unsafe { wh_queue_signal(queue, &mut ticket) }, ticket)
}

fn is_done(ticket: wh_ticket) -> bool {
    let mut done = false;
    // SAFETY: there is room for the result.
    assert_eq!(unsafe { wh_ticket_wait(ticket, 0, &mut done) }, WH_OK);
    done
}

fn retired(queue: wh_queue) -> u64 {
    let mut bytes = 0;
    // SAFETY: there is room for the result, and the number freed is not wanted.
    unsafe {
        assert_eq!(wh_queue_poll(queue, ptr::null_mut()), WH_OK);
        assert_eq!(wh_queue_retired_bytes(queue, &mut bytes), WH_OK);
    }
    bytes
}

/// One test, because the double has one state for the process.
#[test]
fn memory_retired_to_a_stream_waits_for_the_gpu() {
    let double = Double::install();
    for (device, number) in [(c"cuda", 3), (c"cuda:1", 4), (c"cuda:ordered", 5)] {
        let (pool, queue) = open(device, number);
        let request = wh_request { size: 3 << 20, ..wh_request::default() };
        let (mut buffer, mut info) = (wh_buffer::default(), wh_buffer_info::default());
        // SAFETY: the request is there, and there is room for the results.
        unsafe {
            assert_eq!(wh_allocate_with(pool, &request, &mut buffer), WH_OK);
            assert_eq!(wh_inspect(buffer, &mut info), WH_OK);
        }
        assert!(info.host_ptr.is_null() && info.device_address != 0);
        double.hold(number, true);
        let (signalled, ticket) = signal(queue);
        assert_eq!((signalled, wh_retire(buffer, ticket)), (WH_OK, WH_OK));
        assert!(!is_done(ticket));
        assert_eq!(retired(queue), 3 << 20);
        // The program does not complete what the GPU works on.
        assert_eq!(wh_queue_complete(ticket), WH_INVALID_ARGUMENT);
        // SAFETY: the text ends with a zero byte.
        assert_eq!(unsafe { wh_queue_lose(queue, c"no".as_ptr()) }, WH_INVALID_ARGUMENT);
        double.hold(number, false);
        assert!(is_done(ticket));
        assert_eq!(retired(queue), 0);

        double.capture(number, true);
        assert_eq!(signal(queue).0, WH_DEVICE_ERROR);
        double.capture(number, false);

        // A stream's queue may close before its work is done.
        let mut last = wh_buffer::default();
        // SAFETY: as above.
        assert_eq!(unsafe { wh_queue_allocate(queue, &request, &mut last) }, WH_OK);
        double.hold(number, true);
        assert_eq!(wh_retire(last, signal(queue).1), WH_OK);
        assert_eq!(wh_queue_close(queue), WH_OK);
        double.hold(number, false);
        assert_eq!(wh_pool_close(pool), WH_OK);
    }
    assert_eq!(double.violations(), "");
}
