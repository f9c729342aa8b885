//! Memory in flight, through the pool. A range goes to no other user until the GPU has signalled, and the
//! pool reclaims purgeable heaps before the GPU sees them.

use std::sync::Arc;
use std::time::Duration;

use objc2::rc::autoreleasepool;
use objc2::runtime::ProtocolObject;
use objc2_foundation::NSRange;
use objc2_metal::{MTLBlitCommandEncoder, MTLCommandBuffer, MTLCommandEncoder, MTLCommandQueue};
use warmheap::device::Queue;
use warmheap::metal::{AsMetal, MetalMemoryPool, MetalQueue};
use warmheap::{Buffer, PoolConfig, Request};

use crate::support::{MIB, on_device, read};

const LONG: Duration = Duration::from_secs(10);

/// Opens a pool with one heap of 8 MiB, so that the next request gets what was freed last.
fn config() -> PoolConfig {
    let mut config = PoolConfig::default();
    (config.heap_size, config.num_heaps, config.warmup_sizes) = (8 * MIB, 1, vec![MIB]);
    config
}

/// Encodes that the GPU sets all of `buffer` to `value`.
fn encode_set(commands: &ProtocolObject<dyn MTLCommandBuffer>, buffer: &Buffer, value: u8) {
    let place = buffer.metal().unwrap();
    let blit = commands.blitCommandEncoder().unwrap();
    let range = NSRange::new(place.offset, buffer.size() as usize);
    blit.fillBuffer_range_value(place.buffer, range, value);
    blit.endEncoding();
}

/// Submits that the GPU sets all of `buffer`, and returns the ticket.
pub(crate) fn set(queue: &MetalQueue, buffer: &Buffer, value: u8) -> u64 {
    autoreleasepool(|_| {
        let commands = queue.raw().commandBuffer().unwrap();
        encode_set(&commands, buffer, value);
        queue.submit(&commands)
    })
}

fn contents(queue: &MetalQueue, buffer: &Buffer) -> Vec<u8> {
    let memory = buffer.memory().unwrap();
    read(queue, &*memory, memory.offset()..memory.offset() + buffer.size())
}

#[test]
fn a_retired_range_is_reused_after_its_signal() {
    on_device(|device| {
        let pool = MetalMemoryPool::on(device, config()).unwrap();
        let first = Arc::new(pool.metal().new_queue().unwrap());
        let work = pool.queue(first.clone());
        let buffer = pool.allocate(6 * MIB).unwrap();
        let address = buffer.device_address();
        let ticket = set(&first, &buffer, 1);
        buffer.retire(&work.ticket(ticket));
        assert!(first.wait(ticket, LONG).unwrap());
        work.poll().unwrap();
        let again = pool.allocate(6 * MIB).unwrap();
        assert_eq!((again.device_address(), work.retired_bytes()), (address, 0));
    });
}

#[test]
fn work_that_an_engine_commits_itself_holds_its_memory_too() {
    on_device(|device| {
        let pool = MetalMemoryPool::on(device, config()).unwrap();
        let queue = Arc::new(pool.metal().new_queue().unwrap());
        let work = pool.queue(queue.clone());
        let buffer = pool.allocate(6 * MIB).unwrap();
        let ticket = autoreleasepool(|_| {
            let commands = queue.raw().commandBuffer().unwrap();
            encode_set(&commands, &buffer, 1);
            let ticket = queue.encode_signal(&commands);
            buffer.retire(&work.ticket(ticket));
            // Nothing was committed, so no memory can have come back.
            assert!(pool.allocate(Request::new(6 * MIB).no_fallback()).is_err());
            commands.commit();
            ticket
        });
        assert!(queue.wait(ticket, LONG).unwrap());
        assert!(pool.allocate(Request::new(6 * MIB).no_fallback()).is_ok());
    });
}

/// Another thread frees, as a completion handler does, while this one allocates and submits.
#[test]
fn completion_threads_free_what_the_gpu_has_done() {
    on_device(|device| {
        let pool = MetalMemoryPool::on(device, config()).unwrap();
        let queues: Vec<_> = (0..2).map(|_| Arc::new(pool.metal().new_queue().unwrap())).collect();
        let work: Vec<_> = queues.iter().map(|queue| pool.queue(queue.clone())).collect();
        let (done, completed) = std::sync::mpsc::channel::<(usize, u64, Buffer)>();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for (place, ticket, buffer) in completed {
                    assert!(queues[place].wait(ticket, LONG).unwrap());
                    drop(buffer);
                    work[place].poll().unwrap();
                }
            });
            for round in 0..400_usize {
                let place = round % 2;
                let size = 4 * (1 + (round as u64 * 7919) % (MIB / 8));
                let kept = pool.allocate(size).unwrap();
                let retired = pool.allocate(size).unwrap();
                set(&queues[place], &retired, 1);
                let ticket = set(&queues[place], &kept, 2);
                retired.retire(&work[place].ticket(ticket));
                done.send((place, ticket, kept)).unwrap();
            }
            drop(done);
        });
        assert_eq!(work.iter().map(warmheap::PoolQueue::retired_bytes).sum::<u64>(), 0);
        assert_eq!(pool.statistics().active_allocations, 0);
    });
}

