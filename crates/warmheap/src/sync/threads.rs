//! The biased lock under real threads, on the processor and the kernel at hand.
//!
//! The model tries every interleaving of the symmetric form. These tests run the form that the system has, so
//! they cover `membarrier`, the emulator, Miri and ThreadSanitizer.

use std::sync::Barrier;
use std::thread;

use super::Biased;

/// The rounds of the owner and of each taker.
const ENTRIES: usize = if cfg!(miri) { 40 } else { 20_000 };
const TAKES: usize = if cfg!(miri) { 4 } else { 200 };
const TAKERS: [usize; 4] = if cfg!(miri) { [1, 2, 3, 3] } else { [1, 2, 15, 63] };

/// Two halves that differ only while a thread is between them.
#[derive(Debug, Default)]
struct Halves {
    first: usize,
    second: usize,
}

impl Halves {
    fn step(&mut self) {
        assert_eq!(self.first, self.second, "two threads are inside at once");
        self.first += 1;
        std::hint::black_box(&mut *self);
        self.second += 1;
    }
}

#[test]
fn an_owner_and_any_number_of_takers_are_inside_one_at_a_time() {
    for takers in TAKERS {
        let lock = Biased::new(Halves::default());
        let start = Barrier::new(takers + 1);
        let take = || {
            start.wait();
            (0..TAKES).for_each(|_| lock.take().step());
        };
        let own = || {
            let mut owner = lock.adopt().unwrap();
            start.wait();
            for _ in 0..ENTRIES {
                match lock.enter(&mut owner) {
                    Some(mut halves) => halves.step(),
                    None => lock.take().step(),
                }
            }
            lock.leave(owner);
        };
        thread::scope(|scope| {
            (0..takers).for_each(|_| _ = scope.spawn(take));
            scope.spawn(own);
        });
        assert_eq!(lock.take().second, ENTRIES + takers * TAKES, "{lock:?}, {takers} takers");
    }
    // The output helps with logs of machines that are not at hand.
    println!("fences here: {:?}", super::fence::Fences::detect());
}

/// Each thread owns the lock for a while, as threads do that end and are replaced.
#[test]
fn ownership_goes_round_while_others_take() {
    let lock = Biased::new(Halves::default());
    let owners = TAKERS[2];
    let work = || {
        let mut done = 0;
        for _ in 0..TAKES {
            if let Some(mut owner) = lock.adopt() {
                if let Some(mut halves) = lock.enter(&mut owner) {
                    halves.step();
                    done += 1;
                }
                lock.leave(owner);
            } else {
                lock.take().step();
                done += 1;
            }
        }
        done
    };
    let done: usize = thread::scope(|scope| {
        let threads: Vec<_> = (0..owners).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(lock.take().second, done);
}
