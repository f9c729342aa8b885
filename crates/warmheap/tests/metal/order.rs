//! A GPU that ends command buffers in another order than it starts them, and command buffers that fail. The
//! double ends the test if memory is reused before the command buffer that uses it has ended.

use std::sync::Arc;
use std::time::Duration;

use warmheap::device::metal::{Hazards, MetalDevice, MetalOptions, Storage, WarmUp};
use warmheap::device::{DeviceError, Queue};
use warmheap::metal::MetalMemoryPool;
use warmheap::{PoolConfig, Request};

use crate::queues::set;
use crate::retire::set as set_buffer;
use crate::support::double::{end_stalled, hold, turn};
use crate::support::{MIB, heap, on_device, own, with_options};

const LONG: Duration = Duration::from_secs(10);

fn untracked(test: impl FnOnce(MetalDevice)) {
    with_options(MetalOptions::default().with_hazards(Hazards::Untracked), test);
}

/// Opens a pool with one heap of 8 MiB, so that the next request gets what was freed last.
fn pool(device: MetalDevice) -> MetalMemoryPool {
    let mut config = PoolConfig::default();
    (config.heap_size, config.num_heaps, config.warmup_sizes) = (8 * MIB, 1, vec![MIB]);
    MetalMemoryPool::on(device, config).unwrap()
}

/// Runs `work` while another thread lets stalled command buffers end after 20 ms.
fn while_stalled<R>(work: impl FnOnce() -> R) -> R {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(20));
            end_stalled();
        });
        work()
    })
}

#[test]
fn a_ticket_completes_with_its_own_command_buffer_and_all_before_it() {
    untracked(|device| {
        let (one, other) = (heap(&device, MIB), heap(&device, MIB));
        let queue = device.new_queue().unwrap();
        turn(|k| k.stall = 1);
        let first = set(&queue, &*one, 1, |_| {});
        for value in 2..=20 {
            set(&queue, &*other, value, |_| {});
        }
        assert_eq!(queue.completed().unwrap(), 0);
        assert!(!queue.wait(20, Duration::from_millis(5)).unwrap());
        assert!(while_stalled(|| queue.wait(first, LONG)).unwrap());
        assert!(queue.wait(20, LONG).unwrap());
        assert_eq!(queue.completed().unwrap(), 20);
    });
}

#[test]
fn memory_is_not_reused_while_its_own_command_buffer_runs() {
    untracked(|device| {
        let pool = pool(device);
        let queue = Arc::new(pool.metal().new_queue().unwrap());
        let work = pool.queue(queue.clone());
        let (long, short) = (pool.allocate(6 * MIB).unwrap(), pool.allocate(MIB).unwrap());
        turn(|k| k.stall = 1);
        let ticket = set_buffer(&queue, &long, 1);
        long.retire(&work.ticket(ticket));
        set_buffer(&queue, &short, 2);
        assert_eq!(work.poll().unwrap(), 0);
        assert!(pool.allocate(Request::new(6 * MIB).no_fallback()).is_err());
        end_stalled();
        let again = pool.allocate(Request::new(6 * MIB).no_fallback()).unwrap();
        set_buffer(&queue, &again, 3);
    });
}

/// Metal orders submissions of a queue by private, tracked memory alone.
#[test]
fn a_queue_reuses_memory_early_only_where_an_order_is_certain() {
    let options = |hazards, storage| MetalOptions::default().with_hazards(hazards).with_storage(storage);
    for (options, early) in [
        (options(Hazards::Tracked, Storage::Private), true),
        (options(Hazards::Untracked, Storage::Private), false),
        (options(Hazards::Tracked, Storage::Shared), false),
        (options(Hazards::Untracked, Storage::Shared).with_early_reuse(true), true),
    ] {
        with_options(options.clone(), |device| {
            let pool = pool(device);
            let queue = Arc::new(pool.metal().new_queue().unwrap());
            let work = pool.queue(queue.clone());
            hold(true);
            let first = work.allocate(6 * MIB).unwrap();
            let ticket = set_buffer(&queue, &first, 1);
            first.retire(&work.ticket(ticket));
            let second = work.allocate(Request::new(6 * MIB).no_fallback());
            assert_eq!(second.is_ok(), early, "{options:?}");
            hold(false);
        });
    }
}

