//! Ranges that a queue has back before its earlier work on them is done.
//!
//! For that queue this is safe: its later work comes after. For everyone else it is not, so such a
//! range is marked, and this table remembers which ticket it still owes. A holder that retires it
//! to the same queue pays the debt with the new ticket. One that drops it, or retires it elsewhere,
//! does not: then the range waits for the old ticket before anyone else gets it.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use crate::device::{DeviceError, Queue};
use crate::pool::heaps::span::Span;
use crate::pool::in_flight::timeline::{Timeline, Waiting, completed};
use crate::sync::{Mutex, lock};

/// Debts by the address of the range.
#[derive(Debug)]
pub(crate) struct EarlyReuse<T: Waiting>(Mutex<HashMap<u64, PendingTicket<T>>>);

/// A queue's work that a range still has to wait for.
#[derive(Debug)]
pub(crate) struct PendingTicket<T: Waiting> {
    /// Where the range waits if it must. Debts keep no list alive: two lists could keep each other, and
    /// what a lost queue holds comes back with its last handle.
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

    /// Whether the work touches memory no more: it has completed, or its queue is lost and nobody has
    /// a handle of that any more.
    pub(crate) fn is_over(&self) -> bool {
        match completed(&*self.queue) {
            Ok(completed) => completed >= self.value,
            Err(DeviceError::Lost { .. }) => self.timeline.strong_count() == 0,
            Err(_) => false,
        }
    }

    /// Whether `other` is of the same queue, and this not after it.
    pub(crate) fn comes_before(&self, other: &Self) -> bool {
        Weak::ptr_eq(&self.timeline, &other.timeline) && self.value <= other.value
    }

    /// Whether `other` is the same work.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Weak::ptr_eq(&self.timeline, &other.timeline) && self.value == other.value
    }

    /// Whether whoever waits for `value` on `timeline` has waited for this, too.
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
    pub(crate) fn note(&self, range: &Span, debt: PendingTicket<T>) {
        let before = lock(&self.0).insert(range.address, debt);
        // A queue may end with it: without the lock.
        drop(before);
    }

    /// Takes a range's debt off the table if `paid` says so.
    pub(crate) fn settle(
        &self,
        range: &Span,
        paid: impl FnOnce(&PendingTicket<T>) -> bool,
    ) -> Option<PendingTicket<T>> {
        let mut debts = lock(&self.0);
        if !paid(debts.get(&range.address)?) {
            return None;
        }
        debts.remove(&range.address)
    }
}
