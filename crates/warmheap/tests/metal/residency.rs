//! Residency through the device. The policy has its own tests, without a device.

use objc2::rc::autoreleasepool;
use objc2_metal::{MTLCommandBuffer, MTLCommandEncoder, MTLCommandQueue};
use warmheap::device::Device;
use warmheap::device::metal::{MetalOptions, ResidencyOptions, WarmUp};

use crate::queues::set;
use crate::support::{MIB, heap, on_device, own, with_options};

#[test]
fn heaps_join_in_one_commit_and_leave_when_dropped() {
    let options = MetalOptions::default().with_warm_up(WarmUp::Residency);
    with_options(options, |device| {
        if !device.residency().supported {
            return;
        }
        let queue = device.new_queue().unwrap();
        let heaps: Vec<_> = (0..3).map(|_| heap(&device, MIB)).collect();
        assert_eq!(device.residency().commits, 0);
        own::warm(&*heaps[0], 0..MIB).unwrap();
        let used = device.residency();
        assert_eq!((used.sets, used.commits), (1, 1));
        assert!(used.resident_bytes >= 3 * MIB);
        let fallback = device.allocate(MIB, 16).unwrap();
        set(&queue, &*heaps[0], 1, |_| {});
        assert_eq!(device.residency().commits, 2);
        drop(fallback);
        drop(heaps);
        assert_eq!(device.residency().resident_bytes, 0);
    });
}

#[test]
fn it_can_be_turned_off() {
    let options = MetalOptions::default().with_residency(ResidencyOptions::default().with_enabled(false));
    with_options(options, |device| {
        let queue = device.new_queue().unwrap();
        let memory = heap(&device, MIB);
        set(&queue, &*memory, 1, |_| {});
        assert!(!device.residency().supported);
    });
}

#[test]
fn encoders_may_declare_all_memory() {
    on_device(|device| {
        let queue = device.new_queue().unwrap();
        let _memory = (heap(&device, MIB), device.allocate(MIB, 16).unwrap());
        autoreleasepool(|_| {
            let commands = queue.raw().commandBuffer().unwrap();
            let encoder = commands.computeCommandEncoder().unwrap();
            device.use_memory(&encoder);
            encoder.endEncoding();
            queue.submit(&commands);
        });
    });
}
