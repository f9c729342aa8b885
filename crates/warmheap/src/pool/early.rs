//! Ranges that a queue has back before its earlier work on them is done.
//!
//! For that queue this is safe: its later work comes after. For everyone else it is not, so such a
//! range is marked, and this table remembers which ticket it still owes. A holder that retires it
//! to the same queue pays the debt with the new ticket. One that drops it, or retires it elsewhere,
//! does not: then the range waits for the old ticket before anyone else gets it.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use super::buffer::Buffer;
use super::lock;
use super::range::Range;
use super::shared::Shared;
use super::timeline::{Timeline, completed};
use crate::device::{DeviceError, Queue};
use crate::sync::Mutex;

/// Debts by the address of the range.
#[derive(Debug, Default)]
pub(crate) struct Early(Mutex<HashMap<u64, Debt>>);

/// A queue's work that a range still has to wait for.
#[derive(Debug, Clone)]
pub(crate) struct Debt {
    /// Where the range waits if it must. Debts keep no list alive: two lists could keep each other, and
    /// what a lost queue holds comes back with its last handle.
    timeline: Weak<Timeline<Buffer>>,
    queue: Arc<dyn Queue>,
    value: u64,
}

impl Debt {
    pub(crate) fn new(timeline: &Arc<Timeline<Buffer>>, value: u64) -> Self {
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
    pub(crate) fn is_covered(&self, timeline: &Arc<Timeline<Buffer>>, value: u64) -> bool {
        self.timeline.as_ptr() == Arc::as_ptr(timeline) && self.value <= value
    }
}

impl Early {
    pub(crate) fn note(&self, range: &Range, debt: Debt) {
        let before = lock(&self.0).insert(range.address, debt);
        // A queue may end with it: without the lock.
        drop(before);
    }

    /// Takes a range's debt off the table if `paid` says so.
    pub(crate) fn settle(&self, range: &Range, paid: impl FnOnce(&Debt) -> bool) -> Option<Debt> {
        let mut debts = lock(&self.0);
        if !paid(debts.get(&range.address)?) {
            return None;
        }
        debts.remove(&range.address)
    }
}

impl Shared {
    /// Lets a range that comes back wait for the work it owes, if that is not done yet. The caller
    /// holds a reference: once it waits, nothing else may keep the pool.
    pub(crate) fn hold_for_debt(&self, range: Range, size: u64) -> Option<Range> {
        let Some(debt) = self.early.settle(&range, |_| true) else { return Some(range) };
        if debt.is_over() {
            return Some(range);
        }
        let Debt { timeline, queue, value } = debt;
        let buffer = Buffer::new(self, range, size);
        match timeline.upgrade() {
            Some(timeline) => timeline.retire(value, size, buffer),
            None => self.leave_behind(&queue, value, buffer),
        }
        None
    }
}
