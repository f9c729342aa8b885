//! A trace compiled for replay.
//!
//! A program is the trace's sequence of allocations and frees and nothing else. An operation takes eight
//! bytes. Pointers become slots, which are reused as buffers die. A table names the sizes. A replay therefore
//! touches little memory besides the pool's own. The compiler finds events that cannot have happened, so that
//! a replay need not check.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::Duration;

use crate::error::{Fault, TraceError, TraceErrorKind};
use crate::event::{Action, Event};
use crate::reader::TraceReader;

/// The options of a compilation.
#[derive(Debug, Clone, Copy, Default)]
pub struct Compile {
    /// Skip and count events that contradict others, instead of refusing the trace.
    pub lenient: bool,
    /// The first event, from 0, that belongs to serving rather than to loading a model.
    pub serving_from: u64,
}

/// The events of a trace at which the first tokens are there, from 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FirstTokens {
    /// The first event after the prompt has been processed and the first token made.
    pub decoding_from: Option<u64>,
    /// The first event after the first decode step, which makes the second token.
    pub second_decode_from: Option<u64>,
}

/// A trace compiled to a sequence of operations, with its summary.
#[derive(Debug, Clone)]
pub struct Program {
    ops: Vec<Op>,
    sizes: Vec<u64>,
    summary: Summary,
    /// The events that are no operations, in order.
    passed_over: Vec<u64>,
}

/// The contents of a trace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// The operations of the program: allocations and frees.
    pub events: u64,
    /// The allocations among them.
    pub allocations: u64,
    /// Allocations that already failed when the trace was recorded. The program does not contain them.
    pub recorded_failures: u64,
    /// Events skipped by a lenient compile.
    pub skipped: u64,
    /// Frees that name another size than their allocation. The program frees what was allocated.
    pub other_sizes: u64,
    /// The most bytes alive at once.
    pub peak_live_bytes: u64,
    /// The most buffers alive at once.
    pub peak_live_buffers: u64,
    /// Bytes never freed.
    pub end_live_bytes: u64,
    /// The largest allocation in bytes.
    pub largest_bytes: u64,
    /// Time from the first event to the last.
    pub duration: Duration,
    /// Operations before serving begins.
    pub serving_from: u64,
    /// Time from the first event of serving to the last.
    pub serving: Duration,
    /// Operations before the first decode step begins, if the trace says where that is.
    pub decoding_from: Option<u64>,
    /// Operations before the second decode step begins, if the trace says where that is.
    pub second_decode_from: Option<u64>,
    /// Time from the first event of serving to the first decode step; zero if unknown.
    pub prefill: Duration,
    /// Time of the first decode step; zero if unknown.
    pub first_decode: Duration,
}

/// An operation on a slot: an allocation, with the index of its size in the table, or a free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Op {
    slot: u32,
    size: u32,
}

/// The value of `size` that marks a free.
const FREE: u32 = u32::MAX;

impl Op {
    /// Returns the slot, which is less than [`Program::slots`]. It is empty before an allocation.
    #[inline]
    #[must_use]
    pub fn slot(self) -> usize {
        self.slot as usize
    }

    /// Returns the index in [`Program::sizes`] of an allocation's size; `None` for a free.
    #[inline]
    #[must_use]
    pub fn size(self) -> Option<usize> {
        (self.size != FREE).then_some(self.size as usize)
    }
}

impl Program {
    /// Reads a whole trace and compiles it.
    ///
    /// # Errors
    /// Returns an error of [`TraceReader`], or, unless lenient, the first [`Fault`].
    pub fn compile(reader: TraceReader, how: Compile) -> Result<Self, TraceError> {
        Self::compile_marked(reader, how, FirstTokens::default())
    }

    /// As [`Program::compile`], and finds the first tokens. A mark that does not come after the one before it,
    /// or after the trace's last event, is as if it were absent.
    ///
    /// # Errors
    /// As [`Program::compile`].
    pub fn compile_marked(
        mut reader: TraceReader,
        how: Compile,
        first_tokens: FirstTokens,
    ) -> Result<Self, TraceError> {
        let mut compiler = Compiler { first_tokens, ..Compiler::new(how) };
        while let Some(event) = reader.next().transpose()? {
            compiler.take(&event).map_err(|kind| reader.error(kind))?;
        }
        Ok(compiler.finish())
    }

    /// Compiles events from any source. Errors show `name`, and the line that the event would have in a file.
    ///
    /// # Errors
    /// Unless lenient, returns the first [`Fault`].
    pub fn from_events<'a>(
        name: &str,
        events: impl IntoIterator<Item = &'a Event>,
        how: Compile,
    ) -> Result<Self, TraceError> {
        let mut compiler = Compiler::new(how);
        for (line, event) in (2..).zip(events) {
            compiler.take(event).map_err(|kind| TraceError::new(name.to_owned(), line, kind))?;
        }
        Ok(compiler.finish())
    }

    /// Returns the summary of the trace.
    #[must_use]
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Returns the operations, in order.
    #[must_use]
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// Returns the table of sizes in bytes.
    #[must_use]
    pub fn sizes(&self) -> &[u64] {
        &self.sizes
    }

    /// Returns the event of the trace, from 0, that an operation comes from.
    #[must_use]
    pub fn event_of(&self, op: usize) -> u64 {
        let mut event = op as u64;
        for passed_over in &self.passed_over {
            if *passed_over > event {
                break;
            }
            event += 1;
        }
        event
    }

    /// Returns a number that two programs share if they have the same operations (FNV-1a, 64 bits).
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let sizes = |op: &Op| op.size().map_or(0, |size| self.sizes[size]);
        let words = self.ops.iter().flat_map(|op| [u64::from(op.slot), sizes(op)]);
        words.fold(0xcbf2_9ce4_8422_2325, |hash, word| (hash ^ word).wrapping_mul(0x0100_0000_01b3))
    }

    /// Returns the number of slots that a replay needs.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.summary.peak_live_buffers as usize
    }
}

