//! Children by `fork` of processes whose threads are busy. Every call on what a child inherited is refused or
//! does nothing. Children never hang, they end cleanly, and they can use pools of their own.
#![cfg(unix)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use warmheap::device::host::HostDevice;
use warmheap::device::sim::{SimDevice, SimQueue};
use warmheap::device::{Device, DeviceError, WorkerQueue};
use warmheap::fork::Forked;
use warmheap::{
    AllocError, Buffer, CompactionBudget, MovableBuffer, Pool, PoolConfig, PoolQueue, Request, Statistics,
};
use warmheap::{Tag, Ticket};

const MIB: u64 = 1 << 20;

/// Runs `body` in a child, which must end well within a second, or a little more on a busy machine. The
/// parent gets `body` back with all that it owns.
fn in_child<F: FnOnce()>(body: F) -> F {
    // SAFETY: the child runs only code that the library allows after a fork, and then exits.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        // This goes past the test harness, which would swallow the message.
        std::panic::set_hook(Box::new(|panic| {
            let words = format!("in the child: {panic}\n");
            // SAFETY: the text is as long as stated.
            unsafe { libc::write(2, words.as_ptr().cast(), words.len()) };
        }));
        let code = i32::from(catch_unwind(AssertUnwindSafe(body)).is_err());
        // SAFETY: this ends the process without running destructors.
        unsafe { libc::exit(code) }
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut status = 0;
    // SAFETY: this waits for our own child, and writes to a local variable.
    while unsafe { libc::waitpid(child, &mut status, libc::WNOHANG) } == 0 {
        if Instant::now() > deadline {
            // SAFETY: this ends our own child.
            unsafe { libc::kill(child, libc::SIGKILL) };
            panic!("the child hangs");
        }
        thread::sleep(Duration::from_micros(200));
    }
    assert!(
        libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0,
        "the child ended with status {status:#x}"
    );
    body
}

/// Runs `body` in a new thread and waits for its end. The standard library starts a thread under a lock, which
/// a child inherits locked if a thread of the parent was starting or ending. The system's own call takes none.
fn in_new_thread<F: FnOnce() + Send>(body: F) {
    extern "C" fn run<F: FnOnce()>(body: *mut libc::c_void) -> *mut libc::c_void {
        // SAFETY: `in_new_thread` passes the address of its own `Option<F>`, and waits for this thread.
        let body = unsafe { &mut *body.cast::<Option<F>>() }.take();
        if catch_unwind(AssertUnwindSafe(|| body.into_iter().for_each(|body| body()))).is_err() {
            std::process::abort();
        }
        std::ptr::null_mut()
    }
    let mut body = Some(body);
    let mut thread = 0;
    // SAFETY: the body outlives the thread, because the join below waits for it.
    let started =
        unsafe { libc::pthread_create(&mut thread, std::ptr::null(), run::<F>, (&raw mut body).cast()) };
    assert_eq!(started, 0);
    // SAFETY: joins the thread that was just started.
    assert_eq!(unsafe { libc::pthread_join(thread, std::ptr::null_mut()) }, 0);
}

/// Everything that a program may hold when it forks.
struct Held {
    pool: Pool,
    small: Buffer,
    large: Buffer,
    growing: Buffer,
    metered: Buffer,
    to_retire: Buffer,
    movables: [MovableBuffer; 3],
    queue: PoolQueue,
    ticket: Ticket,
}

impl Held {
    fn take(pool: &Pool, worker: &Arc<WorkerQueue>) -> Self {
        let queue = pool.queue(worker.clone());
        let ticket = queue.ticket(worker.submit(|| ()));
        pool.allocate(4096).unwrap().retire(&ticket);
        let early = queue.allocate(4096).unwrap();
        Self {
            small: pool.allocate(100).unwrap(),
            large: pool.allocate(2 * MIB).unwrap(),
            growing: pool.allocate(Request::new(MIB).growable(8 * MIB)).unwrap(),
            metered: pool.allocate(Request::new(1000).tag("metered")).unwrap(),
            to_retire: early,
            movables: [(); 3].map(|()| pool.allocate_movable(64 << 10).unwrap()),
            queue,
            ticket,
            pool: pool.clone(),
        }
    }

    /// Makes every call, and drops what it holds.
    fn use_all(mut self, parent: u32) {
        let child = std::process::id();
        let refused = Forked { parent, child };
        self.allocate(refused);
        self.ask(refused);
        self.use_buffers(refused);
        let [pinned, whole, in_flight] = self.movables;
        assert_eq!(pinned.pin().host_ptr(), None);
        assert_eq!((pinned.size(), pinned.pin().size()), (64 << 10, 64 << 10));
        assert!(pinned.moves() < 1000);
        assert_eq!(whole.into_buffer().size(), 64 << 10);
        in_flight.in_flight_until(&self.ticket);
        in_flight.retire(&self.ticket);
        assert!(!self.ticket.is_complete());
        self.to_retire.retire(&self.ticket);
        assert_eq!(self.queue.poll(), Err(DeviceError::Forked(refused)));
        assert_eq!(self.queue.unfinished(), Err(DeviceError::Forked(refused)));
        assert!(self.queue.retired_bytes() <= 4096);
        assert_eq!(self.queue.allocate(4096).unwrap_err(), AllocError::Forked(refused));
    }

