//! Knows which addresses are in use, by buffers that are alive or by work in flight.
//!
//! A range is noted after the pool has handed it out, and removed before it goes back. Every noted range is
//! therefore in use. The range of a movable buffer is noted while the buffer cannot move. A range in flight
//! stays until the queue's own counter has reached its ticket. The counter only rises, so reading it after
//! the pool did never blames a pool that was right.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use super::queues::{Counter, Work};
use crate::lock;
use crate::soak::finding::Finding;
use warmheap::Buffer;
use warmheap_trace::Words;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(in crate::soak) struct Oracle(Mutex<Book>);

#[derive(Debug, Default)]
struct Book {
    /// The ranges, by their first address.
    ranges: BTreeMap<u64, Range>,
    /// The number of buffers noted so far. Each has a number of its own.
    noted: u64,
    live_bytes: u64,
    live: u64,
}

#[derive(Debug)]
struct Range {
    size: u64,
    /// The work that still uses the range; `None` while a buffer is alive there.
    in_flight: Option<InFlight>,
}

/// The work of a queue that uses a range.
#[derive(Debug, Clone)]
pub(in crate::soak) struct InFlight {
    queue: u64,
    counter: Arc<Counter>,
    ticket: u64,
}

impl InFlight {
    pub(in crate::soak) fn new(work: &Work, ticket: u64) -> Self {
        Self { queue: work.number, counter: Arc::clone(&work.counter), ticket }
    }

    /// Returns the queue's number, counted through the round.
    pub(in crate::soak) fn queue(&self) -> u64 {
        self.queue
    }

    /// Returns the finding that the range was handed out again.
    fn early(&self, address: u64, size: u64) -> Finding {
        let (reached, lost) = (self.counter.reached(), self.counter.is_lost());
        Finding::Early { address, size, queue: self.queue, ticket: self.ticket, reached, lost }
    }

    /// Returns the finding that the buffer in the range was moved.
    pub(in crate::soak) fn moved(&self, from: u64, to: u64, size: u64) -> Finding {
        let (reached, lost) = (self.counter.reached(), self.counter.is_lost());
        Finding::Moved { from, to, size, queue: self.queue, ticket: self.ticket, reached, lost }
    }

    pub(in crate::soak) fn is_over(&self) -> bool {
        self.counter.is_over(self.ticket)
    }
}

impl Oracle {
    /// Notes a new buffer, allocated through a queue or not. Marks it if the CPU can access it. Returns its
    /// number.
    pub(in crate::soak) fn allocated(&self, buffer: &Buffer, queue: Option<u64>) -> Result<u64, Finding> {
        let number = self.book().insert(buffer, queue)?;
        mark(buffer, number);
        Ok(number)
    }

    /// Notes that a buffer has grown in place from `old` bytes.
    pub(in crate::soak) fn grown(&self, buffer: &Buffer, number: u64, old: u64) -> Result<(), Finding> {
        kept(buffer, number, old)?;
        let (address, size) = (buffer.device_address(), buffer.size());
        let mut book = self.book();
        book.vacate(address + old, size - old, None)?;
        book.ranges.insert(address, Range { size, in_flight: None });
        book.live_bytes += size - old;
        drop(book);
        mark(buffer, number);
        Ok(())
    }

    /// Notes where a movable buffer is. It stays there for now, and `work` may still use it.
    pub(in crate::soak) fn found(
        &self,
        buffer: &Buffer,
        number: u64,
        work: Option<&InFlight>,
    ) -> Result<(), Finding> {
        let (address, size) = (buffer.device_address(), buffer.size());
        let mut book = self.book();
        book.vacate(address, size, work.map(InFlight::queue))?;
        book.ranges.insert(address, Range { size, in_flight: None });
        drop(book);
        unchanged(buffer, number)
    }

    /// Removes a movable buffer that may move from now on, or once `work` is over.
    pub(in crate::soak) fn out_of_view(&self, buffer: &Buffer, work: Option<&InFlight>) {
        let mut book = self.book();
        match work.filter(|work| !work.is_over()) {
            Some(work) => {
                let range = Range { size: buffer.size(), in_flight: Some(work.clone()) };
                book.ranges.insert(buffer.device_address(), range);
            }
            None => _ = book.ranges.remove(&buffer.device_address()),
        }
    }

