//! What the Metal tests share: a device, and reading memory back through the GPU. On the double, it also
//! checks that every object and byte is gone at the end.

#[path = "../support/own.rs"]
pub(crate) mod own;

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use objc2::rc::autoreleasepool;
#[cfg(not(metal_double))]
use objc2_metal::MTLGPUFamily;
use objc2_metal::{
    MTLBlitCommandEncoder, MTLBuffer, MTLCommandBuffer, MTLCommandEncoder, MTLCommandQueue,
    MTLCreateSystemDefaultDevice, MTLDevice, MTLResourceOptions,
};
use std::time::Duration;
use warmheap::device::metal::{MetalDevice, MetalOptions, MetalQueue, binding};
use warmheap::device::{HeapRequest, Memory, Queue};

pub(crate) const KIB: u64 = 1 << 10;
pub(crate) const MIB: u64 = 1 << 20;

/// Runs `test` alone, on the default device. On the double, it resets the knobs first and asserts afterwards
/// that nothing is left.
pub(crate) fn on_device(test: impl FnOnce(MetalDevice)) {
    with_options(MetalOptions::default(), test);
}

pub(crate) fn with_options(options: MetalOptions, test: impl FnOnce(MetalDevice)) {
    alone(|| {
        test(MetalDevice::system_default(options).expect("a Metal device"));
    });
}

/// Runs `test` while no other test runs. Virtual GPUs, as those of hosted CI, are left out: they are not of
/// family Metal3, and show nothing of a real one.
pub(crate) fn alone(test: impl FnOnce()) {
    static ONE: Mutex<()> = Mutex::new(());
    let _guard: MutexGuard<'_, ()> = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    #[cfg(not(metal_double))]
    if MTLCreateSystemDefaultDevice().is_none_or(|device| !device.supportsFamily(MTLGPUFamily::Metal3)) {
        return eprintln!("skipped: this machine has no GPU of family Metal3");
    }
    #[cfg(metal_double)]
    double::begin();
    test();
    #[cfg(metal_double)]
    double::end();
}

pub(crate) fn heap(device: &MetalDevice, size: u64) -> Box<dyn Memory> {
    use warmheap::device::Device;
    device.create_heap(&request(size)).expect("a heap")
}

pub(crate) fn request(size: u64) -> HeapRequest {
    HeapRequest::fixed(size, "test heap")
}

/// Returns the bytes of a range, which the GPU copies out.
pub(crate) fn read(queue: &MetalQueue, memory: &dyn Memory, range: Range<u64>) -> Vec<u8> {
    autoreleasepool(|_| {
        let length = (range.end - range.start) as usize;
        let device = MTLCreateSystemDefaultDevice().expect("a Metal device");
        let target = device
            .newBufferWithLength_options(length, MTLResourceOptions::StorageModeShared)
            .expect("a buffer to read into");
        let from = binding(memory, range.start).expect("Metal memory");
        let commands = queue.raw().commandBuffer().expect("a command buffer");
        let blit = commands.blitCommandEncoder().expect("an encoder");
        // SAFETY: both ranges lie within their buffers.
        unsafe {
            blit.copyFromBuffer_sourceOffset_toBuffer_destinationOffset_size(
                from.buffer,
                from.offset,
                &target,
                0,
                length,
            );
        }
        blit.endEncoding();
        let ticket = queue.submit(&commands);
        assert!(queue.wait(ticket, Duration::from_secs(10)).expect("the GPU's copy"));
        // SAFETY: the length is that of the buffer, and the GPU has finished writing.
        unsafe { std::slice::from_raw_parts(target.contents().as_ptr().cast::<u8>(), length) }.to_vec()
    })
}

/// The knobs and counters of the double.
#[cfg(metal_double)]
pub(crate) mod double {
    use std::time::{Duration, Instant};

    /// What the double does; `double.h` explains each field.
    #[repr(C)]
    pub(crate) struct Knobs {
        pub(crate) budget: u64,
        pub(crate) align: u64,
        pub(crate) longest_blit: u64,
        pub(crate) object_limit: u64,
        pub(crate) fail_after: i64,
        held: i32,
        pub(crate) fail_work: i32,
        pub(crate) stall: i32,
        pub(crate) lacks: i32,
        pub(crate) old_system: i32,
        pub(crate) fail_sets: i32,
        pub(crate) under_pressure: i32,
    }

    #[repr(C)]
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub(crate) struct Counts {
        pub(crate) objects: i64,
        pub(crate) resources: i64,
        pub(crate) resident_bytes: i64,
        pub(crate) set_commits: i64,
        pub(crate) residency_requests: i64,
        pub(crate) residency_ends: i64,
        pub(crate) used_heaps: i64,
        pub(crate) bytes: u64,
    }

    unsafe extern "C" {
        static mut knobs: Knobs;
        static mut counts: Counts;
        fn metal_double_hold(hold: i32);
        fn metal_double_end_stalled();
        fn metal_double_no_gpu(no: i32);
        fn metal_double_drop_shared_device();
    }

    pub(crate) fn turn(change: impl FnOnce(&mut Knobs)) {
        // SAFETY: tests run one at a time, and turn knobs while no other thread calls Metal.
        change(unsafe { &mut *(&raw mut knobs) });
    }

    pub(crate) fn counts_now() -> Counts {
        // SAFETY: this reads integers, which the double writes atomically.
        unsafe { (&raw const counts).read_volatile() }
    }

    /// Makes the GPU accept work without running it, or run all that it has.
    pub(crate) fn hold(yes: bool) {
        // SAFETY: the double takes its own lock.
        unsafe { metal_double_hold(i32::from(yes)) };
    }

    /// Lets the command buffers that stall end.
    pub(crate) fn end_stalled() {
        // SAFETY: the double takes its own lock.
        unsafe { metal_double_end_stalled() };
    }

    pub(crate) fn no_gpu(no: bool) {
        // SAFETY: the double reads this flag when it next creates a device.
        unsafe { metal_double_no_gpu(i32::from(no)) };
    }

    pub(crate) fn begin() {
        turn(|k| {
            *k = Knobs {
                budget: 256 << 20,
                align: 256,
                longest_blit: 1 << 30,
                object_limit: 1000,
                fail_after: -1,
                held: 0,
                fail_work: 0,
                stall: 0,
                lacks: 0,
                old_system: 0,
                fail_sets: 0,
                under_pressure: 0,
            };
        });
        // SAFETY: as in `turn`.
        unsafe { counts = Counts::default() };
    }

    /// Asserts that every object and byte is gone.
    pub(crate) fn end() {
        // SAFETY: this is the system's own reference to the device, and nothing uses it any more.
        unsafe { metal_double_drop_shared_device() };
        // A joined thread may still be running the destructors of its thread-local caches.
        let deadline = Instant::now() + Duration::from_secs(5);
        let mut left = counts_now();
        while (left.objects, left.resources, left.resident_bytes, left.bytes) != (0, 0, 0, 0) {
            assert!(Instant::now() < deadline, "Metal objects or bytes are left: {left:?}");
            std::thread::sleep(Duration::from_millis(1));
            left = counts_now();
        }
    }
}
