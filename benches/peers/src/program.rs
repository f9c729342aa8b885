//! The work: a sequence of allocations and frees, made before any clock runs.
//!
//! An operation has eight bytes, so that the sequence takes little of the processor's caches. Traces and
//! random churn become the same kind of program. Every allocator plays it with the same loop.

use std::collections::HashMap;
use std::path::Path;

use fastrand::Rng;
use warmheap_trace::{Action, TraceReader};

const SIZE_BITS: u32 = 40;

/// An allocation into a slot. With size 0 it is the free of the slot's allocation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Op(u64);

impl Op {
    fn new(slot: usize, size: u64) -> Self {
        assert!(slot < 1 << (64 - SIZE_BITS) && size < 1 << SIZE_BITS, "too large for an operation");
        Self((slot as u64) << SIZE_BITS | size)
    }

    #[inline(always)]
    pub(crate) fn slot(self) -> usize {
        (self.0 >> SIZE_BITS) as usize
    }

    #[inline(always)]
    pub(crate) fn size(self) -> u64 {
        self.0 & ((1 << SIZE_BITS) - 1)
    }
}

/// A sequence of operations, and the number of slots that they use.
#[derive(Debug, Default)]
pub(crate) struct Program {
    /// The operations before the clock starts.
    pub(crate) setup: Vec<Op>,
    pub(crate) ops: Vec<Op>,
    pub(crate) slots: usize,
    pub(crate) peak_live: u64,
}

/// Random sizes whose logarithms are evenly distributed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    pub(crate) least: u64,
    pub(crate) most: u64,
}

impl Sizes {
    pub(crate) fn draw(self, random: &mut Rng) -> u64 {
        let (least, most) = (self.least as f64, self.most as f64);
        (least * (most / least).powf(random.f64())) as u64
    }
}

/// Random replacement: each step frees a buffer and allocates another of a random size.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Churn {
    pub(crate) live: usize,
    /// The number of live buffers that are ever replaced. They lie spread among the others.
    pub(crate) replaced: usize,
    pub(crate) pairs: usize,
    pub(crate) sizes: Sizes,
}

impl Churn {
    pub(crate) fn program(self, seed: u64) -> Program {
        let mut random = Rng::with_seed(seed);
        let mut sizes: Vec<u64> = (0..self.live).map(|_| self.sizes.draw(&mut random)).collect();
        let mut live: u64 = sizes.iter().sum();
        let mut peak_live = live;
        let setup = sizes.iter().enumerate().map(|(slot, size)| Op::new(slot, *size)).collect();
        let mut replaced: Vec<usize> = (0..self.live).collect();
        random.shuffle(&mut replaced);
        replaced.truncate(self.replaced);
        let mut ops = Vec::with_capacity(2 * self.pairs);
        for _ in 0..self.pairs {
            let slot = replaced[random.usize(..replaced.len())];
            let size = self.sizes.draw(&mut random);
            ops.extend([Op::new(slot, 0), Op::new(slot, size)]);
            live = live - sizes[slot] + size;
            peak_live = peak_live.max(live);
            sizes[slot] = size;
        }
        Program { setup, ops, slots: self.live, peak_live }
    }
}

impl Program {
    /// Returns the bytes of the largest request.
    pub(crate) fn largest(&self) -> u64 {
        self.setup.iter().chain(&self.ops).map(|op| op.size()).max().unwrap_or(0)
    }

    /// Returns the program with `count` more buffers of `size` bytes, which live all the time.
    pub(crate) fn beside(mut self, count: usize, size: u64) -> Self {
        self.setup.splice(0..0, (self.slots..self.slots + count).map(|slot| Op::new(slot, size)));
        self.slots += count;
        self.peak_live += count as u64 * size;
        self
    }

    /// Compiles a trace.
    pub(crate) fn from_trace(path: &Path) -> Result<Self, Box<dyn std::error::Error>> {
        let mut program = Self::default();
        let mut live: HashMap<u64, (usize, u64)> = HashMap::new();
        let mut idle = Vec::new();
        let mut live_bytes = 0;
        for event in TraceReader::open(path)? {
            let event = event?;
            let op = match event.action {
                Action::Allocate => {
                    let slot = idle.pop().unwrap_or(program.slots);
                    program.slots = program.slots.max(slot + 1);
                    live.insert(event.pointer, (slot, event.size));
                    live_bytes += event.size;
                    program.peak_live = program.peak_live.max(live_bytes);
                    Op::new(slot, event.size)
                }
                Action::Free => {
                    let freed = live.remove(&event.pointer);
                    let (slot, size) =
                        freed.ok_or_else(|| format!("{}: free of an unknown pointer", path.display()))?;
                    idle.push(slot);
                    live_bytes -= size;
                    Op::new(slot, 0)
                }
                Action::AllocateFailure => continue,
            };
            program.ops.push(op);
        }
        Ok(program)
    }
}