    fn allocate(&self, refused: Forked) {
        let requests = [
            Request::new(100),
            Request::new(3 * MIB),
            Request::new(1 << 40),
            Request::new(4096).zeroed(),
            Request::new(4096).align(1 << 20),
            Request::new(4096).growable(MIB),
            Request::new(4096).tag("metered"),
            Request::new(4096).tag("never heard of before"),
        ];
        for request in requests {
            for answer in [self.pool.allocate(request), self.pool.allocate(request.no_fallback())] {
                assert_eq!(answer.unwrap_err(), AllocError::Forked(refused), "{request:?}");
            }
            let at_once = self.pool.allocate(request.non_blocking());
            assert!(matches!(at_once, Err(AllocError::Forked(_))), "{at_once:?}");
            assert_eq!(self.pool.allocate_movable(request).unwrap_err(), AllocError::Forked(refused));
        }
    }

    fn ask(&self, refused: Forked) {
        let pool = &self.pool;
        assert_eq!(pool.statistics(), Statistics::default());
        pool.reset_statistics();
        assert_eq!(pool.trim(0), Err(DeviceError::Forked(refused)));
        assert_eq!(pool.maintain(Duration::from_secs(1)), Err(DeviceError::Forked(refused)));
        assert_eq!(pool.make_purgeable(), Err(DeviceError::Forked(refused)));
        assert_eq!(pool.compact(CompactionBudget::unlimited()), Err(DeviceError::Forked(refused)));
        pool.on_pressure(|_, _| ());
        pool.set_quota("metered", None);
        assert_eq!((pool.quota("metered"), pool.metadata_bytes()), (None, 0));
        assert!(pool.leaks().is_clean());
        assert!(pool.reserved_bytes() > 0 && pool.reserved_objects() > 0 && pool.peak_reserved_bytes() > 0);
        assert!(!pool.process().is_current() && !format!("{pool:?} {:?}", self.queue).is_empty());
        drop(pool.queue(Arc::new(SimQueue::new())));
    }

    fn use_buffers(&mut self, refused: Forked) {
        assert_eq!(self.metered.tag(), Tag::new("metered"));
        for buffer in [&mut self.small, &mut self.large, &mut self.growing, &mut self.metered] {
            assert!(buffer.host_ptr().is_none() && buffer.memory().is_none() && buffer.device_address() != 0);
            assert!(buffer.site().is_some() && buffer.size() > 0 && !buffer.process().is_current());
            let more = buffer.size() + MIB;
            assert_eq!(buffer.grow(more), Err(AllocError::Forked(refused)));
            assert_eq!(buffer.grow_or_move(more).unwrap_err(), AllocError::Forked(refused));
        }
    }
}

/// Uses a pool of the child's own, with threads.
fn own_pool(device: Arc<dyn Device>) {
    let mut config = PoolConfig::elastic();
    config.quotas.insert("metered".into(), MIB);
    let pool = Pool::new(device, config).unwrap();
    for _ in 0..2 {
        in_new_thread(|| {
            (0..200).for_each(|size| drop(pool.allocate(Request::new(size * 700 + 1).tag("own"))));
        });
    }
    let held = pool.allocate(Request::new(4096).tag("metered")).unwrap();
    assert_eq!((pool.statistics().active_allocations, pool.statistics().total_allocations), (1, 401));
    assert_eq!(pool.quota("metered"), Some((MIB, 4096)));
    drop(held);
    pool.trim(0).unwrap();
    assert!(pool.leaks().is_clean());
}

/// One thread's work: everything that takes locks.
fn work(pool: &Pool, number: usize, ended: &AtomicBool) {
    let queue = pool.queue(Arc::new(SimQueue::new()));
    let mut rng = fastrand::Rng::with_seed(number as u64);
    let mut held = Vec::new();
    while !ended.load(Relaxed) {
        let tag = format!("tag {}", rng.u8(0..200));
        held.extend(pool.allocate(Request::new(1 << rng.u32(0..22)).tag(&*tag)));
        held.extend(pool.allocate(Request::new(100).tag("metered")));
        if let Ok(movable) = pool.allocate_movable(rng.u64(1..100_000)) {
            drop(movable.pin());
            held.push(movable.into_buffer());
        }
        if held.len() > 30 {
            rng.shuffle(&mut held);
            held.pop().unwrap().retire(&queue.ticket(0));
            held.truncate(10);
        }
        match rng.u8(0..20) {
            0 => drop(pool.statistics()),
            1 => drop(pool.leaks()),
            2 => _ = pool.trim(0),
            3 => _ = pool.compact(CompactionBudget::unlimited()),
            4 => pool.reset_statistics(),
            5 => _ = queue.poll(),
            _ => {}
        }
    }
}

