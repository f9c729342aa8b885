//! Values that are kept as long as the process lives, each once: names of tags, lines of source.
//!
//! This module owns lists that only grow. A search and an addition must never take a lock, because the child
//! of a fork would wait for ever for a lock that another thread held. Meant for few values, or few in each of
//! many lists.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicPtr, Ordering};
use std::{iter, ptr};

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Interned<T: 'static> {
    last: AtomicPtr<Kept<T>>,
}

/// A value, and its position in the order of the list, from 1.
#[derive(Debug)]
pub(crate) struct Kept<T: 'static> {
    pub(crate) value: T,
    pub(crate) number: u32,
    before: Option<&'static Self>,
}

impl<T: Sync> Interned<T> {
    pub(crate) const fn new() -> Self {
        Self { last: AtomicPtr::new(ptr::null_mut()) }
    }

    /// All values, the newest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &'static Kept<T>> {
        iter::successors(self.last(), |kept| kept.before)
    }

    /// The value that `wanted` accepts. Makes it if there is none.
    pub(crate) fn find_or_add(
        &self,
        wanted: impl Fn(&T) -> bool,
        make: impl FnOnce() -> T,
    ) -> &'static Kept<T> {
        let find =
            |last| iter::successors(last, |kept: &&Kept<T>| kept.before).find(|kept| wanted(&kept.value));
        if let Some(found) = find(self.last()) {
            return found;
        }
        let mut kept = Box::new(Kept { value: make(), number: 0, before: None });
        loop {
            let last = self.last();
            if let Some(found) = find(last) {
                return found;
            }
            kept.before = last;
            kept.number = last.map_or(0, |last| last.number) + 1;
            let (old, new) = (last.map_or(ptr::null(), ptr::from_ref), Box::into_raw(kept));
            match self.last.compare_exchange(old.cast_mut(), new, Ordering::AcqRel, Ordering::Relaxed) {
                // SAFETY: the value is in the list now, and is never changed or freed again.
                Ok(_) => return unsafe { &*new },
                // SAFETY: the value has not come into the list, so it still belongs to this thread alone.
                Err(_) => kept = unsafe { Box::from_raw(new) },
            }
        }
    }

    fn last(&self) -> Option<&'static Kept<T>> {
        // SAFETY: the pointer is null or leads to a node in the list, which is never changed or freed.
        unsafe { self.last.load(Ordering::Acquire).as_ref() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_that_add_at_once_agree_on_every_value_and_number() {
        static LIST: Interned<u32> = Interned::new();
        let add = || (0..500).map(|value| LIST.find_or_add(|kept| *kept == value, || value).number).collect();
        let numbers: Vec<Vec<u32>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(add)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(numbers.windows(2).all(|pair| pair[0] == pair[1]));
        let mut all: Vec<_> = LIST.iter().map(|kept| kept.number).collect();
        all.reverse();
        assert_eq!(all, (1..=500).collect::<Vec<_>>());
    }
}
