//! The biased lock under all interleavings that loom produces.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test -p warmheap --lib --release model`.

use loom::sync::Arc;
use loom::thread;

use super::{Biased, Owner};

/// The most switches away from a thread that could go on. loom runs every interleaving within this bound.
/// Bugs in such small locks need two switches. Without a bound, three threads take hours.
const PREEMPTIONS: usize = 3;

pub(crate) fn model(program: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS);
    builder.check(program);
}

/// Enters as the owner, the second time as the owner of a demoted lock does. If it has to step back again, it
/// takes the value as other threads do.
fn add_as_owner(lock: &Biased<u32>, owner: &mut Owner) {
    // SAFETY: the caller has the right to the lock, and is not inside.
    let fenced = || unsafe { lock.enter_fenced() };
    match lock.enter(owner).or_else(fenced) {
        Some(mut value) => *value += 1,
        None => *lock.take() += 1,
    }
}

#[test]
fn owner_and_takers_never_meet_inside() {
    model(|| {
        let lock = Arc::new(Biased::new(0));
        let takers: Vec<_> = (0..2)
            .map(|_| {
                let lock = Arc::clone(&lock);
                thread::spawn(move || *lock.take() += 1)
            })
            .collect();
        let mut owner = lock.adopt().unwrap();
        add_as_owner(&lock, &mut owner);
        add_as_owner(&lock, &mut owner);
        for taker in takers {
            taker.join().unwrap();
        }
        assert_eq!(*lock.take(), 4);
    });
}

#[test]
fn ownership_passes_from_one_thread_to_the_next() {
    model(|| {
        let lock = Arc::new(Biased::new(0));
        let other = {
            let lock = Arc::clone(&lock);
            thread::spawn(move || {
                if let Some(mut owner) = lock.adopt() {
                    add_as_owner(&lock, &mut owner);
                    lock.leave(owner);
                } else {
                    *lock.take() += 1;
                }
            })
        };
        if let Some(mut owner) = lock.adopt() {
            add_as_owner(&lock, &mut owner);
            lock.leave(owner);
        } else {
            *lock.take() += 1;
        }
        other.join().unwrap();
        assert_eq!(*lock.take(), 2);
    });
}

#[test]
fn a_taker_that_does_not_wait_is_alone_inside_or_steps_back() {
    model(|| {
        let lock = Arc::new(Biased::new(0));
        let taker = {
            let lock = Arc::clone(&lock);
            thread::spawn(move || lock.try_take().map(|mut value| *value += 1).is_some())
        };
        let mut owner = lock.adopt().unwrap();
        add_as_owner(&lock, &mut owner);
        assert!(lock.try_take().is_none(), "a thread owns it");
        lock.leave(owner);
        let taken = taker.join().unwrap();
        assert_eq!(*lock.take(), 1 + u32::from(taken));
    });
}
