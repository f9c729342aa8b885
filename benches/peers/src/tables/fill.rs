//! How much of 8 GiB can be used: the share of live buffers when the first request fails.
//!
//! There are three requests to two frees of random buffers, until a request fails. All allocators get the
//! same seeds.

use fastrand::Rng;

use crate::contestants::{
    BestFit, Contestant, Heaps, HeapsOnly, MIB, OffsetEngine, RangeEngine, VirtualBlockEngine,
};
use crate::program::Sizes;
use crate::show::Table;

const CAPACITY: u64 = 8192 * MIB;
const SEEDS: u64 = 32;

pub(super) fn table() -> Table {
    let ranges = [Sizes { least: 64 << 10, most: 64 * MIB }, Sizes { least: MIB, most: 256 * MIB }];
    let columns = [("64 KiB-64 MiB, mean", 3), ("least", 3), ("1-256 MiB, mean", 3), ("least", 3)];
    let mut table = Table::new("share of 8 GiB live at the first failure", &columns);
    let mut row = |name: &str, utilisation: &dyn Fn(Sizes, u64) -> f64| {
        let figures = ranges.into_iter().flat_map(|sizes| {
            let shares: Vec<f64> = (0..SEEDS).map(|seed| utilisation(sizes, seed)).collect();
            let least = shares.iter().copied().fold(1.0, f64::min);
            [Some(shares.iter().sum::<f64>() / SEEDS as f64), Some(least)]
        });
        table.row(name, figures);
    };
    row("warmheap, elastic", &|sizes, seed| fill(HeapsOnly::elastic(CAPACITY), sizes, seed));
    row("warmheap, discrete", &|sizes, seed| fill(HeapsOnly::discrete(CAPACITY), sizes, seed));
    row("warmheap, one heap", &|sizes, seed| fill(HeapsOnly::one_heap(CAPACITY), sizes, seed));
    row("offset-allocator", &|sizes, seed| fill(Heaps::<OffsetEngine>::new(CAPACITY, 1), sizes, seed));
    row("range-alloc", &|sizes, seed| fill(Heaps::<RangeEngine>::new(CAPACITY, 1), sizes, seed));
    row("VMA virtual block", &|sizes, seed| fill(Heaps::<VirtualBlockEngine>::new(CAPACITY, 1), sizes, seed));
    row("BTreeMap best fit", &|sizes, seed| fill(Heaps::<BestFit>::new(CAPACITY, 1), sizes, seed));
    table
}

fn fill(contestant: impl Contestant, sizes: Sizes, seed: u64) -> f64 {
    let mut random = Rng::with_seed(seed);
    let mut live = Vec::new();
    let mut live_bytes = 0;
    loop {
        if random.u8(..5) < 3 || live.is_empty() {
            let size = sizes.draw(&mut random);
            let Some(held) = contestant.allocate(size) else { break };
            live_bytes += size;
            live.push((Some(held), size));
        } else {
            let (mut slot, size) = live.swap_remove(random.usize(..live.len()));
            contestant.free(&mut slot);
            live_bytes -= size;
        }
    }
    live.iter_mut().for_each(|(slot, _)| contestant.free(slot));
    live_bytes as f64 / CAPACITY as f64
}
