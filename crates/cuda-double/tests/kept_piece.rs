//! A driver that does not take back the handle of a piece keeps the piece, and the heap stays usable.
//! A process of its own: the piece stays with the double.

use cuda_double::Double;
use cudarc::driver::sys::CUresult;
use warmheap::device::cuda::CudaDevice;
use warmheap::device::{Device, HeapKind, HeapRequest};

/// Bytes of one granule of an elastic heap.
const GRANULE: u64 = 32 << 20;

#[test]
fn a_handle_that_is_not_taken_back_leaves_the_heap_usable() {
    let double = Double::install();
    let device = CudaDevice::open(0).unwrap();
    let request = HeapRequest { size: 2 * GRANULE, kind: HeapKind::Elastic, label: "test".into() };
    let heap = device.create_heap(&request).unwrap();
    double.fail("cuMemRelease", 2, CUresult::CUDA_ERROR_UNKNOWN);
    // SAFETY: nobody else has the heap, and nothing of it is committed when it is to be.
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
