//! A GPU that runs work when the test says so. The tests look at memory in flight meanwhile.

use std::time::Duration;

use objc2::rc::autoreleasepool;
use objc2_metal::{MTLCommandBuffer, MTLCommandEncoder, MTLCommandQueue};
use warmheap::device::metal::{MetalDevice, MetalOptions, ResidencyOptions, Storage, WarmUp, own_buffer};
use warmheap::device::{Contents, Device, Queue};

use crate::queues::set;
use crate::support::double::{counts_now, hold, turn};
use crate::support::{MIB, alone, heap, on_device, own, read, with_options};

#[test]
fn nothing_completes_before_the_gpu_says_so() {
    on_device(|device| {
        let memory = heap(&device, MIB);
        let queue = device.new_queue().unwrap();
        hold(true);
        let ticket = set(&queue, &*memory, 1, |_| {});
        assert_eq!(queue.completed().unwrap(), 0);
        assert!(!queue.wait(ticket, Duration::from_millis(2)).unwrap());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(60));
                hold(false);
            });
            assert!(queue.wait(ticket, Duration::from_secs(10)).unwrap());
        });
    });
}

/// A fill runs on a queue of the device's own. It must be over before another user gets the range.
#[test]
fn a_fill_is_done_when_it_returns() {
    on_device(|device| {
        let memory = heap(&device, MIB);
        let queue = device.new_queue().unwrap();
        hold(true);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(20));
                hold(false);
            });
            own::fill(&*memory, 0..MIB, 1).unwrap();
            set(&queue, &*memory, 2, |_| {});
        });
        assert_eq!(read(&queue, &*memory, 0..4), [2; 4]);
    });
}

#[test]
fn memory_dropped_in_flight_lives_until_the_gpu_is_done() {
    on_device(|device| {
        let queue = device.new_queue().unwrap();
        let memory = heap(&device, MIB);
        hold(true);
        set(&queue, &*memory, 1, |_| {});
        drop(memory);
        assert_eq!(counts_now().bytes, MIB);
        hold(false);
        assert_eq!(queue.completed().unwrap(), 1);
        assert_eq!(counts_now().bytes, 0);
    });
}

#[test]
fn a_host_fill_waits_for_a_warm_up_in_flight() {
    let options =
        MetalOptions::default().with_storage(Storage::Shared).with_warm_up(WarmUp::Fill { wait: false });
    with_options(options, |device| {
        let memory = heap(&device, MIB);
        hold(true);
        own::warm(&*memory, 0..MIB).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(20));
                hold(false);
            });
            own::fill(&*memory, 0..64, 7).unwrap();
        });
        // SAFETY: the range is within the heap, and no work is in flight.
        assert_eq!(unsafe { memory.host_ptr().unwrap().read() }, 7);
    });
}

#[test]
fn a_volatile_heap_that_the_system_took_says_so() {
    on_device(|device| {
        let queue = device.new_queue().unwrap();
        let memory = heap(&device, MIB);
        set(&queue, &*memory, 1, |_| {});
        let resident = counts_now().resident_bytes;
        assert_eq!(resident as u64, MIB);
        drop(own_buffer(&*memory, 0..4096, None).unwrap());
        own::set_volatile(&*memory, true).unwrap();
        assert_eq!(counts_now().resident_bytes, 0);
        turn(|k| k.under_pressure = 1);
        assert_eq!(own::set_volatile(&*memory, false).unwrap(), Contents::Lost);
        turn(|k| k.under_pressure = 0);
        set(&queue, &*memory, 2, |_| {});
        assert_eq!(counts_now().resident_bytes, resident);
        assert_eq!(read(&queue, &*memory, 0..4), [2; 4]);
    });
}

#[test]
fn memory_stays_wired_until_the_program_is_idle() {
    let options = MetalOptions::default()
        .with_residency(ResidencyOptions::default().with_keep_alive(Duration::from_millis(700)));
    with_options(options, |device| {
        let queue = device.new_queue().unwrap();
        let memory = heap(&device, MIB);
        set(&queue, &*memory, 1, |_| {});
        assert_eq!(counts_now().residency_requests, 1);
        std::thread::sleep(Duration::from_millis(1800));
        let idle = counts_now();
        assert!(idle.residency_requests >= 2, "{idle:?}");
        // Queues that are not the device's own may use the memory.
        assert_eq!(idle.residency_ends, 0, "{idle:?}");
        let unused = heap(&device, MIB);
        own::set_volatile(&*unused, true).unwrap();
        std::thread::sleep(Duration::from_millis(700));
        let idle = counts_now();
        assert_eq!(idle.residency_ends, 1, "{idle:?}");
        device.note_use();
        assert_eq!(counts_now().residency_requests, idle.residency_requests + 1);
    });
}

#[test]
fn older_systems_declare_heaps_to_each_encoder() {
    alone(|| {
        turn(|k| k.old_system = 1);
        let device = MetalDevice::system_default(MetalOptions::default()).unwrap();
        assert!(!device.residency().supported);
        let queue = device.new_queue().unwrap();
        let memory = heap(&device, MIB);
        own::warm(&*memory, 0..MIB).unwrap();
        let _fallback = device.allocate(4096, 16).unwrap();
        autoreleasepool(|_| {
            let commands = queue.raw().commandBuffer().unwrap();
            let encoder = commands.computeCommandEncoder().unwrap();
            device.use_memory(&encoder);
            encoder.endEncoding();
            queue.submit(&commands);
        });
        assert_eq!(counts_now().used_heaps, 1);
    });
}
