//! The timelines of queues whose last handle is gone while buffers still wait for them.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Instant;

use crate::pool::in_flight::timeline::{Timeline, Waiting};
use crate::sync::{Mutex, lock};

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Left<T: Waiting>(pub(crate) Mutex<Lists<T>>);

#[derive(Debug)]
pub(crate) struct Lists<T: Waiting> {
    pub(crate) lists: Vec<Arc<Timeline<T>>>,
    /// The time until which a closed pool's thread polls these lists.
    pub(crate) watched: Option<Instant>,
}

impl<T: Waiting> Default for Left<T> {
    fn default() -> Self {
        Self(Mutex::new(Lists { lists: Vec::new(), watched: None }))
    }
}

impl<T: Waiting> Left<T> {
    pub(crate) fn lists(&self) -> Vec<Arc<Timeline<T>>> {
        lock(&self.0).lists.clone()
    }

    /// Drops the lists that have nothing left to wait for. Returns `true` if that freed a buffer.
    pub(crate) fn tidy(&self) -> bool {
        let over: Vec<_> =
            self.lists().into_iter().filter(|list| list.len() == 0 || list.is_lost()).collect();
        if over.is_empty() {
            return false;
        }
        let is_over = |list: &mut Arc<_>| over.iter().any(|over| Arc::ptr_eq(over, list));
        let gone: Vec<_> = lock(&self.0).lists.extract_if(.., is_over).collect();
        // Dropping a list may end its queue and frees the buffers of a lost queue, so it happens without the
        // lock.
        gone.iter().any(|list| list.len() > 0)
    }

    /// The number of buffers that wait, and their bytes.
    pub(crate) fn waiting(&self) -> (usize, u64) {
        self.lists()
            .iter()
            .fold((0, 0), |(buffers, bytes), list| (buffers + list.len(), bytes + list.bytes()))
    }
}
