//! The pool on Metal, as an engine uses it.

use objc2::rc::autoreleasepool;
use objc2_metal::{MTLBuffer, MTLCommandQueue, MTLResource};
use warmheap::metal::{AsMetal, MetalDevice, MetalMemoryPool, MetalOptions, MetalStartError};
use warmheap::{PoolConfig, Request, Tag};

use crate::support::{KIB, MIB, on_device, own, read};

fn config(heap: u64, heaps: usize) -> PoolConfig {
    let mut config = PoolConfig::default();
    config.heap_size = heap;
    config.num_heaps = heaps;
    config.warmup_sizes = vec![heap / 4];
    config
}

#[test]
fn buffers_are_ranges_of_a_few_metal_objects() {
    on_device(|device| {
        let pool = MetalMemoryPool::on(device, config(8 * MIB, 2)).unwrap();
        let objects = pool.statistics().device_objects;
        assert_eq!(objects, 4);
        let buffers: Vec<_> = (0..1000_u64).map(|i| pool.allocate(1 + i * 7).unwrap()).collect();
        let statistics = pool.statistics();
        assert_eq!((statistics.hit_rate, statistics.device_objects), (1.0, objects));
        assert_eq!(statistics.device_object_limit, 450_000);
        for buffer in &buffers {
            let place = buffer.metal().unwrap();
            assert_eq!(place.buffer.gpuAddress() + place.offset as u64, buffer.device_address());
            assert!(place.offset as u64 + buffer.size() <= place.buffer.length() as u64);
        }
        drop(buffers);
        assert!(pool.leaks().is_clean());
    });
}

#[test]
fn zeroed_buffers_read_as_zero() {
    on_device(|device| {
        let pool = MetalMemoryPool::on(device, config(8 * MIB, 1)).unwrap();
        let queue = pool.metal().new_queue().unwrap();
        for _ in 0..3 {
            let buffer = pool.allocate(Request::new(100_002).zeroed()).unwrap();
            let memory = buffer.memory().unwrap();
            let offset = memory.offset();
            let bytes = read(&queue, &*memory, offset..offset + 100_000);
            assert!(bytes.iter().all(|byte| *byte == 0));
            own::fill(&*memory, offset..offset + buffer.size(), 0xff).unwrap();
        }
    });
}

#[test]
fn a_buffer_is_cleared_in_the_callers_own_command_buffer() {
    on_device(|device| {
        let pool = MetalMemoryPool::on(device, config(8 * MIB, 1)).unwrap();
        let queue = pool.metal().new_queue().unwrap();
        for size in [100_000, 16 * MIB] {
            let buffer = pool.allocate(size).unwrap();
            let memory = buffer.memory().unwrap();
            let range = memory.offset()..memory.offset() + size;
            own::fill(&*memory, range.clone(), 0xff).unwrap();
            autoreleasepool(|_| {
                let commands = queue.raw().commandBuffer().unwrap();
                buffer.encode_zero(&commands).unwrap();
                queue.submit(&commands);
            });
            assert!(read(&queue, &*memory, range).iter().all(|byte| *byte == 0));
        }
    });
}

#[test]
fn own_buffers_carry_the_tag_and_serve_the_next_user_of_the_range() {
    on_device(|device| {
        let pool = MetalMemoryPool::on(device, config(8 * MIB, 1)).unwrap();
        let bare = pool.statistics().device_objects;
        let request = Request::new(64 * KIB).tag(Tag::new("kv-cache"));
        for _ in 0..100 {
            let buffer = pool.allocate(request).unwrap();
            let own = buffer.own_mtl_buffer().unwrap();
            assert_eq!((own.length() as u64, own.gpuAddress()), (buffer.size(), buffer.device_address()));
            autoreleasepool(|_| assert_eq!(own.label().unwrap().to_string(), "kv-cache"));
        }
        assert_eq!(pool.statistics().device_objects, bare + 1);
    });
}

#[test]
fn exhaustion_falls_back_to_the_device() {
    on_device(|device| {
        let pool = MetalMemoryPool::on(device, config(MIB, 1)).unwrap();
        let large = pool.allocate(4 * MIB).unwrap();
        assert!(large.is_fallback());
        assert_eq!(large.metal().unwrap().offset, 0);
        assert_eq!(large.own_mtl_buffer().unwrap().gpuAddress(), large.device_address());
        assert_eq!(pool.statistics().fallback_allocations, 1);
        assert!(pool.allocate(Request::new(4 * MIB).no_fallback()).is_err());
    });
}

#[test]
fn buffers_may_outlive_pool_and_device() {
    on_device(|device| {
        let pool = MetalMemoryPool::on(device, config(MIB, 1)).unwrap();
        let buffer = pool.allocate(4 * KIB).unwrap();
        drop(pool);
        assert_ne!(buffer.metal().unwrap().buffer.gpuAddress(), 0);
        std::thread::spawn(move || drop(buffer)).join().unwrap();
    });
}

#[test]
fn a_pool_that_does_not_fit_says_asked_and_free() {
    on_device(|device| {
        use warmheap::device::Device;
        let limits = device.limits();
        let heap = limits.largest_heap / MIB * MIB;
        let heaps = (limits.budget.unwrap() / heap) as usize + 1;
        let before = limits.available;
        let error = MetalMemoryPool::on(device.clone(), config(heap, heaps)).unwrap_err();
        let MetalStartError::OutOfMemory { asked, free, .. } = error else {
            panic!("{error}");
        };
        assert!(asked >= heap && free.is_some_and(|free| free < heap));
        assert!(error.to_string().contains("Failed to create MTLHeap (out of memory)"), "{error}");
        #[cfg(metal_double)] // elsewhere other programs take and free memory
        assert_eq!(device.limits().available, before);
        #[cfg(not(metal_double))]
        let _ = before;

        let too_large = MetalMemoryPool::on(device, config(limits.largest_heap * 2, 1)).unwrap_err();
        assert!(matches!(too_large, MetalStartError::Pool(_)), "{too_large}");
    });
}

#[test]
fn the_default_device_is_enough() {
    crate::support::alone(|| {
        let pool = MetalMemoryPool::new(config(MIB, 1)).unwrap();
        let device =
            MetalDevice::from_raw(objc2::Message::retain(pool.metal().raw()), MetalOptions::default())
                .unwrap();
        let other = MetalMemoryPool::on(device, config(MIB, 1)).unwrap();
        assert_ne!(pool.allocate(64).unwrap().device_address(), other.allocate(64).unwrap().device_address());
    });
}

#[test]
fn buffers_of_other_devices_are_not_metals() {
    let host = std::sync::Arc::new(warmheap::device::host::HostDevice::new());
    let pool = warmheap::Pool::new(host, config(MIB, 1)).unwrap();
    let buffer = pool.allocate(64).unwrap();
    assert!(buffer.metal().is_none());
    assert!(buffer.own_mtl_buffer().is_err());
}

#[test]
fn many_threads_allocate_use_and_free() {
    on_device(|device| {
        let pool = MetalMemoryPool::on(device, config(8 * MIB, 2)).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4_u64 {
                let pool = &pool;
                scope.spawn(move || {
                    for round in 0..300_u64 {
                        let buffer = pool.allocate((round * 977 + thread * 131) % (256 * KIB) + 1).unwrap();
                        assert!(buffer.metal().is_some());
                        if round % 16 == 0 {
                            drop(buffer.own_mtl_buffer().unwrap());
                        }
                    }
                });
            }
        });
        assert_eq!(pool.statistics().active_allocations, 0);
    });
}
