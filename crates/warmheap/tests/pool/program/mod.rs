//! A random program over a pool, and the oracle that knows what the pool must report.

mod choices;
mod oracle;
mod setup;

use warmheap::config::Scrub;
use warmheap::device::sim::{Call, SimDevice};
use warmheap::{AllocError, Buffer, Pool, Request, Tag};

pub(crate) use choices::Choices;
pub(crate) use oracle::{GROWING, Oracle};
pub(crate) use setup::{Kind, Setup};

/// What the program holds.
struct Held {
    buffer: Buffer,
    request: Ask,
    /// The byte that fills the buffer, where the CPU can reach it.
    byte: u8,
}

/// The request, to compare with what came.
#[derive(Debug, Clone, Copy)]
struct Ask {
    size: u64,
    align: u64,
    zeroed: bool,
    tag: Tag,
    may_fall_back: bool,
}

pub(crate) struct Program {
    pool: Pool,
    setup: Setup,
    oracle: Oracle,
    held: Vec<Held>,
    tags: [Tag; 3],
    /// Sizes that repeat, as a model's do.
    usual: Vec<u64>,
    rng: Choices,
    /// Whether failures are requested and some may still come.
    faulty: bool,
}

impl Program {
    /// Returns a program, or `None` if the pool could not start on this budget. A pool that could not start
    /// took nothing.
    pub(crate) fn new(kind: Kind, mut rng: Choices) -> Option<Self> {
        let setup = Setup::random(kind, &mut rng);
        let pool = match Pool::new(setup.device.clone(), setup.config.clone()) {
            Ok(pool) => pool,
            Err(error) => {
                assert!(setup.budget.is_some(), "{error}");
                setup.assert_empty();
                return None;
            }
        };
        let usual = (0..6).map(|_| some_size(&mut rng, setup.largest)).collect();
        let tags = [Tag::NONE, "weights".into(), "kv-cache".into()];
        let oracle = Oracle::new(setup.config.track_statistics);
        Some(Self { pool, setup, oracle, held: Vec::new(), tags, usual, rng, faulty: false })
    }

    /// Runs one random act, and checks everything that can be seen.
    pub(crate) fn step(&mut self) {
        let few = self.held.len() < 40;
        match self.rng.u32(0..1000) {
            0..=1 => {
                self.pool.reset_statistics();
                self.oracle.reset();
            }
            2..=3 => self.compare_leaks(),
            4..=7 => self.order_failure(),
            8..=11 => self.nonsense(),
            12..=15 => self.rest(),
            16..=55 if !self.held.is_empty() => self.grow(),
            _ if self.held.is_empty() || self.rng.u8(0..100) < if few { 60 } else { 40 } => self.allocate(),
            _ => self.free(),
        }
        self.compare();
    }

    fn ask(&mut self) -> Ask {
        let rng = &mut self.rng;
        let usual = rng.u8(0..4) > 0;
        let size = if usual { *rng.choice(&self.usual).unwrap() } else { some_size(rng, self.setup.largest) };
        let growing = rng.u8(0..8) == 0;
        let align = match rng.u8(0..8) {
            _ if growing => GROWING,
            0 => 1 << rng.u32(0..25),
            _ => 0,
        };
        let (zeroed, may_fall_back) = (rng.u8(0..16) == 0, rng.u8(0..8) > 0);
        Ask { size, align, zeroed, tag: rng.choice(self.tags).unwrap(), may_fall_back }
    }

    fn allocate(&mut self) {
        let ask @ Ask { size, align, zeroed, tag, may_fall_back } = self.ask();
        let request = Request::new(size).tag(tag);
        let request = if align == GROWING { request.growable(4 * size) } else { request.align(align) };
        let request = if zeroed { request.zeroed() } else { request };
        let before = self.pool.statistics();
        let answer = self.pool.allocate(if may_fall_back { request } else { request.no_fallback() });
        match answer {
            Ok(buffer) => {
                self.check(&buffer, ask);
                self.oracle.allocated(&buffer, align);
                if buffer.is_fallback() {
                    assert!(may_fall_back, "a request without fallback fell back: {ask:?}");
                    self.check_fallback(ask);
                }
                let byte = self.rng.u8(1..);
                self.setup.write(&buffer, byte);
                self.held.push(Held { buffer, request: ask, byte });
            }
            Err(AllocError::OutOfMemory(error)) => {
                assert_eq!(error.requested(), size);
                assert_eq!(error.device().is_some(), may_fall_back);
                assert!(self.setup.may_fail(may_fall_back) || self.faulty, "{ask:?} failed: {error}");
                self.oracle.failed();
            }
            Err(AllocError::Device(_)) => {
                assert!(self.faulty && zeroed, "{ask:?} failed");
                self.oracle.failed();
                let after = self.pool.statistics();
                assert_eq!(after.fallback_mb, before.fallback_mb, "a refused buffer stayed");
                self.oracle.may_be_quarantined(size, align);
            }
            Err(error) => panic!("{ask:?}: {error}"),
        }
    }