fn fixed() -> PoolConfig {
    let mut config = PoolConfig::default();
    config.heap_size = 64 * MIB;
    config.num_heaps = 2;
    config.warmup_sizes.clear();
    config
}

/// Forks again and again while threads use the pool.
fn forks_amid(threads: usize, device: Arc<dyn Device>, mut config: PoolConfig) {
    config.quotas.insert("metered".into(), 64 * MIB);
    config.trim_after = Duration::from_millis(20);
    let pool = Pool::new(Arc::clone(&device), config).unwrap();
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        for number in 0..threads {
            let (pool, ended) = (&pool, &ended);
            scope.spawn(move || work(pool, number, ended));
        }
        let parent = std::process::id();
        let forks = catch_unwind(AssertUnwindSafe(|| {
            for round in 0..25 {
                let worker = Arc::new(WorkerQueue::start().unwrap());
                worker.hold();
                let held = Held::take(&pool, &worker);
                let device = if round % 2 == 0 { Arc::clone(&device) } else { Arc::new(HostDevice::new()) };
                let body = in_child(|| {
                    // A new thread, which has never used the pool, tries as well.
                    in_new_thread(|| assert!(held.pool.allocate(64).is_err()));
                    held.use_all(parent);
                    own_pool(device);
                });
                worker.resume();
                drop(body);
            }
        }));
        ended.store(true, Relaxed);
        forks.unwrap();
    });
}

#[test]
fn a_child_of_a_process_with_one_busy_thread_is_refused_and_ends() {
    forks_amid(1, Arc::new(SimDevice::new()), PoolConfig::elastic());
    forks_amid(1, Arc::new(HostDevice::new()), fixed());
}

#[test]
fn a_child_of_a_process_with_three_busy_threads_is_refused_and_ends() {
    forks_amid(3, Arc::new(HostDevice::new()), PoolConfig::elastic());
    forks_amid(3, Arc::new(SimDevice::new().discrete()), PoolConfig::elastic());
}

#[test]
fn a_child_of_a_process_with_sixteen_busy_threads_is_refused_and_ends() {
    forks_amid(16, Arc::new(SimDevice::new()), PoolConfig::elastic());
    forks_amid(16, Arc::new(SimDevice::new()), fixed());
}

#[test]
fn a_child_that_drops_the_last_handle_neither_waits_for_the_pools_thread_nor_panics() {
    for round in 0..20 {
        let mut config = PoolConfig::elastic();
        config.trim_after = Duration::from_millis(20);
        config.compaction.enabled = true;
        let sim = SimDevice::new();
        let pool = Pool::new(Arc::new(sim.clone()), config).unwrap();
        let buffer = pool.allocate(4096).unwrap();
        thread::sleep(Duration::from_micros(200 * round));
        drop(in_child(move || {
            drop(pool);
            drop(buffer);
            assert!(sim.live_objects() > 0, "the parent's heaps are not the child's to give back");
        }));
    }
}

#[test]
fn a_child_that_drops_a_queue_does_not_wait_for_its_work() {
    let pool = Pool::new(Arc::new(HostDevice::new()), PoolConfig::elastic()).unwrap();
    let worker = Arc::new(WorkerQueue::start().unwrap());
    worker.hold();
    let queue = pool.queue(worker.clone());
    let ticket = queue.ticket(worker.submit(|| ()));
    pool.allocate(MIB).unwrap().retire(&ticket);
    let begun = Instant::now();
    let body = in_child(|| drop((ticket, queue, Arc::clone(&worker), pool)));
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    worker.resume();
    drop(body);
}

#[test]
fn a_child_of_a_child_is_refused_by_both() {
    let parent = std::process::id();
    let pool = Pool::new(Arc::new(HostDevice::new()), PoolConfig::elastic()).unwrap();
    let _ = in_child(|| {
        let child = std::process::id();
        let own = Pool::new(Arc::new(HostDevice::new()), PoolConfig::elastic()).unwrap();
        let kept = own.allocate(64).unwrap();
        let _ = in_child(|| {
            let here = std::process::id();
            let refusal = |pool: &Pool| pool.allocate(64).unwrap_err();
            assert_eq!(refusal(&pool), AllocError::Forked(Forked { parent, child: here }));
            assert_eq!(refusal(&own), AllocError::Forked(Forked { parent: child, child: here }));
            let words = refusal(&own).to_string();
            assert!(
                words.contains(&format!("process {child}, and process {here} is a fork of it")),
                "{words}"
            );
            drop(kept);
        });
    });
    drop(pool.allocate(64).unwrap());
}
