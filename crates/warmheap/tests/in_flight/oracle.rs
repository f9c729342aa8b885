//! Random programs with several queues that lag, overtake each other and get lost. An oracle knows all work
//! that may still be using a range. The pool must give such a range to no other queue than the one whose work
//! that is. The oracle must object to a queue that reports its counter as further than it is.
//!
//! The tests take 200,000 operations; `WARMHEAP_IN_FLIGHT_OPS` sets another number.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use fastrand::Rng;
use warmheap::config::{MIB, Scrub};
use warmheap::device::sim::{SimDevice, SimQueue};
use warmheap::device::{DeviceError, Queue};
use warmheap::{AllocError, Buffer, Pool, PoolConfig, PoolQueue, Request};

const QUEUES: usize = 4;

/// A queue that reports its counter as further than it is.
#[derive(Debug)]
struct Liar {
    counter: Arc<SimQueue>,
    lie: u64,
}

impl Queue for Liar {
    fn completed(&self) -> Result<u64, DeviceError> {
        self.counter.completed().map(|value| value + self.lie)
    }

    fn wait(&self, value: u64, timeout: Duration) -> Result<bool, DeviceError> {
        self.counter.wait(value.saturating_sub(self.lie), timeout)
    }
}

/// A queue as the program knows it. No other queue ever gets its `number`.
struct Lane {
    number: usize,
    counter: Arc<SimQueue>,
    queue: PoolQueue,
    submitted: u64,
    completed: u64,
    lost: bool,
}

/// A queue's work on a range that ends at `end`. The work is done when `value` has completed.
#[derive(Debug, Clone, Copy)]
struct Flight {
    end: u64,
    queue: usize,
    value: u64,
}

impl Flight {
    /// Work that a lost queue has not completed uses its range until the queue's last handle is gone.
    fn is_in_use(&self, lanes: &[Lane]) -> bool {
        let lane = lanes.iter().find(|lane| lane.number == self.queue);
        lane.is_some_and(|lane| self.value > lane.completed)
    }
}

/// Every range that work may be using, by its start. Ranges overlap only if the pool is wrong.
#[derive(Default)]
struct Oracle(BTreeMap<u64, Vec<Flight>>);

impl Oracle {
    fn takes_off(&mut self, buffer: &Buffer, queue: usize, value: u64) {
        let end = buffer.device_address() + buffer.size();
        self.0.entry(buffer.device_address()).or_default().push(Flight { end, queue, value });
    }

    /// Checks a range that the pool gave out. `by` is the queue that allocated for itself.
    fn claim(&self, buffer: &Buffer, by: Option<usize>, lanes: &[Lane]) -> Result<(), String> {
        let (start, end) = (buffer.device_address(), buffer.device_address() + buffer.size());
        for (other, flights) in self.0.range(..end).rev() {
            if flights.iter().all(|flight| flight.end <= start) {
                break;
            }
            let in_use =
                |flight: &&Flight| flight.end > start && by != Some(flight.queue) && flight.is_in_use(lanes);
            if let Some(flight) = flights.iter().find(in_use) {
                return Err(format!(
                    "{start:#x}..{end:#x} overlaps {other:#x}, where {flight:?} is in flight"
                ));
            }
        }
        Ok(())
    }

    /// Forgets work that has completed.
    fn sweep(&mut self, lanes: &[Lane]) {
        self.0.retain(|_, flights| {
            flights.retain(|flight| flight.is_in_use(lanes));
            !flights.is_empty()
        });
    }
}

struct Program {
    pool: Pool,
    lanes: Vec<Lane>,
    made: usize,
    lie: u64,
    oracle: Oracle,
    /// Buffers, each with the queue that allocated it, if one did.
    held: Vec<(Buffer, Option<usize>)>,
    rng: Rng,
}

impl Program {
    fn new(sim: &SimDevice, config: PoolConfig, lie: u64, seed: u64) -> Self {
        let pool = Pool::new(Arc::new(sim.clone()), config).unwrap();
        let (lanes, oracle) = (Vec::new(), Oracle::default());
        let mut program =
            Self { pool, lanes, made: 0, lie, oracle, held: Vec::new(), rng: Rng::with_seed(seed) };
        (0..QUEUES).for_each(|_| program.open());
        program
    }

    fn open(&mut self) {
        let counter = Arc::new(SimQueue::new());
        let queue = self.pool.queue(Arc::new(Liar { counter: Arc::clone(&counter), lie: self.lie }));
        let number = self.made;
        self.made += 1;
        self.lanes.push(Lane { number, counter, queue, submitted: 0, completed: 0, lost: false });
    }

