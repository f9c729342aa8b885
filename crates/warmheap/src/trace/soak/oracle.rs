//! Who holds which addresses: buffers that are alive, and work in flight that still uses them.
//!
//! A range is noted after the pool has handed it out, and taken off before it goes back, so that
//! whatever is in the book is somebody's. A range in flight stays until the queue's own counter has
//! reached its ticket; the counter only rises, so looking at it after the pool did never blames a
//! pool that was right.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::finding::Finding;
use super::lanes::{Counter, Work};
use crate::Buffer;
use crate::trace::words::Words;

/// See the module's essay.
#[derive(Debug, Default)]
pub(super) struct Oracle(Mutex<Book>);

#[derive(Debug, Default)]
struct Book {
    /// By the first address.
    ranges: BTreeMap<u64, Range>,
    /// Ever noted: every buffer has a number of its own.
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

#[derive(Debug)]
struct InFlight {
    queue: u64,
    counter: Arc<Counter>,
    ticket: u64,
}

impl InFlight {
    fn is_over(&self) -> bool {
        self.counter.reached() >= self.ticket
    }
}

impl Oracle {
    /// Notes a new buffer, which came by the way of a queue or not, and marks it where the CPU can.
    /// Answers its number.
    pub(super) fn allocated(&self, buffer: &Buffer, queue: Option<u64>) -> Result<u64, Finding> {
        let number = self.book().insert(buffer, queue)?;
        if let Some(words) = Words::of(buffer) {
            words.write(number);
        }
        Ok(number)
    }

    /// Notes that a buffer has become longer where it is: it had `old` bytes.
    pub(super) fn grown(&self, buffer: &Buffer, number: u64, old: u64) -> Result<(), Finding> {
        kept(buffer, number, old)?;
        let (address, size) = (buffer.address(), buffer.size());
        let mut book = self.book();
        book.vacate(address + old, size - old, None)?;
        book.ranges.insert(address, Range { size, in_flight: None });
        book.live_bytes += size - old;
        drop(book);
        if let Some(words) = Words::of(buffer) {
            words.write(number);
        }
        Ok(())
    }

    /// Takes a buffer off that is about to be freed.
    pub(super) fn freed(&self, buffer: &Buffer, number: u64) -> Result<(), Finding> {
        unchanged(buffer, number)?;
        let mut book = self.book();
        book.ranges.remove(&buffer.address());
        book.dies(buffer);
        Ok(())
    }

    /// Notes that a buffer is about to be retired with a ticket of `work`'s queue.
    pub(super) fn retired(
        &self,
        buffer: &Buffer,
        number: u64,
        work: &Work,
        ticket: u64,
    ) -> Result<(), Finding> {
        unchanged(buffer, number)?;
        let mut book = self.book();
        let in_flight = InFlight { queue: work.number, counter: Arc::clone(&work.counter), ticket };
        let range = Range { size: buffer.size(), in_flight: Some(in_flight) };
        book.ranges.insert(buffer.address(), range);
        book.dies(buffer);
        Ok(())
    }

    /// Nothing uses the memory of this queue any more.
    pub(super) fn forget(&self, queue: u64) {
        let of_queue = |range: &Range| range.in_flight.as_ref().is_some_and(|work| work.queue == queue);
        self.book().ranges.retain(|_, range| !of_queue(range));
    }

    /// Forgets work that is over.
    pub(super) fn sweep(&self) {
        let is_over = |range: &Range| range.in_flight.as_ref().is_some_and(InFlight::is_over);
        self.book().ranges.retain(|_, range| !is_over(range));
    }

    /// Live buffers and their bytes, without what is in flight.
    pub(super) fn live(&self) -> (u64, u64) {
        let book = self.book();
        (book.live, book.live_bytes)
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn insert(&mut self, buffer: &Buffer, queue: Option<u64>) -> Result<u64, Finding> {
        let (address, size) = (buffer.address(), buffer.size());
        self.vacate(address, size, queue)?;
        self.ranges.insert(address, Range { size, in_flight: None });
        self.live += 1;
        self.live_bytes += size;
        self.noted += 1;
        Ok(self.noted)
    }

    /// Takes off what is over in these bytes, which have been handed out.
    fn vacate(&mut self, address: u64, size: u64, queue: Option<u64>) -> Result<(), Finding> {
        while let Some((&other, range)) = self.ranges.range(..address.saturating_add(size)).next_back()
            && other + range.size > address
        {
            let Some(work) = &range.in_flight else {
                return Err(Finding::Overlap { address, size, other, other_size: range.size });
            };
            // A queue has its own memory back at once, as it lies.
            let own = queue == Some(work.queue) && other == address;
            if !own && !work.is_over() {
                let (reached, lost) = (work.counter.reached(), work.counter.is_lost());
                let (queue, ticket) = (work.queue, work.ticket);
                return Err(Finding::Early { address, size, queue, ticket, reached, lost });
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

fn unchanged(buffer: &Buffer, number: u64) -> Result<(), Finding> {
    kept(buffer, number, buffer.size())
}

/// Fails if a buffer that was marked when it had `size` bytes has changed in those.
pub(super) fn kept(buffer: &Buffer, number: u64, size: u64) -> Result<(), Finding> {
    let changed = Words::within(buffer, 0..size).and_then(|words| words.changed(number));
    changed.map_or(Ok(()), |offset| Err(contents(buffer, offset, "changed while the buffer was alive")))
}

/// Fails if a buffer that was cleared holds something from byte `from` on.
pub(super) fn cleared(buffer: &Buffer, from: u64) -> Result<(), Finding> {
    let uncleared = Words::within(buffer, from..buffer.size()).and_then(|words| words.uncleared());
    uncleared.map_or(Ok(()), |offset| {
        Err(contents(buffer, from + offset, "was not cleared before it was handed out"))
    })
}

fn contents(buffer: &Buffer, offset: u64, what: &'static str) -> Finding {
    Finding::Contents { address: buffer.address(), size: buffer.size(), offset, what }
}
