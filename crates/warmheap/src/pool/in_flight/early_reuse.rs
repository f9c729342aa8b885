//! Pending tickets of spans in use: those that a queue reused before its earlier work on them was done, and
//! those of movable buffers that noted work still uses.
//!
//! Early reuse is safe for that queue, because its later work runs after. It is not safe for any other use.
//! Such a span is therefore marked, and this table remembers the tickets that the span still waits for. A
//! holder that retires the span to the same queue resolves a pending ticket with the new one. A holder that
//! drops the span, or retires it elsewhere, does not resolve it. The span then waits for the old tickets, one
//! after the other, before any other use gets it. The table must never lose a pending ticket while its span
//! is marked.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::mem;
use std::sync::{Arc, Weak};

use crate::device::{DeviceError, Queue};
use crate::pool::heaps::span::Span;
use crate::pool::in_flight::timeline::{Timeline, Waiting, completed};
use crate::sync::{Mutex, lock};

/// Pending tickets by the address of the span.
#[derive(Debug)]
pub(crate) struct EarlyReuse<T: Waiting>(Mutex<HashMap<u64, Debts<T>>>);

/// The pending tickets of one span. There is one, unless several queues use a movable buffer.
#[derive(Debug)]
struct Debts<T: Waiting> {
    last: PendingTicket<T>,
    others: Vec<PendingTicket<T>>,
}

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
    /// Adds a pending ticket to those of a span.
    pub(crate) fn note(&self, span: &Span, debt: PendingTicket<T>) {
        match lock(&self.0).entry(span.address) {
            Entry::Occupied(mut debts) => debts.get_mut().others.push(debt),
            Entry::Vacant(none) => drop(none.insert(Debts { last: debt, others: Vec::new() })),
        }
    }

    /// Takes a pending ticket of a span off the table for which `suits` returns `true`. Also returns whether
    /// the span has others.
    pub(crate) fn take(
        &self,
        span: &Span,
        suits: impl Fn(&PendingTicket<T>) -> bool,
    ) -> Option<(PendingTicket<T>, bool)> {
        let mut table = lock(&self.0);
        let debts = table.get_mut(&span.address)?;
        if let Some(place) = debts.others.iter().position(&suits) {
            return Some((debts.others.swap_remove(place), true));
        }
        if !suits(&debts.last) {
            return None;
        }
        match debts.others.pop() {
            Some(other) => Some((mem::replace(&mut debts.last, other), true)),
            None => table.remove(&span.address).map(|debts| (debts.last, false)),
        }
    }
}