    fn check(&mut self, buffer: &Buffer, ask: Ask) {
        assert_eq!((buffer.size(), buffer.tag()), (ask.size, ask.tag));
        let align = if ask.align == GROWING { 0 } else { ask.align }.max(self.setup.granule);
        assert!(buffer.device_address().is_multiple_of(align), "{buffer:?} for {ask:?}, {:?}", self.setup);
        let place = buffer.memory().unwrap();
        assert_eq!(place.device_address() + place.offset(), buffer.device_address());
        assert!(
            place.offset() + buffer.size() <= place.size(),
            "{buffer:?} runs past its heap, {:?}",
            self.setup
        );
        if ask.zeroed {
            self.setup.expect(buffer, 0);
        }
    }

    /// Asserts that no heap could serve a request that the device served.
    fn check_fallback(&self, ask: Ask) {
        let statistics = self.pool.statistics();
        if self.faulty || !self.setup.config.enabled {
            return;
        }
        let free = statistics.total_capacity_mb - statistics.used_capacity_mb;
        let largest = (1.0 - statistics.fragmentation) * free * (1 << 20) as f64;
        // A size with a class is rounded up by a 16th at most. The allocator looks at a few blocks of the
        // size's own bin, which is 3 % wide.
        let align = if ask.align == GROWING { 0 } else { ask.align };
        let rounding = if ask.size > 4096 * self.setup.granule { 1.0 } else { 1.0 + 1.0 / 16.0 };
        let fitting = (ask.size + align.max(256)) as f64 * rounding * 1.04 + 512.0;
        assert!(largest < fitting, "{ask:?} fell back with a hole of {largest} bytes");
        assert!(!self.setup.grows_without_bound(), "{ask:?} fell back though the pool may grow");
    }

    fn free(&mut self) {
        let held = self.held.swap_remove(self.rng.usize(0..self.held.len()));
        self.setup.expect(&held.buffer, held.byte);
        self.oracle.freed(&held.buffer, held.request.align);
        drop(held);
    }

    /// Grows a buffer in place, or moves it if it may move. Its contents must survive.
    fn grow(&mut self) {
        let place = self.rng.usize(0..self.held.len());
        let Held { mut buffer, mut request, byte } = self.held.swap_remove(place);
        let (old, address) = (buffer.size(), buffer.device_address());
        let size = old + some_size(&mut self.rng, self.setup.largest / 4);
        let before = self.pool.statistics();
        let may_move = self.rng.bool();
        let answer = if may_move { buffer.grow_or_move(size) } else { buffer.grow(size).map(|()| None) };
        match answer {
            Ok(None) => {
                assert_eq!((buffer.size(), buffer.device_address()), (size, address));
                self.oracle.grown(&buffer, old, request.align);
            }
            Ok(Some(left)) => {
                assert!(may_move && left.size() == old && left.device_address() == address);
                self.oracle.allocated(&buffer, GROWING);
                self.oracle.freed(&left, request.align);
                request.align = GROWING;
            }
            Err(error) => {
                assert_eq!((buffer.size(), buffer.device_address()), (old, address), "{error}");
                match error {
                    AllocError::CannotGrow(error) => assert!(!may_move && error.requested() == size),
                    AllocError::OutOfMemory(_) => {
                        assert!(self.setup.may_fail(true) || self.faulty, "{error}");
                        self.oracle.failed();
                    }
                    AllocError::Device(_) => {
                        assert!(self.faulty, "{error}");
                        let after = self.pool.statistics();
                        self.oracle.passed(size, after.fallback_allocations - before.fallback_allocations);
                    }
                    error => panic!("{error}"),
                }
            }
        }
        self.setup.expect_first(&buffer, old, byte);
        self.setup.write(&buffer, byte);
        let size = buffer.size();
        self.held.push(Held { buffer, request: Ask { size, ..request }, byte });
    }

    /// Makes requests without sense, which change nothing and are not counted.
    fn nonsense(&mut self) {
        let before = self.pool.statistics();
        assert_eq!(self.pool.allocate(0).unwrap_err(), AllocError::ZeroSize);
        let odd = Request::new(10).align(48);
        assert_eq!(
            self.pool.allocate(odd.no_fallback()).unwrap_err(),
            AllocError::BadAlignment { align: 48 }
        );
        assert_eq!(self.pool.statistics(), before);
        for size in [1 << 63, u64::MAX] {
            let error = self.pool.allocate(size).unwrap_err();
            assert!(matches!(error, AllocError::OutOfMemory(_)), "{error}");
            self.oracle.failed();
        }
    }

