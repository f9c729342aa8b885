//! If the driver does not take back the handle of a piece, it keeps the piece, and the heap stays usable.
//! This test has its own process, because the double then holds the piece until the end.

use cuda_double::Double;
use cudarc::driver::sys::CUresult;
use warmheap::device::cuda::CudaDevice;
use warmheap::device::{Device, HeapRequest};

/// The bytes of one page of a growing heap.
const GRANULE: u64 = 32 << 20;

#[test]
fn a_handle_that_is_not_taken_back_leaves_the_heap_usable() {
    let double = Double::install();
    let device = CudaDevice::open(0).unwrap();
    let request = HeapRequest::elastic(2 * GRANULE, "test");
    let heap = device.create_heap(&request).unwrap();
    double.fail("cuMemRelease", 2, CUresult::CUDA_ERROR_UNKNOWN);
    // SAFETY: only this test uses the heap, and it commits no page twice.
    unsafe {
        assert!(heap.commit(0..2 * GRANULE).is_err());
        heap.commit(0..2 * GRANULE).unwrap();
        heap.fill(0..2 * GRANULE, 1).unwrap();
        heap.decommit(0..2 * GRANULE).unwrap();
    }
    drop((heap, device));
    assert_eq!(double.violations(), "");
    assert_eq!(double.live_objects(), 1, "the piece that was kept, and no more");
}
