//! Threads' counters, read while they count, under the interleavings that loom produces.
//!
//! Run as `sync/model.rs` says.

use loom::sync::Arc;
use loom::thread;

use super::{Counters, Peak, Totals};
use crate::sync::model::model;

const SIZE: u64 = 100;

/// One thread allocates, another frees, a third reads.
#[test]
fn no_reader_sees_a_buffer_freed_that_was_not_allocated() {
    model(|| {
        let shards = Arc::new(([Counters::new(SIZE, true), Counters::new(SIZE, true)], Peak::default()));
        let reader = {
            let shards = Arc::clone(&shards);
            thread::spawn(move || Totals::of(&Totals::default(), shards.0.iter()))
        };
        shards.0[0].allocated(SIZE, &shards.1);
        let freeing = {
            let shards = Arc::clone(&shards);
            thread::spawn(move || shards.0[1].freed(SIZE, &shards.1))
        };
        let seen = reader.join().unwrap();
        freeing.join().unwrap();
        assert!(seen.deallocations <= seen.allocations, "{seen:?}");
        assert!(seen.requested <= u128::from(SIZE * seen.allocations), "{seen:?}");
        let now = Totals::of(&Totals::default(), shards.0.iter());
        assert_eq!((now.allocations, now.active(), now.requested), (1, 0, u128::from(SIZE)));
        assert!(shards.1.bytes(shards.1.claimed(), &now, u64::MAX) >= SIZE);
        assert_eq!(shards.1.bytes(shards.1.claimed(), &now, SIZE), SIZE);
    });
}