#[derive(Default)]
struct Compiler {
    how: Compile,
    first_tokens: FirstTokens,
    /// The number of events taken so far.
    taken: u64,
    ops: Vec<Op>,
    sizes: Vec<u64>,
    size_index: HashMap<u64, u32>,
    /// The slot and the size of each live pointer.
    live: HashMap<u64, (u32, u64)>,
    idle_slots: Vec<u32>,
    live_bytes: u128,
    peak_bytes: u128,
    started: Option<Duration>,
    serving_started: Duration,
    decoding_started: Duration,
    passed_over: Vec<u64>,
    last: Duration,
    summary: Summary,
}

impl Compiler {
    fn new(how: Compile) -> Self {
        Self { how, ..Self::default() }
    }

    fn take(&mut self, event: &Event) -> Result<(), TraceErrorKind> {
        if self.taken <= self.how.serving_from {
            self.begin_serving(event);
        }
        self.mark_tokens(event);
        let ops = self.ops.len();
        match self.add(event) {
            Err(TraceErrorKind::Fault(_)) if self.how.lenient => self.summary.skipped += 1,
            added => added?,
        }
        if self.ops.len() == ops {
            self.passed_over.push(self.taken);
        }
        self.taken += 1;
        Ok(())
    }

    fn mark_tokens(&mut self, event: &Event) {
        let FirstTokens { decoding_from, second_decode_from } = self.first_tokens;
        let (here, ops) = (Some(self.taken), self.ops.len() as u64);
        let summary = &mut self.summary;
        if here == decoding_from && self.taken > self.how.serving_from {
            summary.decoding_from = Some(ops);
            summary.prefill = event.time.saturating_sub(self.serving_started);
            self.decoding_started = event.time;
        } else if here == second_decode_from && summary.decoding_from.is_some() {
            summary.second_decode_from = Some(ops);
            summary.first_decode = event.time.saturating_sub(self.decoding_started);
        }
    }

    fn begin_serving(&mut self, event: &Event) {
        self.serving_started = event.time;
        self.summary.serving_from = self.ops.len() as u64;
    }

    fn add(&mut self, event: &Event) -> Result<(), TraceErrorKind> {
        self.started.get_or_insert(event.time);
        self.last = event.time;
        match event.action {
            Action::Allocate => self.allocate(event.pointer, event.size),
            Action::Free => self.free(event.pointer, event.size),
            Action::AllocateFailure => {
                self.summary.recorded_failures += 1;
                Ok(())
            }
        }
    }

    fn allocate(&mut self, pointer: u64, size: u64) -> Result<(), TraceErrorKind> {
        if size == 0 {
            return Err(TraceErrorKind::Fault(Fault::ZeroSize));
        }
        if size >= 1 << 63 {
            return Err(TraceErrorKind::Fault(Fault::TooLarge { size }));
        }
        let Entry::Vacant(place) = self.live.entry(pointer) else {
            return Err(TraceErrorKind::Fault(Fault::LiveAllocation { pointer }));
        };
        let slot = match self.idle_slots.pop() {
            Some(slot) => slot,
            None => u32::try_from(self.summary.peak_live_buffers).map_err(|_| TraceErrorKind::TooLong)?,
        };
        let size_name = match self.size_index.entry(size) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(new) => {
                let name = u32::try_from(self.sizes.len())
                    .ok()
                    .filter(|name| *name != FREE)
                    .ok_or(TraceErrorKind::TooLong)?;
                self.sizes.push(size);
                *new.insert(name)
            }
        };
        place.insert((slot, size));
        self.ops.push(Op { slot, size: size_name });
        self.live_bytes += u128::from(size);
        self.peak_bytes = self.peak_bytes.max(self.live_bytes);
        let summary = &mut self.summary;
        summary.allocations += 1;
        summary.peak_live_buffers = summary.peak_live_buffers.max(self.live.len() as u64);
        summary.largest_bytes = summary.largest_bytes.max(size);
        Ok(())
    }

    fn free(&mut self, pointer: u64, named: u64) -> Result<(), TraceErrorKind> {
        let Some((slot, size)) = self.live.remove(&pointer) else {
            return Err(TraceErrorKind::Fault(Fault::UnknownFree { pointer }));
        };
        // Some logs do not know the size of what they free.
        self.summary.other_sizes += u64::from(named != size && named != 0);
        self.idle_slots.push(slot);
        self.ops.push(Op { slot, size: FREE });
        self.live_bytes -= u128::from(size);
        Ok(())
    }

    fn finish(mut self) -> Program {
        let started = self.started.unwrap_or_default();
        self.summary.events = self.ops.len() as u64;
        self.summary.peak_live_bytes = u64::try_from(self.peak_bytes).unwrap_or(u64::MAX);
        self.summary.end_live_bytes = u64::try_from(self.live_bytes).unwrap_or(u64::MAX);
        self.summary.duration = self.last.saturating_sub(started);
        self.summary.serving = self.last.saturating_sub(self.serving_started);
        Program { ops: self.ops, sizes: self.sizes, summary: self.summary, passed_over: self.passed_over }
    }
}