    /// Lets the system take purgeable heaps from time to time. No request may notice.
    fn rest(&mut self) {
        if let Some(sim) = &self.setup.sim {
            sim.set_pressure(self.rng.bool());
        }
        let rested = self.pool.make_purgeable();
        assert!(rested.is_ok() || self.faulty, "{rested:?}");
    }

    fn order_failure(&mut self) {
        let Some(sim) = &self.setup.sim else { return };
        self.faulty = self.rng.bool();
        if self.faulty {
            let call = *self.rng.choice(&Call::ALL).unwrap();
            if call == Call::Fill && self.setup.config.scrub == Scrub::OnFree {
                self.oracle.set_fills_may_fail(true);
            }
            match self.rng.u8(0..4) {
                0 => sim.fail_always(call),
                nth => sim.fail(call, nth.into()),
            }
        } else {
            sim.heal();
            self.oracle.set_fills_may_fail(false);
        }
    }

    fn compare(&mut self) {
        let statistics = self.pool.statistics();
        self.oracle.compare(&statistics);
        let reserved = self.pool.reserved_bytes();
        let mib = (1 << 20) as f64;
        let said = (statistics.total_capacity_mb + statistics.fallback_mb) * mib;
        // Quarantined memory may be in heaps, and counts there, or in a former fallback buffer.
        assert!((said..=said + statistics.quarantined_mb * mib).contains(&(reserved as f64)));
        if let Some(sim) = &self.setup.sim {
            assert_eq!(sim.live_bytes(), reserved);
            assert_eq!(statistics.device_calls, device_calls(sim));
        }
    }

    fn compare_leaks(&mut self) {
        let report = self.pool.leaks();
        // The report empties caches, and then tries to clear quarantined memory.
        self.oracle.cleared();
        let known = |leak: &warmheap::Leak| (leak.size, leak.tag);
        let mut leaks: Vec<_> = report.leaks.iter().map(known).collect();
        let mut held: Vec<_> = self.held.iter().map(|held| (held.request.size, held.request.tag)).collect();
        leaks.sort_unstable();
        held.sort_unstable();
        assert_eq!(leaks, held);
        assert!(report.leaks.iter().all(|leak| leak.site.is_some_and(|site| site.file() == file!())));
    }

    /// Ends the program. Half of its buffers go before the pool, the others after it.
    pub(crate) fn finish(mut self) {
        if let Some(sim) = &self.setup.sim {
            sim.heal();
            self.oracle.set_fills_may_fail(false);
        }
        for _ in 0..self.held.len() / 2 {
            self.free();
            self.compare();
        }
        let Self { pool, setup, held, .. } = self;
        drop(pool);
        for held in held {
            setup.expect(&held.buffer, held.byte);
        }
        setup.assert_empty();
    }
}

/// Returns the number of calls that a simulated device has had, frees included.
pub(crate) fn device_calls(sim: &SimDevice) -> u64 {
    Call::ALL.into_iter().map(|call| sim.calls(call)).sum::<u64>() + sim.frees()
}

/// Returns a size whose logarithm is uniform.
fn some_size(rng: &mut Choices, largest: u64) -> u64 {
    let bits = rng.u32(1..=largest.ilog2());
    rng.u64(1..=1 << bits)
}

/// Runs the program that `bytes` spell: first the kind of the pool, then one choice after the other.
pub(crate) fn run_bytes(bytes: &[u8]) {
    const KINDS: [Kind; 4] = [Kind::Fixed, Kind::Elastic, Kind::Discrete, Kind::Host];
    let Some((kind, bytes)) = bytes.split_first() else { return };
    let kind = KINDS[usize::from(*kind) % KINDS.len()];
    let Some(mut program) = Program::new(kind, Choices::from_bytes(bytes.to_vec())) else { return };
    while !program.rng.are_used_up() {
        program.step();
    }
    program.finish();
}

/// Runs programs of `steps` steps until `ops` are done.
pub(crate) fn run(kind: Kind, ops: u64, steps: u64) {
    for seed in 0..ops / steps {
        let step = std::cell::Cell::new(0);
        let program = std::panic::AssertUnwindSafe(|| {
            let Some(mut program) = Program::new(kind, Choices::from_seed(seed << 2 | kind as u64)) else {
                return;
            };
            for number in 0..steps {
                step.set(number);
                program.step();
            }
            program.finish();
        });
        if let Err(panic) = std::panic::catch_unwind(program) {
            eprintln!("{kind:?}, seed {seed}, step {}", step.get());
            std::panic::resume_unwind(panic);
        }
    }
}