#[test]
fn a_wait_on_the_gpu_includes_all_earlier_submissions() {
    untracked(|device| {
        let (one, other) = (heap(&device, MIB), heap(&device, MIB));
        let (first, second) = (device.new_queue().unwrap(), device.new_queue().unwrap());
        turn(|k| k.stall = 1);
        set(&first, &*one, 1, |_| {});
        let last = (2..=12).map(|value| set(&first, &*other, value, |_| {})).last().unwrap();
        let waiting = set(&second, &*one, 13, |commands| first.encode_wait(commands, last));
        assert_eq!(second.completed().unwrap(), 0);
        assert!(while_stalled(|| second.wait(waiting, LONG)).unwrap());
    });
}

fn hung(ticket: u64) -> DeviceError {
    DeviceError::Failed {
        call: "a command buffer",
        reason: format!("submission {ticket} failed: the GPU hung"),
    }
}

#[test]
fn a_failed_submission_is_complete_and_its_error_stays_with_its_ticket() {
    untracked(|device| {
        let queue = device.new_queue().unwrap();
        let memory = heap(&device, MIB);
        turn(|k| k.fail_work = 1);
        let failed = set(&queue, &*memory, 1, |_| {});
        turn(|k| k.stall = 1);
        let running = set(&queue, &*memory, 2, |_| {});
        assert_eq!(queue.completed().unwrap(), failed);
        assert_eq!(queue.wait(failed, LONG).unwrap_err(), hung(1));
        assert!(!queue.wait(running, Duration::from_millis(2)).unwrap());
        assert!(while_stalled(|| queue.wait(running, LONG)).unwrap());
        assert_eq!(queue.wait(failed, LONG).unwrap_err(), hung(1));
        assert_eq!((queue.failure(failed), queue.failure(running)), (Some(hung(1)), None));
    });
}

/// The queue's last handle goes while one submission has failed and the next still runs.
#[test]
fn memory_behind_a_failed_submission_waits_for_its_own() {
    untracked(|device| {
        let pool = pool(device);
        let queue = Arc::new(pool.metal().new_queue().unwrap());
        let work = pool.queue(queue.clone());
        let (small, large) = (pool.allocate(MIB).unwrap(), pool.allocate(6 * MIB).unwrap());
        turn(|k| k.fail_work = 1);
        set_buffer(&queue, &small, 1);
        turn(|k| k.stall = 1);
        let ticket = set_buffer(&queue, &large, 2);
        large.retire(&work.ticket(ticket));
        drop(work);
        assert!(pool.allocate(Request::new(6 * MIB).no_fallback()).is_err());
        end_stalled();
        assert!(pool.allocate(Request::new(6 * MIB).no_fallback()).is_ok());
    });
}

#[test]
fn a_fill_ends_before_it_returns_although_one_before_it_failed() {
    let options = MetalOptions::default().with_warm_up(WarmUp::Fill { wait: false });
    with_options(options, |device| {
        let queue = device.new_queue().unwrap();
        let memory = heap(&device, MIB);
        turn(|k| k.fail_work = 1);
        own::warm(&*memory, 0..MIB).unwrap();
        turn(|k| k.stall = 1);
        while_stalled(|| own::fill(&*memory, 0..MIB, 1)).unwrap();
        let ticket = set(&queue, &*memory, 2, |_| {});
        assert!(queue.wait(ticket, LONG).unwrap());
        assert_eq!(device.finish_fills().unwrap_err(), hung(1));
        device.finish_fills().unwrap();
    });
}

#[test]
fn a_fill_that_fails_is_an_error() {
    on_device(|device| {
        let memory = heap(&device, MIB);
        turn(|k| k.fail_work = 1);
        assert_eq!(own::fill(&*memory, 0..64, 1).unwrap_err(), hung(1));
        own::fill(&*memory, 0..64, 1).unwrap();
    });
}

#[test]
fn work_that_waits_for_a_failed_submission_goes_on() {
    on_device(|device| {
        let memory = heap(&device, MIB);
        let (first, second) = (device.new_queue().unwrap(), device.new_queue().unwrap());
        turn(|k| k.fail_work = 1);
        let failed = set(&first, &*memory, 1, |_| {});
        let waiting = set(&second, &*memory, 2, |commands| first.encode_wait(commands, failed));
        assert!(second.wait(waiting, Duration::from_secs(2)).unwrap());
    });
}
