//! A device that refuses calls. Every failure is an error that says what happened, and changes nothing.

use warmheap::device::metal::{MetalDevice, MetalOptions, Placement, Storage, own_buffer};
use warmheap::device::{Device, DeviceError};

use crate::support::double::{self, counts_now, turn};
use crate::support::{MIB, alone, heap, on_device, own, read, request, with_options};

#[test]
fn no_gpu_is_a_clear_error() {
    alone(|| {
        double::no_gpu(true);
        let error = MetalDevice::system_default(MetalOptions::default()).unwrap_err();
        double::no_gpu(false);
        assert!(matches!(error, DeviceError::Unavailable { device: "metal", .. }), "{error}");
    });
}

#[test]
fn a_heap_that_does_not_fit_says_what_is_free() {
    on_device(|device| {
        let free = device.limits().available.unwrap();
        let _half = heap(&device, free / 2);
        assert_eq!(
            device.create_heap(&request(free / 2 + MIB)).unwrap_err(),
            DeviceError::TooLarge { requested: free / 2 + MIB, largest: free / 2 }
        );
        let _more = heap(&device, MIB);
        assert_eq!(
            device.create_heap(&request(free / 2)).unwrap_err(),
            DeviceError::OutOfMemory { requested: free / 2, available: Some(free / 2 - MIB) }
        );
    });
}

/// Fails the n-th creation, for each n, until none fails.
#[test]
fn every_refused_creation_leaves_nothing() {
    for placement in [Placement::Placement, Placement::Automatic] {
        for succeed in 0..2 {
            with_options(MetalOptions::default().with_placement(placement), |device| {
                turn(|k| k.fail_after = succeed);
                let before = counts_now();
                let error = device.create_heap(&request(MIB)).unwrap_err();
                assert!(matches!(error, DeviceError::OutOfMemory { requested: MIB, .. }), "{error}");
                turn(|k| k.fail_after = 0);
                assert!(matches!(device.allocate(MIB, 16), Err(DeviceError::OutOfMemory { .. })));
                assert_eq!(counts_now().bytes, before.bytes);
                assert_eq!(device.objects().unwrap().live, 0);
            });
        }
    }
}

#[test]
fn queues_and_own_buffers_may_be_refused() {
    on_device(|device| {
        let memory = heap(&device, MIB);
        for succeed in 0..2 {
            turn(|k| k.fail_after = succeed);
            assert!(matches!(device.new_queue(), Err(DeviceError::Failed { .. })));
            assert!(matches!(own::fill(&*memory, 0..64, 1), Err(DeviceError::Failed { .. })));
        }
        turn(|k| k.fail_after = 0);
        assert!(matches!(own_buffer(&*memory, 0..64, None), Err(DeviceError::OutOfMemory { .. })));
        turn(|k| k.fail_after = -1);
        assert!(own::fill(&*memory, 0..64, 1).is_ok());
    });
}

#[test]
fn without_residency_sets_work_goes_on() {
    on_device(|device| {
        let queue = device.new_queue().unwrap();
        let memory = heap(&device, MIB);
        turn(|k| k.fail_sets = 1);
        crate::queues::set(&queue, &*memory, 1, |_| {});
        assert!(!device.residency().supported);
        own::set_volatile(&*memory, true).unwrap();
        own::set_volatile(&*memory, false).unwrap();
    });
}

/// The process's limit is below the pool's own budget here, so the driver refuses first.
#[test]
fn the_drivers_own_object_limit_is_an_error() {
    on_device(|device| {
        let memory = heap(&device, MIB);
        turn(|k| k.object_limit = 4);
        let two: Vec<_> =
            (0..2).map(|i| own_buffer(&*memory, i * 4096..(i + 1) * 4096, None).unwrap()).collect();
        assert!(own_buffer(&*memory, 8192..12288, None).is_err());
        drop(two);
    });
}

/// The backend assumes no alignment: it takes the device's own.
#[test]
fn another_alignment_is_obeyed() {
    alone(|| {
        turn(|k| k.align = 65536);
        let device = MetalDevice::system_default(MetalOptions::default()).unwrap();
        let limits = device.limits();
        assert_eq!((limits.alignment, limits.granularity), (65536, 65536));
        let memory = heap(&device, MIB);
        assert!(own_buffer(&*memory, 256..512, None).is_err());
        assert!(own_buffer(&*memory, 65536..131_072, None).is_ok());
    });
}

/// macOS has filled and copied only a part of very long ranges, without an error. The double refuses them.
#[test]
fn long_fills_and_copies_are_cut() {
    const GIB: u64 = 1 << 30;
    alone(|| {
        turn(|k| k.budget = 8 * GIB);
        let device = MetalDevice::system_default(MetalOptions::default()).unwrap();
        let queue = device.new_queue().unwrap();
        let memory = heap(&device, 2 * GIB + MIB);
        let end = GIB + 64 * 1024;
        own::fill(&*memory, end - 8..end, 7).unwrap();
        own::copy(&*memory, GIB + MIB / 2, &*memory, 64 * 1024 - 8..end).unwrap();
        assert_eq!(read(&queue, &*memory, 2 * GIB + MIB / 2..2 * GIB + MIB / 2 + 8), [7; 8]);
        own::fill(&*memory, 0..end, 9).unwrap();
        assert_eq!(read(&queue, &*memory, end - 4..end), [9; 4]);
        assert_eq!(read(&queue, &*memory, GIB - 4..GIB + 4), [9; 8]);
    });
}

/// Metal ends the process for what a GPU or a system lacks, so the device must ask first.
#[test]
fn what_the_gpu_lacks_is_an_error() {
    const MAC2: i32 = 1;
    const METAL3: i32 = 2;
    const UNIFIED_MEMORY: i32 = 4;
    const GPU_ADDRESS: i32 = 8;
    const APPLE_FAMILY: i32 = 16;
    let shared = || MetalOptions::default().with_storage(Storage::Shared);
    let open = |lacks, options| {
        turn(|k| k.lacks = lacks);
        let device = MetalDevice::system_default(options)?;
        let memory = device.create_heap(&request(MIB))?;
        own::fill(&*memory, 0..MIB, 1)?;
        Ok::<_, DeviceError>(device.residency().supported)
    };
    alone(|| {
        let lacks = MAC2 | APPLE_FAMILY;
        assert!(matches!(open(lacks, MetalOptions::default()), Err(DeviceError::Unsupported { .. })));
        assert!(open(lacks, MetalOptions::default().with_placement(Placement::Automatic)).unwrap());
        assert!(open(MAC2, shared()).unwrap());
        assert!(open(APPLE_FAMILY, MetalOptions::default()).unwrap());
        for lacks in [APPLE_FAMILY, UNIFIED_MEMORY] {
            assert!(matches!(open(lacks, shared()), Err(DeviceError::Unsupported { .. })));
        }
        let old = open(GPU_ADDRESS, MetalOptions::default());
        assert!(matches!(old, Err(DeviceError::Unavailable { .. })), "{old:?}");
        assert!(!open(METAL3, MetalOptions::default()).unwrap());
        turn(|k| k.fail_after = 0);
        assert!(matches!(open(0, shared()), Err(DeviceError::OutOfMemory { .. })));
    });
}
