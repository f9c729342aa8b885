//! The CUDA backend on the double of the driver: its promises, and each call failing in turn.

#[path = "../../warmheap/tests/support/own.rs"]
mod own;

use std::any::Any;
use std::ffi::c_void;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use cuda_double::Double;
use cudarc::driver::sys::{self, CUresult};
use warmheap::device::cuda::CudaDevice;
use warmheap::device::{Device, DeviceError, HeapRequest, Memory, Queue};

const MIB: u64 = 1 << 20;
/// The bytes of one page of a growing heap.
const GRANULE: u64 = 32 * MIB;
const STREAM: usize = 7;

/// The tests of this process share the state of the double, so they take turns. Each leaves nothing behind.
struct Turn(MutexGuard<'static, ()>);

impl Turn {
    fn take() -> (Self, &'static Double) {
        static TURNS: Mutex<()> = Mutex::new(());
        static DOUBLE: OnceLock<Double> = OnceLock::new();
        let turn = TURNS.lock().unwrap_or_else(PoisonError::into_inner);
        let double = DOUBLE.get_or_init(Double::install);
        double.configure(1 << 30, true, true);
        (Self(turn), double)
    }

    fn end(self, double: &Double) {
        assert_eq!(double.violations(), "", "a rule of the driver was broken");
        assert_eq!(double.live_objects(), 0, "something was not given back");
        drop(self.0);
    }
}

fn elastic(device: &CudaDevice, size: u64) -> Result<Box<dyn Memory>, DeviceError> {
    device.create_heap(&HeapRequest::elastic(size, "test"))
}

/// Reads device memory as a program does.
fn read(address: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let mut context = std::ptr::null_mut();
    // SAFETY: the context and the memory are the double's, and the buffer has the given length.
    unsafe {
        assert_eq!(sys::cuDevicePrimaryCtxRetain(&mut context, 0), CUresult::CUDA_SUCCESS);
        assert_eq!(sys::cuCtxPushCurrent_v2(context), CUresult::CUDA_SUCCESS);
        let status = sys::cuMemcpyDtoH_v2(bytes.as_mut_ptr().cast(), address, len);
        assert_eq!(status, CUresult::CUDA_SUCCESS);
        assert_eq!(sys::cuCtxPopCurrent_v2(&mut context), CUresult::CUDA_SUCCESS);
        assert_eq!(sys::cuDevicePrimaryCtxRelease_v2(0), CUresult::CUDA_SUCCESS);
    }
    bytes
}

#[test]
fn the_backend_conforms() {
    let (turn, double) = Turn::take();
    let device = CudaDevice::open(0).unwrap();
    warmheap_testing::conformance::run(&device).unwrap_or_else(|failures| panic!("{failures}"));
    drop(device);
    turn.end(double);
}

#[test]
fn elastic_heaps_hold_only_what_is_committed() {
    let (turn, double) = Turn::take();
    let device = CudaDevice::open(0).unwrap();
    assert!(device.name().starts_with("cuda:0"));
    assert_eq!(device.limits().granularity, GRANULE);
    let heap = elastic(&device, 512 * MIB).unwrap();
    assert_eq!(double.used(0), 0);

    own::commit(&*heap, 0..4 * GRANULE).unwrap();
    own::commit(&*heap, 8 * GRANULE..9 * GRANULE).unwrap();
    assert_eq!(double.used(0), 5 * GRANULE);
    own::fill(&*heap, 8 * GRANULE..9 * GRANULE, 0xA5).unwrap();
    assert!(read(heap.device_address() + 8 * GRANULE, 4096).iter().all(|&b| b == 0xA5));

    own::decommit(&*heap, GRANULE..3 * GRANULE).unwrap();
    assert_eq!(double.used(0), 3 * GRANULE);
    own::commit(&*heap, 2 * GRANULE..3 * GRANULE).unwrap();
    assert_eq!(device.limits().available, Some((1 << 30) - 4 * GRANULE));

    drop(heap);
    assert_eq!(double.used(0), 0);
    drop(device);
    turn.end(double);
}

#[test]
fn bytes_are_copied_between_heaps_and_buffers() {
    let (turn, double) = Turn::take();
    let device = CudaDevice::open(0).unwrap();
    let heap = elastic(&device, 64 * MIB).unwrap();
    own::commit(&*heap, 0..GRANULE).unwrap();
    let buffer = device.allocate(MIB, 1).unwrap();
    own::fill(&*heap, 0..GRANULE, 1).unwrap();
    own::fill(&*buffer, 0..MIB, 2).unwrap();
    own::copy(&*heap, 4 * MIB, &*buffer, 0..1000).unwrap();
    own::copy(&*heap, 8 * MIB, &*heap, 4 * MIB..4 * MIB + 2000).unwrap();
    let copied = read(heap.device_address() + 8 * MIB, 2001);
    assert!(copied[..1000].iter().all(|byte| *byte == 2) && copied[1000..].iter().all(|byte| *byte == 1));
    own::copy(&*buffer, 0, &*heap, 0..10).unwrap();
    assert_eq!(read(buffer.device_address(), 11), [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2]);
    drop((heap, buffer, device));
    turn.end(double);
}

#[test]
fn devices_of_one_thread_do_not_mix() {
    let (turn, double) = Turn::take();
    assert_eq!(CudaDevice::count().unwrap(), 2);
    let first = CudaDevice::open(0).unwrap();
    let second = CudaDevice::open_shared(1, &[0, 1]).unwrap();
    let a = first.allocate(MIB, 1).unwrap();
    let heap = elastic(&second, 2 * GRANULE).unwrap();
    own::commit(&*heap, 0..2 * GRANULE).unwrap();
    let b = second.allocate(2 * MIB, 1).unwrap();
    assert_eq!((double.used(0), double.used(1)), (MIB, 2 * GRANULE + 2 * MIB));
    own::fill(&*a, 0..MIB, 1).unwrap();
    own::fill(&*heap, 0..MIB, 2).unwrap();
    drop((a, b, heap, first, second));
    turn.end(double);
}

#[test]
fn requests_too_large_and_memory_gone_are_told_apart() {
    let (turn, double) = Turn::take();
    let device = CudaDevice::open(0).unwrap();
    assert!(matches!(device.allocate(4 << 30, 1), Err(DeviceError::TooLarge { .. })));
    let most = device.allocate(1000 * MIB, 4096).unwrap();
    assert!(most.device_address().is_multiple_of(4096));
    let error = device.allocate(100 * MIB, 1).unwrap_err();
    assert!(
        matches!(error, DeviceError::OutOfMemory { requested, available: Some(free) }
            if requested == 100 * MIB && free < 24 * MIB),
        "{error}"
    );
    let heap = elastic(&device, 512 * MIB).unwrap();
    let error = own::commit(&*heap, 0..64 * MIB).unwrap_err();
    assert!(matches!(error, DeviceError::OutOfMemory { requested, .. } if requested == 64 * MIB), "{error}");
    assert!(double.used(0) < 1001 * MIB, "a failed commit keeps nothing");
    drop((most, heap, device));
    turn.end(double);
}

#[test]
fn fallback_in_stream_order_is_as_good() {
    let (turn, double) = Turn::take();
    let device = CudaDevice::open(0).unwrap().stream_ordered().unwrap();
    let buffer = device.allocate(10 * MIB, 1 << 16).unwrap();
    assert!(buffer.device_address().is_multiple_of(1 << 16));
    own::fill(&*buffer, 0..10 * MIB, 9).unwrap();
    assert!(read(buffer.device_address() + 10 * MIB - 4096, 4096).iter().all(|&b| b == 9));
    assert!(double.calls("cuMemPoolSetAttribute") > 0);
    assert!(matches!(device.allocate(1 << 40, 1), Err(DeviceError::TooLarge { .. })));
    drop((buffer, device));
    turn.end(double);
}

#[test]
fn without_virtual_memory_heaps_are_fixed() {
    let (turn, double) = Turn::take();
    double.configure(1 << 30, false, true);
    let device = CudaDevice::open(0).unwrap();
    assert!(!device.limits().elastic);
    assert!(matches!(elastic(&device, 64 * MIB), Err(DeviceError::Unsupported { .. })));
    let heap = device.create_heap(&HeapRequest::fixed(64 * MIB, "test")).unwrap();
    own::warm(&*heap, 0..64 * MIB).unwrap();
    assert_eq!(double.used(0), 64 * MIB);
    drop((heap, device));
    turn.end(double);
}

#[test]
fn a_ticket_completes_when_the_stream_gets_there() {
    for stream_writes in [true, false] {
        let (turn, double) = Turn::take();
        double.configure(1 << 30, true, stream_writes);
        let device = CudaDevice::open(0).unwrap();
        // SAFETY: the double accepts any handle as a stream.
        let queue = unsafe { device.queue(STREAM as *mut c_void) }.unwrap();
        assert_eq!(queue.completed().unwrap(), 0);
        let early = queue.signal().unwrap();
        assert!(queue.wait(early, Duration::ZERO).unwrap());

        double.hold(STREAM, true);
        let late = queue.signal().unwrap();
        assert!(late > early);
        assert!(!queue.wait(late, Duration::from_millis(5)).unwrap());
        assert_eq!(queue.completed().unwrap(), early);
        double.hold(STREAM, false);
        assert_eq!(queue.completed().unwrap(), late);

        double.capture(STREAM, true);
        assert!(matches!(queue.signal(), Err(DeviceError::Unsupported { .. })));
        double.capture(STREAM, false);
        drop((queue, device));
        turn.end(double);
    }
}

#[test]
fn giving_memory_back_waits_for_the_gpu() {
    let (turn, double) = Turn::take();
    let device = CudaDevice::open(0).unwrap();
    // SAFETY: the double accepts any handle as a stream.
    let queue = unsafe { device.queue(STREAM as *mut c_void) }.unwrap();
    let heap = elastic(&device, 64 * MIB).unwrap();
    own::commit(&*heap, 0..2 * GRANULE).unwrap();
    double.hold(STREAM, true);
    let ticket = queue.signal().unwrap();
    own::decommit(&*heap, 0..GRANULE).unwrap();
    assert!(queue.completed().unwrap() >= ticket);
    drop(heap);
    double.hold(STREAM, false);
    drop((queue, device));
    turn.end(double);
}

#[test]
fn a_lost_device_is_reported_from_then_on() {
    let (turn, double) = Turn::take();
    let device = CudaDevice::open(0).unwrap();
    // SAFETY: the double accepts any handle as a stream.
    let queue = unsafe { device.queue(STREAM as *mut c_void) }.unwrap();
    double.fail("cuMemAlloc", 1, CUresult::CUDA_ERROR_ILLEGAL_ADDRESS);
    let error = device.allocate(MIB, 1).unwrap_err();
    assert!(matches!(error, DeviceError::Lost { .. }), "{error}");
    assert!(matches!(queue.completed(), Err(DeviceError::Lost { .. })));
    drop((queue, device));
    turn.end(double);
}

/// Runs all steps of a device's life. Any step may fail. `kept` receives what the steps created, for the
/// caller to drop.
fn life(kept: &mut Vec<Box<dyn Any>>) -> Result<(), DeviceError> {
    let device = CudaDevice::open_shared(0, &[1])?;
    // SAFETY: the double accepts any handle as a stream.
    let queue = unsafe { device.queue(STREAM as *mut c_void) }?;
    let heap = Arc::new(elastic(&device, 4 * GRANULE)?);
    kept.push(Box::new(Arc::clone(&heap)));
    own::commit(&**heap, 0..4 * GRANULE)?;
    own::fill(&**heap, 0..4 * GRANULE, 3)?;
    let buffer = Arc::new(device.allocate(MIB, 1024)?);
    kept.push(Box::new(Arc::clone(&buffer)));
    own::fill(&**buffer, 0..MIB, 4)?;
    own::copy(&**buffer, 0, &**heap, 0..MIB)?;
    queue.signal()?;
    own::decommit(&**heap, 0..2 * GRANULE)?;
    own::commit(&**heap, GRANULE..2 * GRANULE)
}

#[test]
fn any_call_may_fail_and_nothing_leaks() {
    const CALLS: &[&str] = &[
        "cuDeviceGetCount",
        "cuDeviceGet",
        "cuDeviceGetName",
        "cuDeviceTotalMem",
        "cuDevicePrimaryCtxRetain",
        "cuCtxPushCurrent",
        "cuMemHostAlloc",
        "cuMemHostGetDevicePointer",
        "cuMemGetAllocationGranularity",
        "cuMemAddressReserve",
        "cuMemCreate",
        "cuMemMap",
        "cuMemSetAccess",
        "cuMemsetD8",
        "cuMemcpyDtoD",
        "cuMemAlloc",
        "cuStreamIsCapturing",
        "cuStreamWriteValue64",
        "cuStreamSynchronize",
        "cuCtxSynchronize",
        "cuMemUnmap",
    ];
    let (turn, double) = Turn::take();
    for call in CALLS {
        let mut failed = 0;
        for nth in 1.. {
            double.fail(call, nth, CUresult::CUDA_ERROR_INVALID_VALUE);
            let mut kept = Vec::new();
            let ok = life(&mut kept).is_ok();
            // Giving memory back does not fail. If the driver refuses, it keeps the memory.
            double.forget_failures();
            drop(kept);
            if ok {
                break;
            }
            failed += 1;
            assert_eq!(double.violations(), "", "after {call} failed at use {nth}");
            let kept = double.live_objects();
            assert_eq!(kept, 0, "kept after {call} failed at use {nth}");
        }
        assert!(failed > 0, "{call} never mattered");
    }
    life(&mut Vec::new()).unwrap();
    turn.end(double);
}

#[test]
fn the_documents_name_the_size_of_a_page() {
    let (turn, double) = Turn::take();
    let device = CudaDevice::open(0).unwrap();
    assert_eq!(device.limits().granularity, GRANULE);
    let (glossary, giving_back) =
        (include_str!("../../../docs/glossary.md"), include_str!("../../../docs/giving-back.md"));
    let said = format!("{} MiB on CUDA", GRANULE / MIB);
    assert!(glossary.contains(&said) && giving_back.contains(&said), "{said}");
    drop(device);
    turn.end(double);
}
