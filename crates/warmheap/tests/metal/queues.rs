//! Tickets: what a queue's counter says, and how queues wait for each other.

use std::time::Duration;

use objc2::rc::autoreleasepool;
use objc2_foundation::NSRange;
use objc2_metal::{MTLBlitCommandEncoder, MTLCommandBuffer, MTLCommandEncoder, MTLCommandQueue, MTLDevice};
use warmheap::device::metal::{MetalQueue, binding};
use warmheap::device::{Memory, Queue};

use crate::support::{MIB, heap, on_device, own, read};

/// Encodes that the GPU sets `memory[0..64]` on `queue`, after `encode`, and returns the ticket.
pub(crate) fn set(
    queue: &MetalQueue,
    memory: &dyn Memory,
    value: u8,
    encode: impl FnOnce(&objc2::runtime::ProtocolObject<dyn MTLCommandBuffer>),
) -> u64 {
    autoreleasepool(|_| {
        let commands = queue.raw().commandBuffer().unwrap();
        encode(&commands);
        let blit = commands.blitCommandEncoder().unwrap();
        blit.fillBuffer_range_value(binding(memory, 0).unwrap().buffer, NSRange::new(0, 64), value);
        blit.endEncoding();
        queue.submit(&commands)
    })
}

const LONG: Duration = Duration::from_secs(10);

#[test]
fn tickets_rise_and_complete() {
    on_device(|device| {
        let memory = heap(&device, MIB);
        let queue = device.new_queue().unwrap();
        assert_eq!((queue.last(), queue.completed().unwrap()), (0, 0));
        assert!(queue.wait(0, Duration::ZERO).unwrap());
        let tickets: Vec<u64> = (0..20).map(|i| set(&queue, &*memory, i, |_| {})).collect();
        assert_eq!(tickets, (1..=20).collect::<Vec<u64>>());
        assert!(queue.wait(20, LONG).unwrap());
        assert_eq!(queue.completed().unwrap(), 20);
        assert!(!queue.wait(21, Duration::from_millis(5)).unwrap());
        assert_eq!(read(&queue, &*memory, 0..4), [19; 4]);
    });
}

#[test]
fn an_engine_commits_its_own_buffers_on_its_own_queue() {
    on_device(|device| {
        let raw = device.raw().newCommandQueue().unwrap();
        let queue = device.queue(raw.clone()).unwrap();
        let ticket = autoreleasepool(|_| {
            let commands = raw.commandBuffer().unwrap();
            let ticket = queue.encode_signal(&commands);
            assert_eq!(queue.completed().unwrap(), 0);
            commands.commit();
            ticket
        });
        assert!(queue.wait(ticket, LONG).unwrap());
    });
}

#[test]
fn one_queue_waits_for_another_on_the_gpu() {
    on_device(|device| {
        let memory = heap(&device, MIB);
        let (first, second) = (device.new_queue().unwrap(), device.new_queue().unwrap());
        own::fill(&*memory, 0..64, 0).unwrap();
        let a = set(&first, &*memory, 1, |commands| device.encode_wait_for_fills(commands).unwrap());
        let b = set(&second, &*memory, 2, |commands| first.encode_wait(commands, a));
        assert!(second.wait(b, LONG).unwrap());
        assert_eq!(read(&second, &*memory, 0..8), [2; 8]);
    });
}

#[test]
fn tickets_from_many_threads_stay_in_the_order_of_commits() {
    on_device(|device| {
        let memory = heap(&device, MIB);
        let queue = device.new_queue().unwrap();
        std::thread::scope(|scope| {
            for value in 0..4 {
                let (queue, memory) = (&queue, &*memory);
                scope.spawn(move || {
                    for _ in 0..50 {
                        let ticket = set(queue, memory, value, |_| {});
                        assert!(queue.completed().unwrap() <= 200);
                        assert!(queue.wait(ticket, LONG).unwrap());
                    }
                });
            }
        });
        assert_eq!((queue.last(), queue.completed().unwrap()), (200, 200));
    });
}
