//! A queue that runs closures: in order, slowed, held and lost; and a pool that uses it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use warmheap::config::MIB;
use warmheap::device::host::HostDevice;
use warmheap::device::{DeviceError, Queue, WorkerQueue};
use warmheap::{Pool, PoolConfig};

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(30);

fn worker() -> Arc<WorkerQueue> {
    Arc::new(WorkerQueue::start().unwrap())
}

#[test]
fn work_runs_in_order_and_its_value_says_when_it_is_done() {
    let worker = worker();
    let seen = Arc::new(Mutex::new(Vec::new()));
    for number in 1..=100_u64 {
        let seen = Arc::clone(&seen);
        assert_eq!(worker.submit(move || seen.lock().unwrap().push(number)), number);
    }
    assert_eq!(worker.wait(100, LONG), Ok(true));
    assert_eq!(*seen.lock().unwrap(), (1..=100).collect::<Vec<_>>());
    assert_eq!(worker.completed(), Ok(100));
    assert_eq!(worker.wait(101, SHORT), Ok(false), "nothing was submitted after 100");
}

#[test]
fn a_held_queue_begins_nothing_until_it_is_resumed() {
    let worker = worker();
    worker.hold();
    let ran = Arc::new(AtomicBool::new(false));
    let value = worker.submit({
        let ran = Arc::clone(&ran);
        move || ran.store(true, SeqCst)
    });
    assert_eq!(worker.wait(value, SHORT), Ok(false));
    assert!(!ran.load(SeqCst));
    worker.resume();
    assert_eq!(worker.wait(value, LONG), Ok(true));
    assert!(ran.load(SeqCst));
}

#[test]
fn a_slowed_queue_lags() {
    let worker = worker();
    worker.slow(SHORT);
    let begun = Instant::now();
    let values: Vec<_> = (0..3).map(|_| worker.submit(|| ())).collect();
    assert_eq!(worker.wait(values[2], LONG), Ok(true));
    assert!(begun.elapsed() >= 3 * SHORT);
}

#[test]
fn a_lost_queue_says_so_once_nothing_can_touch_memory() {
    let worker = worker();
    let (begun, end) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let running = worker.submit({
        let (begun, end) = (Arc::clone(&begun), Arc::clone(&end));
        move || {
            begun.store(true, SeqCst);
            while !end.load(SeqCst) {
                std::thread::yield_now();
            }
        }
    });
    let after = worker.submit(|| panic!("work of a lost queue ran"));
    while !begun.load(SeqCst) {
        std::thread::yield_now();
    }
    worker.lose("unplugged");
    assert_eq!(worker.completed(), Ok(0), "the work that runs may still touch memory");
    end.store(true, SeqCst);
    let lost = worker.wait(running, LONG).unwrap_err();
    assert_eq!(lost, DeviceError::Lost { reason: "unplugged".into() });
    assert_eq!(worker.wait(after, LONG), Err(lost.clone()));
    assert_eq!(worker.wait(worker.submit(|| ()), LONG), Err(lost));
}

#[test]
fn work_that_panics_loses_its_queue_and_nothing_else() {
    let worker = worker();
    let value = worker.submit(|| panic!("illegal address"));
    let lost = worker.wait(value, LONG).unwrap_err();
    assert!(lost.to_string().contains("illegal address"), "{lost}");
}

#[test]
fn work_may_own_its_queue() {
    let queue = worker();
    let counted = Arc::new(AtomicU64::new(0));
    queue.submit({
        let (queue, counted) = (Arc::clone(&queue), Arc::clone(&counted));
        move || {
            counted.fetch_add(1, SeqCst);
            drop(queue);
        }
    });
    drop(queue);
    // Whichever thread drops the last handle, neither waits for itself.
    while Arc::strong_count(&counted) > 1 {
        std::thread::yield_now();
    }
}

/// The queue's thread writes each buffer after its owner has retired it. If the pool gave out such a range
/// too early, its new owner would see bytes change.
#[test]
fn retired_memory_is_the_works_own_until_it_is_done() {
    let pool = Pool::new(Arc::new(HostDevice::new()), PoolConfig::elastic()).unwrap();
    let workers: Vec<_> = (0..2).map(|_| worker()).collect();
    let queues: Vec<_> = workers.iter().map(|worker| pool.queue(worker.clone())).collect();
    workers[1].slow(Duration::from_micros(50));
    let torn = Arc::new(AtomicU64::new(0));
    let mut random = fastrand::Rng::with_seed(3);
    for step in 0..4_000_u64 {
        let which = random.usize(..2);
        let size = random.u64(1..64 << 10);
        let buffer = pool.allocate(size).unwrap();
        let (at, torn, byte) = (buffer.host_ptr().unwrap().as_ptr() as usize, Arc::clone(&torn), step as u8);
        let value = workers[which].submit(move || {
            // SAFETY: the buffer is retired to this queue below, so only this work uses its range.
            let bytes = unsafe { std::slice::from_raw_parts_mut(at as *mut u8, size as usize) };
            bytes.fill(byte);
            std::hint::black_box(&mut *bytes);
            torn.fetch_add(bytes.iter().filter(|seen| **seen != byte).count() as u64, SeqCst);
        });
        buffer.retire(&queues[which].ticket(value));
        // The CPU has buffers of its own from the same heaps.
        let own = pool.allocate(random.u64(1..64 << 10)).unwrap();
        let bytes = own.host_ptr().unwrap();
        // SAFETY: the buffer is alive, and only this thread uses it.
        unsafe { bytes.write_bytes(!byte, own.size() as usize) };
    }
    for (worker, queue) in workers.iter().zip(&queues) {
        assert_eq!(worker.wait(worker.submit(|| ()), LONG), Ok(true));
        queue.poll().unwrap();
        assert_eq!(queue.retired_bytes(), 0);
    }
    assert_eq!(torn.load(SeqCst), 0);
    assert_eq!(pool.statistics().active_allocations, 0);
}

#[test]
fn a_dead_queues_buffers_come_back_with_its_last_handle() {
    let device = Arc::new(HostDevice::with_budget(64 * MIB));
    let pool = Pool::new(device.clone(), PoolConfig::elastic()).unwrap();
    let worker = worker();
    let queue = pool.queue(worker.clone());
    worker.hold();
    for _ in 0..8 {
        let buffer = pool.allocate(MIB).unwrap();
        let value = worker.submit(|| ());
        buffer.retire(&queue.ticket(value));
    }
    worker.lose("the other end hung up");
    assert!(matches!(queue.poll(), Err(DeviceError::Lost { .. })));
    assert_eq!(queue.retired_bytes(), 8 * MIB);
    drop((queue, worker));
    assert_eq!(pool.statistics().active_allocations, 0);
}