#[test]
fn purgeable_heaps_are_reclaimed_before_the_gpu_sees_them() {
    on_device(|device| {
        let mut config = config();
        config.num_heaps = 3;
        let pool = MetalMemoryPool::on(device, config).unwrap();
        let queue = pool.metal().new_queue().unwrap();
        for round in 0..3_u8 {
            // Each round uses two heaps, and the third stays purgeable.
            assert_eq!(pool.make_purgeable().unwrap(), if round == 0 { 24 } else { 16 } * MIB);
            // The device's own fill clears the second.
            let first = pool.allocate(6 * MIB).unwrap();
            let second = pool.allocate(Request::new(6 * MIB).zeroed()).unwrap();
            let ticket = set(&queue, &first, 5 + round);
            assert!(queue.wait(ticket, LONG).unwrap());
            assert!(contents(&queue, &first).iter().all(|byte| *byte == 5 + round));
            assert!(contents(&queue, &second).iter().all(|byte| *byte == 0));
            assert_eq!((pool.statistics().total_heaps, pool.statistics().fallback_allocations), (3, 0));
        }
    });
}

/// These tests need a GPU that runs work when the test says so.
#[cfg(metal_double)]
mod held {
    use super::*;
    use crate::support::double::{counts_now, hold, turn};
    use warmheap::device::Device;
    use warmheap::metal::{MetalDevice, MetalOptions};

    /// The double ends the test if two queues use the same bytes without an order between them.
    #[test]
    fn nothing_in_flight_is_handed_out() {
        on_device(|device| {
            let pool = MetalMemoryPool::on(device, config()).unwrap();
            let first = Arc::new(pool.metal().new_queue().unwrap());
            let second = pool.metal().new_queue().unwrap();
            let work = pool.queue(first.clone());
            hold(true);
            let mut others = Vec::new();
            for size in [4096, 64 << 10, MIB] {
                let buffer = pool.allocate(size).unwrap();
                let ticket = set(&first, &buffer, 1);
                buffer.retire(&work.ticket(ticket));
                let other = pool.allocate(size).unwrap();
                set(&second, &other, 2);
                others.push(other);
            }
            assert_eq!(work.poll().unwrap(), 0);
            hold(false);
            assert_eq!(work.poll().unwrap(), 3);
            assert!(others.iter().all(|other| contents(&second, other).iter().all(|byte| *byte == 2)));
        });
    }

    /// A fill runs on a queue of the device's own. So it must not reach memory in flight, not even that of
    /// the queue that may reuse its own memory early.
    #[test]
    fn zeroed_memory_is_never_memory_in_flight() {
        on_device(|device| {
            let pool = MetalMemoryPool::on(device, config()).unwrap();
            let queue = Arc::new(pool.metal().new_queue().unwrap());
            let work = pool.queue(queue.clone());
            hold(true);
            let buffer = work.allocate(MIB).unwrap();
            let address = buffer.device_address();
            let ticket = set(&queue, &buffer, 1);
            buffer.retire(&work.ticket(ticket));
            let zeroed = std::thread::scope(|scope| {
                scope.spawn(|| {
                    std::thread::sleep(Duration::from_millis(20));
                    hold(false);
                });
                work.allocate(Request::new(MIB).zeroed()).unwrap()
            });
            assert_ne!(zeroed.device_address(), address);
            assert!(contents(&queue, &zeroed).iter().all(|byte| *byte == 0));
        });
    }

    #[test]
    fn the_system_may_take_purgeable_heaps() {
        on_device(|device| {
            let pool = MetalMemoryPool::on(device, config()).unwrap();
            let queue = pool.metal().new_queue().unwrap();
            pool.make_purgeable().unwrap();
            assert_eq!(counts_now().resident_bytes, 0);
            turn(|k| k.under_pressure = 1);
            let buffer = pool.allocate(6 * MIB).unwrap();
            turn(|k| k.under_pressure = 0);
            set(&queue, &buffer, 3);
            assert!(contents(&queue, &buffer).iter().all(|byte| *byte == 3));
            assert_eq!(counts_now().resident_bytes as u64, 8 * MIB);
        });
    }

    /// The pool reaches the limit of objects, not of bytes.
    #[test]
    fn purgeable_heaps_make_way_for_objects() {
        crate::support::alone(|| {
            let options = MetalOptions::default().with_object_limit(4);
            let device = MetalDevice::system_default(options).unwrap();
            let mut config = config();
            config.num_heaps = 2;
            let pool = MetalMemoryPool::on(device.clone(), config).unwrap();
            assert!(pool.allocate(10 * MIB).is_err());
            pool.make_purgeable().unwrap();
            let large = pool.allocate(10 * MIB).unwrap();
            assert!(large.is_fallback());
            assert_eq!(device.objects().unwrap().live, 1);
        });
    }
}