    fn step(&mut self) -> Result<(), String> {
        match self.rng.u32(..10_000) {
            0..1 => self.lose(),
            1..4 => self.replace_lost_queue(),
            4..20 => self.oracle.sweep(&self.lanes),
            20..30 => drop(self.pool.trim(0)),
            30..500 => self.complete(),
            500..700 => {
                let lane = self.rng.choice(&self.lanes).unwrap();
                assert_eq!(lane.queue.poll().is_err(), lane.lost);
            }
            700..5_000 => self.allocate()?,
            _ if self.held.is_empty() => {}
            5_000..9_000 => self.retire(),
            _ => {
                let place = self.rng.usize(..self.held.len());
                self.held.swap_remove(place);
            }
        }
        if self.held.len() > 300 {
            self.held.truncate(100);
        }
        Ok(())
    }

    fn allocate(&mut self) -> Result<(), String> {
        // There are few sizes, so that queues find what they have retired.
        let size = (1 << self.rng.u32(8..23)) * self.rng.u64(2..4) / 2;
        let request = Request::new(size);
        let request = if self.rng.u8(..32) == 0 { request.zeroed() } else { request };
        let lane = self.rng.bool().then(|| self.rng.choice(&self.lanes).unwrap());
        let answer = match lane {
            Some(lane) => lane.queue.allocate(request),
            None => self.pool.allocate(request),
        };
        match answer {
            Ok(buffer) => {
                let by = lane.map(|lane| lane.number);
                // The device, not the queue, writes memory that is cleared for a request.
                self.oracle.claim(&buffer, by.filter(|_| !request_is_cleared(&request)), &self.lanes)?;
                self.held.push((buffer, by));
            }
            Err(AllocError::OutOfMemory(_)) => self.held.truncate(self.held.len() / 2),
            Err(error) => return Err(error.to_string()),
        }
        Ok(())
    }

    /// Submits work on a buffer and retires it. The queue is often the one that allocated the buffer.
    /// Otherwise the program orders that queue after the other, as a real one does.
    fn retire(&mut self) {
        let (buffer, by) = self.held.swap_remove(self.rng.usize(..self.held.len()));
        let own = by.and_then(|number| self.lanes.iter().position(|lane| lane.number == number));
        let place =
            own.filter(|_| self.rng.u8(..4) > 0).unwrap_or_else(|| self.rng.usize(..self.lanes.len()));
        let lane = &mut self.lanes[place];
        lane.submitted = lane.counter.submit();
        // Older work may have been the last to use it.
        let value = lane.submitted.saturating_sub(self.rng.u64(..6)).max(1);
        self.oracle.takes_off(&buffer, lane.number, value);
        buffer.retire(&lane.queue.ticket(value));
    }

    fn complete(&mut self) {
        let place = self.rng.usize(..self.lanes.len());
        let lane = &mut self.lanes[place];
        // Queues complete work late, and the others overtake them.
        let by = if self.rng.u8(..8) == 0 { u64::MAX } else { self.rng.u64(..12) };
        if lane.lost {
            return;
        }
        lane.completed = lane.completed.saturating_add(by).min(lane.submitted);
        lane.counter.complete(lane.completed);
    }

    fn lose(&mut self) {
        let place = self.rng.usize(..self.lanes.len());
        let lane = &mut self.lanes[place];
        lane.counter.lose("ordered");
        lane.lost = true;
    }

    /// Drops a lost queue's last handle. Its memory comes back, because none of its work runs any more.
    fn replace_lost_queue(&mut self) {
        if let Some(place) = self.lanes.iter().position(|lane| lane.lost) {
            self.lanes.swap_remove(place);
            self.open();
        }
    }

    /// Completes all work. Every byte must come back.
    fn finish(mut self) -> Result<(), String> {
        self.lanes.iter().for_each(|lane| lane.counter.complete_all());
        self.held.clear();
        self.lanes.clear();
        match self.pool.statistics().active_allocations {
            0 => Ok(()),
            lost => Err(format!("{lost} buffers did not come back")),
        }
    }
}

impl Drop for Program {
    /// Loses all queues when a program ends or fails, so that no thread waits for them.
    fn drop(&mut self) {
        self.lanes.iter().for_each(|lane| lane.counter.lose("over"));
    }
}

fn request_is_cleared(request: &Request) -> bool {
    *request == request.zeroed()
}

fn operations() -> u64 {
    std::env::var("WARMHEAP_IN_FLIGHT_OPS").map_or(200_000, |count| count.parse().unwrap())
}