    /// Removes a buffer that is about to be freed.
    pub(in crate::soak) fn freed(&self, buffer: &Buffer, number: u64) -> Result<(), Finding> {
        unchanged(buffer, number)?;
        let mut book = self.book();
        book.ranges.remove(&buffer.device_address());
        book.dies(buffer);
        Ok(())
    }

    /// Notes that a buffer is about to be retired with a ticket of `work`'s queue.
    pub(in crate::soak) fn retired(
        &self,
        buffer: &Buffer,
        number: u64,
        work: &Work,
        ticket: u64,
    ) -> Result<(), Finding> {
        unchanged(buffer, number)?;
        let mut book = self.book();
        let range = Range { size: buffer.size(), in_flight: Some(InFlight::new(work, ticket)) };
        book.ranges.insert(buffer.device_address(), range);
        book.dies(buffer);
        Ok(())
    }

    /// Removes the ranges of work that is over.
    pub(in crate::soak) fn sweep(&self) {
        let is_over = |range: &Range| range.in_flight.as_ref().is_some_and(InFlight::is_over);
        self.book().ranges.retain(|_, range| !is_over(range));
    }

    /// Returns the number of live buffers and their bytes, without those in flight.
    pub(in crate::soak) fn live(&self) -> (u64, u64) {
        let book = self.book();
        (book.live, book.live_bytes)
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        lock(&self.0)
    }
}

impl Book {
    fn insert(&mut self, buffer: &Buffer, queue: Option<u64>) -> Result<u64, Finding> {
        let (address, size) = (buffer.device_address(), buffer.size());
        self.vacate(address, size, queue)?;
        self.ranges.insert(address, Range { size, in_flight: None });
        self.live += 1;
        self.live_bytes += size;
        self.noted += 1;
        Ok(self.noted)
    }

    /// Removes the ranges in these bytes whose work is over, because the pool has handed the bytes out.
    /// Returns a finding if another range is in use.
    fn vacate(&mut self, address: u64, size: u64, queue: Option<u64>) -> Result<(), Finding> {
        while let Some((&other, range)) = self.ranges.range(..address.saturating_add(size)).next_back()
            && other + range.size > address
        {
            let Some(work) = &range.in_flight else {
                return Err(Finding::Overlap { address, size, other, other_size: range.size });
            };
            // A queue may reuse its own memory at once, as a whole.
            let own = queue == Some(work.queue) && other == address;
            if !own && !work.is_over() {
                return Err(work.early(address, size));
            }
            self.ranges.remove(&other);
        }
        Ok(())
    }

    fn dies(&mut self, buffer: &Buffer) {
        self.live -= 1;
        self.live_bytes -= buffer.size();
    }
}

/// Marks a buffer that only its player has, if the CPU can access it.
fn mark(buffer: &Buffer, number: u64) {
    if let Some(words) = Words::of(buffer) {
        // SAFETY: the pool gave the buffer, or its new part, to the player that calls, and its queues do no
        // work on memory. If that is not so, the words exist to find it.
        unsafe { words.write(number) };
    }
}

fn unchanged(buffer: &Buffer, number: u64) -> Result<(), Finding> {
    kept(buffer, number, buffer.size())
}

/// Returns a finding if a buffer that was marked when it had `size` bytes has changed in those.
pub(in crate::soak) fn kept(buffer: &Buffer, number: u64, size: u64) -> Result<(), Finding> {
    let changed = Words::within(buffer, 0..size).and_then(|words| words.changed(number));
    changed.map_or(Ok(()), |offset| Err(contents(buffer, offset, "changed while the buffer was alive")))
}

/// Returns a finding if a buffer that was cleared is not zero from byte `from` on.
pub(in crate::soak) fn cleared(buffer: &Buffer, from: u64) -> Result<(), Finding> {
    let uncleared = Words::within(buffer, from..buffer.size()).and_then(|words| words.uncleared());
    uncleared.map_or(Ok(()), |offset| {
        Err(contents(buffer, from + offset, "was not cleared before it was handed out"))
    })
}

fn contents(buffer: &Buffer, offset: u64, what: &'static str) -> Finding {
    Finding::Contents { address: buffer.device_address(), size: buffer.size(), offset, what }
}
