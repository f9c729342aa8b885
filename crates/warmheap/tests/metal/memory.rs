//! Heaps, fallback buffers, and the MTLBuffers over them.

use objc2::rc::autoreleasepool;
use objc2_metal::{MTLBuffer, MTLResource};
use warmheap::device::metal::{
    CpuCache, Hazards, MetalDevice, MetalFallback, MetalHeap, MetalOptions, Placement, Storage, WarmUp,
    binding, own_buffer,
};
use warmheap::device::{Contents, Device, DeviceError, HeapRequest, Memory};

use crate::support::{KIB, MIB, heap, on_device, own, read, request, with_options};

/// Memory of another device.
#[derive(Debug)]
struct Elsewhere;

// SAFETY: it has no bytes.
unsafe impl Memory for Elsewhere {
    fn device_address(&self) -> u64 {
        0
    }
    fn size(&self) -> u64 {
        0
    }
    unsafe fn warm(&self, _: std::ops::Range<u64>) -> Result<(), DeviceError> {
        Ok(())
    }
    unsafe fn fill(&self, _: std::ops::Range<u64>, _: u8) -> Result<(), DeviceError> {
        Ok(())
    }
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

fn metal_heap(memory: &dyn Memory) -> &MetalHeap {
    memory.as_any().downcast_ref().expect("a Metal heap")
}

#[test]
fn limits_are_the_devices_own() {
    on_device(|device| {
        let limits = device.limits();
        assert!(limits.alignment.is_power_of_two() && limits.granularity.is_power_of_two());
        assert!(limits.granularity >= limits.alignment);
        assert_eq!(limits.largest_heap % limits.granularity, 0);
        assert!(limits.largest_heap <= limits.largest_buffer);
        assert!(limits.available <= limits.budget);
        assert!(!limits.elastic && !limits.host_visible && !limits.zeroed);
        assert!(device.name().starts_with("metal: "), "{}", device.name());
        assert!(format!("{device:?}").contains("MetalDevice"));
    });
}

#[test]
fn bytes_are_copied_between_heaps_and_fallback_buffers() {
    on_device(|device| {
        let queue = device.new_queue().unwrap();
        let (one, other) = (heap(&device, 4 * MIB), heap(&device, 4 * MIB));
        let lone = device.allocate(MIB, 16).unwrap();
        own::fill(&*one, 0..4 * MIB, 1).unwrap();
        own::fill(&*other, 0..4 * MIB, 2).unwrap();
        own::fill(&*lone, 0..MIB, 3).unwrap();
        own::copy(&*other, MIB, &*one, 64 * KIB..64 * KIB + 1002).unwrap();
        let bytes = read(&queue, &*other, MIB - KIB..MIB + 2 * KIB);
        assert!(bytes[..1024].iter().all(|b| *b == 2) && bytes[1024..1024 + 1002].iter().all(|b| *b == 1));
        // The device copies the last word whole, and leaves the next as it was.
        assert_eq!(bytes[1024 + 1004], 2);
        own::copy(&*other, 2 * MIB, &*lone, 0..MIB).unwrap();
        own::copy(&*other, 0, &*other, 2 * MIB..3 * MIB).unwrap();
        assert!(read(&queue, &*other, 0..KIB).iter().all(|b| *b == 3));
        let foreign = own::copy(&*other, 0, &Elsewhere, 0..1);
        assert!(matches!(foreign, Err(DeviceError::ForeignMemory { .. })), "{foreign:?}");
    });
}

#[test]
fn a_heap_is_one_buffer_that_the_gpu_can_write() {
    on_device(|device| {
        let memory = heap(&device, 4 * MIB);
        let queue = device.new_queue().unwrap();
        assert_eq!((memory.size(), memory.host_ptr()), (4 * MIB, None));
        assert_ne!(memory.device_address(), 0);
        own::fill(&*memory, 0..4 * MIB, 0x11).unwrap();
        own::fill(&*memory, 64 * KIB..64 * KIB + 1002, 0x22).unwrap();
        let bytes = read(&queue, &*memory, 63 * KIB..66 * KIB);
        assert!(bytes[..1024].iter().all(|b| *b == 0x11));
        assert!(bytes[1024..1024 + 1002].iter().all(|b| *b == 0x22));
        // The device fills the last word whole, and leaves the next as it was.
        assert_eq!(bytes[1024 + 1004], 0x11);

        let bound = binding(&*memory, 64 * KIB).unwrap();
        assert_eq!(bound.offset as u64, 64 * KIB);
        assert_eq!(bound.buffer.length() as u64, 4 * MIB);
        let usage = metal_heap(&*memory).usage();
        assert!(usage.size >= 4 * MIB && usage.allocated >= 4 * MIB, "{usage:?}");
        assert!(usage.used >= 4 * MIB && usage.used + usage.largest_free <= usage.size, "{usage:?}");
        autoreleasepool(|_| {
            assert_eq!(bound.buffer.label().unwrap().to_string(), "test heap");
        });
    });
}

#[test]
fn every_mode_works() {
    for placement in [Placement::Placement, Placement::Automatic] {
        for storage in [Storage::Private, Storage::Shared] {
            for cpu_cache in [CpuCache::Default, CpuCache::WriteCombined] {
                for hazards in [Hazards::Tracked, Hazards::Untracked] {
                    let options = MetalOptions::default()
                        .with_placement(placement)
                        .with_storage(storage)
                        .with_cpu_cache(cpu_cache)
                        .with_hazards(hazards);
                    with_options(options, |device| a_mode_works(&device));
                }
            }
        }
    }
}

fn a_mode_works(device: &MetalDevice) {
    let queue = device.new_queue().unwrap();
    let shared = device.limits().host_visible;
    for memory in [heap(device, MIB), device.allocate(MIB, 256).unwrap()] {
        own::warm(&*memory, 0..MIB).unwrap();
        own::fill(&*memory, 0..MIB, 0x5a).unwrap();
        assert_eq!(memory.host_ptr().is_some(), shared);
        assert_eq!(read(&queue, &*memory, MIB - 8..MIB), [0x5a; 8]);
    }
}

#[test]
fn shared_memory_is_the_same_bytes_for_cpu_and_gpu() {
    let options = MetalOptions::default().with_storage(Storage::Shared);
    with_options(options, |device| {
        let queue = device.new_queue().unwrap();
        let memory = heap(&device, MIB);
        let host = memory.host_ptr().unwrap();
        // SAFETY: the range is within the heap, and no work on it is in flight.
        unsafe { host.add(4096).write_bytes(0x77, 16) };
        assert_eq!(read(&queue, &*memory, 4096..4112), [0x77; 16]);
    });
}

#[test]
fn impossible_requests_are_refused_before_metal_is_asked() {
    on_device(|device| {
        let limits = device.limits();
        let elastic = HeapRequest::elastic(MIB, "test heap");
        assert!(matches!(device.create_heap(&elastic), Err(DeviceError::Unsupported { .. })));
        let too_large = limits.largest_heap + limits.granularity;
        assert_eq!(
            device.create_heap(&request(too_large)).unwrap_err(),
            DeviceError::TooLarge { requested: too_large, largest: limits.largest_heap }
        );
        assert!(matches!(device.allocate(limits.largest_buffer + 1, 1), Err(DeviceError::TooLarge { .. })));
        assert!(matches!(device.allocate(4096, 1 << 50), Err(DeviceError::TooLarge { .. })));
        let memory = heap(&device, MIB);
        assert!(matches!(own::commit(&*memory, 0..MIB), Err(DeviceError::Unsupported { .. })));
    });
}

#[test]
fn fallback_buffers_start_on_any_alignment() {
    on_device(|device| {
        let queue = device.new_queue().unwrap();
        // The test allocates several at once, because one may be aligned by chance.
        let held: Vec<_> = (0..4).map(|_| device.allocate(1001, 1 << 20).unwrap()).collect();
        for memory in &held {
            assert!(memory.device_address().is_multiple_of(1 << 20));
            own::fill(&**memory, 0..1001, 0x66).unwrap();
            let place = binding(&**memory, 0).unwrap();
            assert_eq!(place.buffer.gpuAddress() + place.offset as u64, memory.device_address());
            assert_eq!(read(&queue, &**memory, 0..1000), [0x66; 1000]);
        }
        assert!(held.iter().any(|memory| own_buffer(&**memory, 0..1001, None).is_err()));
    });
}

#[test]
fn own_buffers_are_reused_with_their_range() {
    on_device(|device| {
        let memory = heap(&device, MIB);
        let queue = device.new_queue().unwrap();
        let objects = || device.objects().unwrap().live;
        let bare = objects();
        let first = own_buffer(&*memory, 4096..8192, Some("kv")).unwrap();
        assert_eq!((first.length(), first.heapOffset()), (4096, 4096));
        autoreleasepool(|_| assert_eq!(first.label().unwrap().to_string(), "kv"));
        assert_eq!(objects(), bare + 1);
        let object = &raw const *first;
        drop(first);
        let again = own_buffer(&*memory, 4096..8192, None).unwrap();
        assert_eq!(&raw const *again, object);
        assert_eq!(objects(), bare + 1);
        // The test cuts the same bytes differently, so the old objects go.
        let wider = own_buffer(&*memory, 0..16384, None).unwrap();
        drop(again);
        assert_eq!(objects(), bare + 1);
        let inside = own_buffer(&*memory, 8192..12288, None).unwrap();
        assert_eq!(objects(), bare + 2); // the test still holds `wider`
        drop((wider, inside));
        assert_eq!(objects(), bare + 1);

        own::fill(&*memory, 8192..12288, 0x33).unwrap();
        assert_eq!(read(&queue, &*memory, 8192..8196), [0x33; 4]);
        let fallback = device.allocate(1000, 16).unwrap();
        let whole = own_buffer(&*fallback, 0..1000, None).unwrap();
        assert!(std::ptr::eq(&*whole, fallback.as_any().downcast_ref::<MetalFallback>().unwrap().buffer()));
    });
}

#[test]
fn own_buffers_that_cannot_be_are_refused() {
    on_device(|device| {
        let memory = heap(&device, MIB);
        let off = own_buffer(&*memory, 3..4096, None).unwrap_err();
        assert!(off.to_string().contains("multiple of"), "{off}");
        let past = own_buffer(&*memory, MIB - 4096..MIB + 4096, None).unwrap_err();
        assert!(matches!(past, DeviceError::OutOfRange { .. }), "{past}");
        assert!(binding(&Elsewhere, 0).is_none());
        assert!(matches!(own_buffer(&Elsewhere, 0..4096, None), Err(DeviceError::Unsupported { .. })));
    });
    let automatic = MetalOptions::default().with_placement(Placement::Automatic);
    with_options(automatic, |device| {
        let memory = heap(&device, MIB);
        assert!(matches!(own_buffer(&*memory, 0..4096, None), Err(DeviceError::Unsupported { .. })));
    });
}

#[test]
fn the_object_limit_is_kept_and_idle_objects_give_way() {
    let options = MetalOptions::default().with_object_limit(4);
    with_options(options, |device| {
        let memory = heap(&device, MIB); // the heap and the buffer over it
        let held = own_buffer(&*memory, 0..4096, None).unwrap();
        drop(own_buffer(&*memory, 4096..8192, None).unwrap());
        // The limit is reached, but the second object is kept only for reuse.
        let third = own_buffer(&*memory, 8192..12288, None).unwrap();
        let full = DeviceError::TooManyObjects { live: 4, limit: 4 };
        assert_eq!(own_buffer(&*memory, 12288..16384, None).unwrap_err(), full);
        assert_eq!(device.allocate(4096, 16).unwrap_err(), full);
        assert_eq!(device.create_heap(&request(MIB)).unwrap_err(), full);
        drop((held, third));
        assert!(own_buffer(&*memory, 12288..16384, None).is_ok());
    });
}

#[test]
fn warm_up_by_residency_or_without_waiting() {
    for warm_up in [WarmUp::Residency, WarmUp::Fill { wait: false }] {
        let options = MetalOptions::default().with_warm_up(warm_up);
        with_options(options, |device| {
            let queue = device.new_queue().unwrap();
            device.finish_fills().unwrap();
            let memory = heap(&device, MIB);
            own::warm(&*memory, 0..MIB).unwrap();
            let fallback = device.allocate(MIB, 16).unwrap();
            own::warm(&*fallback, 0..MIB).unwrap();
            device.finish_fills().unwrap();
            own::fill(&*memory, 0..16, 9).unwrap();
            assert_eq!(read(&queue, &*memory, 0..16), [9; 16]);
        });
    }
}

#[test]
fn volatile_heaps_come_back_and_say_what_they_lost() {
    on_device(|device| {
        let queue = device.new_queue().unwrap();
        let memory = heap(&device, MIB);
        own::fill(&*memory, 0..MIB, 0x42).unwrap();
        drop(own_buffer(&*memory, 0..4096, None).unwrap());
        assert_eq!(own::set_volatile(&*memory, true).unwrap(), Contents::Kept);
        if own::set_volatile(&*memory, false).unwrap() == Contents::Kept {
            assert_eq!(read(&queue, &*memory, 0..4), [0x42; 4]);
        }
        own::fill(&*memory, 0..MIB, 0x43).unwrap();
        assert_eq!(read(&queue, &*memory, MIB - 4..MIB), [0x43; 4]);
        let fallback = device.allocate(4096, 16).unwrap();
        assert!(matches!(own::set_volatile(&*fallback, true), Err(DeviceError::Unsupported { .. })));
    });
}

#[test]
fn threads_share_a_device() {
    on_device(|device| {
        let memory = heap(&device, 4 * MIB);
        std::thread::scope(|scope| {
            for thread in 0..4u64 {
                let (device, memory) = (&device, &*memory);
                scope.spawn(move || {
                    for round in 0..50 {
                        let start = thread * MIB + round * 4096;
                        own::fill(&*memory, start..start + 4096, thread as u8).unwrap();
                        drop(own_buffer(memory, start..start + 4096, None).unwrap());
                        drop(device.allocate(4096 + round, 16).unwrap());
                        let _ = device.limits();
                    }
                });
            }
        });
        let queue = device.new_queue().unwrap();
        assert_eq!(read(&queue, &*memory, 3 * MIB..3 * MIB + 8), [3; 8]);
    });
}