/// Runs programs on every kind of pool until `operations` are done or one fails.
fn run(operations: u64, lie: u64) -> Result<(), String> {
    const STEPS: u64 = 20_000;
    let tight = || SimDevice::new().budget(256 * MIB);
    let fixed = PoolConfig::default().with_heap_size(64 * MIB).with_num_heaps(3).with_warmup_sizes([]);
    let kinds = [
        (SimDevice::new(), PoolConfig::elastic()),
        (tight(), PoolConfig::elastic()),
        (SimDevice::new().discrete(), PoolConfig::elastic()),
        (tight().discrete(), fixed.clone()),
        (tight(), fixed.with_scrub(Scrub::OnFree)),
    ];
    for number in 0..operations.div_ceil(STEPS) {
        let (sim, config) = &kinds[number as usize % kinds.len()];
        let mut program = Program::new(sim, config.clone(), lie, number);
        let failed = |step| move |error| format!("program {number}, step {step}: {error}");
        for step in 0..STEPS {
            program.step().map_err(failed(step))?;
        }
        program.finish().map_err(failed(STEPS))?;
        if sim.live_bytes() != 0 {
            return Err(format!("program {number}: {} bytes are still held", sim.live_bytes()));
        }
    }
    Ok(())
}

#[test]
fn no_range_is_handed_out_before_its_signal() {
    run(operations(), 0).unwrap();
}

#[test]
fn a_range_handed_out_early_is_seen() {
    for lie in [1, 4] {
        let error = run(operations(), lie).unwrap_err();
        assert!(error.contains("is in flight"), "{error}");
    }
}

/// A queue gets its memory back before its work is done. No other queue does, whatever happens to the buffer.
#[test]
fn what_a_queue_has_back_early_is_its_own_until_its_work_is_done() {
    let pool = Pool::new(Arc::new(SimDevice::new()), PoolConfig::elastic()).unwrap();
    let counters: Vec<_> = (0..2).map(|_| Arc::new(SimQueue::new())).collect();
    let queues: Vec<_> = counters.iter().map(|counter| pool.queue(counter.clone())).collect();
    let free = |address: u64, size: u64| {
        let others: Vec<_> = (0..64).map(|_| pool.allocate(size).unwrap()).collect();
        others.iter().any(|other| other.device_address() == address)
    };
    for size in [1000, 64 << 10, 4 * MIB] {
        let early = || {
            let buffer = queues[0].allocate(size).unwrap();
            let address = buffer.device_address();
            buffer.retire(&queues[0].ticket(counters[0].submit()));
            let again = queues[0].allocate(size).unwrap();
            assert_eq!(again.device_address(), address);
            (again, address)
        };
        // Dropped unused, it waits for the first work on its memory.
        let (again, address) = early();
        drop(again);
        assert!(!free(address, size));
        assert_eq!(queues[0].retired_bytes(), size);
        // The queue itself still gets it at once.
        assert_eq!(queues[0].allocate(size).unwrap().device_address(), address);
        counters[0].complete_all();
        queues[0].poll().unwrap();
        assert!(free(address, size));

        // Retired to another queue, it waits for both.
        let (again, address) = early();
        again.retire(&queues[1].ticket(counters[1].submit()));
        counters[1].complete_all();
        queues[1].poll().unwrap();
        assert!(!free(address, size));
        assert_ne!(queues[1].allocate(size).unwrap().device_address(), address, "it is the first queue's");
        counters[0].complete_all();
        queues[0].poll().unwrap();
        assert!(free(address, size));

        // Retired to its own queue again, it waits for the later ticket.
        let (again, address) = early();
        again.retire(&queues[0].ticket(counters[0].submit()));
        counters[0].complete_all();
        queues[0].poll().unwrap();
        assert!(free(address, size));
    }
    assert_eq!(pool.statistics().active_allocations, 0);
}

/// Ends everything in every order, with spans that have pending tickets.
#[test]
fn pools_queues_and_early_buffers_may_go_in_any_order() {
    for order in 0..6 {
        let sim = SimDevice::new();
        let pool = Pool::new(Arc::new(sim.clone()), PoolConfig::elastic()).unwrap();
        let counter = Arc::new(SimQueue::new());
        let queue = pool.queue(counter.clone());
        queue.allocate(MIB).unwrap().retire(&queue.ticket(counter.submit()));
        let early = queue.allocate(MIB).unwrap();
        pool.allocate(MIB).unwrap().retire(&queue.ticket(counter.submit()));
        let done = AtomicBool::new(false);
        let (mut pool, mut queue, mut early) = (Some(pool), Some(queue), Some(early));
        std::thread::scope(|scope| {
            // No thread that waits for the queue's end waits for long.
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(5));
                counter.complete_all();
                done.store(true, Relaxed);
            });
            for turn in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]][order] {
                match turn {
                    0 => drop(pool.take()),
                    1 => drop(queue.take()),
                    _ => drop(early.take()),
                }
            }
        });
        assert!(done.load(Relaxed));
        assert_eq!(sim.live_bytes(), 0, "order {order}");
    }
}
