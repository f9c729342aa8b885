//! Pending tickets of spans that a queue reused before its earlier work on them was done.
//!
//! Early reuse is safe for that queue, because its later work runs after. It is not safe for any other use.
//! Such a span is therefore marked, and this table remembers the ticket that the span still waits for. A
//! holder that retires the span to the same queue resolves the pending ticket with the new one. A holder that
//! drops the span, or retires it elsewhere, does not resolve it. The span then waits for the old ticket
//! before any other use gets it. The table must never lose a pending ticket while its span is marked.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use crate::device::{DeviceError, Queue};
use crate::pool::heaps::span::Span;
use crate::pool::in_flight::timeline::{Timeline, Waiting, completed};
use crate::sync::{Mutex, lock};

/// Pending tickets by the address of the span.
#[derive(Debug)]
pub(crate) struct EarlyReuse<T: Waiting>(Mutex<HashMap<u64, PendingTicket<T>>>);

/// A queue's work that a span still has to wait for.
#[derive(Debug)]
pub(crate) struct PendingTicket<T: Waiting> {
    /// The list in which the span waits if it must. A pending ticket keeps no list alive, for two reasons.
    /// Two lists could keep each other alive, and what a lost queue holds comes back with the queue's last
    /// handle.
    pub(crate) timeline: Weak<Timeline<T>>,
    pub(crate) queue: Arc<dyn Queue>,
    pub(crate) value: u64,
}

impl<T: Waiting> Clone for PendingTicket<T> {
    fn clone(&self) -> Self {
        Self { timeline: Weak::clone(&self.timeline), queue: Arc::clone(&self.queue), value: self.value }
    }
}

impl<T: Waiting> PendingTicket<T> {
    pub(crate) fn new(timeline: &Arc<Timeline<T>>, value: u64) -> Self {
        Self { timeline: Arc::downgrade(timeline), queue: Arc::clone(timeline.queue()), value }
    }

    /// Whether the work touches memory no more: it has completed, or its queue is lost and has no handle
    /// left.
    pub(crate) fn is_over(&self) -> bool {
        match completed(&*self.queue) {
            Ok(completed) => completed >= self.value,
            Err(DeviceError::Lost { .. }) => self.timeline.strong_count() == 0,
            Err(_) => false,
        }
    }

    /// Whether `other` is of the same queue, and `self` is not after it.
    pub(crate) fn comes_before(&self, other: &Self) -> bool {
        Weak::ptr_eq(&self.timeline, &other.timeline) && self.value <= other.value
    }

    /// Whether `other` is the same work.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Weak::ptr_eq(&self.timeline, &other.timeline) && self.value == other.value
    }

    /// Whether a wait for `value` on `timeline` includes the wait for this work.
    pub(crate) fn is_covered(&self, timeline: &Arc<Timeline<T>>, value: u64) -> bool {
        self.timeline.as_ptr() == Arc::as_ptr(timeline) && self.value <= value
    }
}

impl<T: Waiting> Default for EarlyReuse<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Waiting> EarlyReuse<T> {
    pub(crate) fn note(&self, span: &Span, debt: PendingTicket<T>) {
        let before = lock(&self.0).insert(span.address, debt);
        // Dropping the old ticket may end its queue, so it happens without the lock.
        drop(before);
    }

    /// Takes a span's pending ticket off the table if `paid` returns `true` for it.
    pub(crate) fn settle(
        &self,
        span: &Span,
        paid: impl FnOnce(&PendingTicket<T>) -> bool,
    ) -> Option<PendingTicket<T>> {
        let mut debts = lock(&self.0);
        if !paid(debts.get(&span.address)?) {
            return None;
        }
        debts.remove(&span.address)
    }
}
