//! The cost by the number of live buffers, 10^2 to 10^6.
//!
//! There are two tables. In the first, a hundred buffers spread among the live ones are replaced. It shows
//! the allocator's own cost. In the second, any buffer is replaced. Then the processor's caches are too
//! small for all allocators, and first of all for the loop's own array of buffers.

use super::{Settings, warm_up};
use crate::contestants::{BestFit, Heaps, OffsetEngine, VirtualBlockEngine, elastic, runner, the_loop};
use crate::program::{Churn, Sizes};
use crate::race::{ONE_THREAD, Runner, race};
use crate::show::Table;

const COUNTS: [usize; 5] = [100, 1000, 10_000, 100_000, 1_000_000];
const COLUMNS: [(&str, usize); 5] =
    [("100", 1), ("1,000", 1), ("10,000", 1), ("100,000", 1), ("1,000,000", 1)];

pub(super) fn tables(settings: &Settings) -> Vec<Table> {
    let few = |_: usize| 100;
    let any = |live: usize| live;
    vec![
        table("ns/op by live buffers, 100 replaced", few, settings),
        table("ns/op by live buffers, any replaced", any, settings),
    ]
}

fn table(title: &str, replaced: impl Fn(usize) -> usize, settings: &Settings) -> Table {
    let mut table = Table::new(title, &COLUMNS);
    let sizes = Sizes { least: 256, most: 16 << 10 };
    let times: Vec<Vec<f64>> = COUNTS
        .into_iter()
        .map(|live| {
            let program = Churn { live, replaced: replaced(live), pairs: 50_000, sizes }.program(1);
            let runners = settings.pick(runners());
            warm_up(&runners, &program);
            let times = race(&runners, &program, &[ONE_THREAD], settings.rounds);
            times.into_iter().flatten().collect()
        })
        .collect();
    for (index, runner) in settings.pick(runners()).iter().enumerate() {
        table.row(runner.name, times.iter().map(|times| Some(times[index])));
    }
    table
}

/// Returns the allocators whose metadata lies outside the memory. The others would touch gigabytes.
fn runners() -> Vec<Runner> {
    vec![
        runner("warmheap, elastic", elastic()),
        runner("offset-allocator", Heaps::<OffsetEngine>::growing()),
        runner("VMA virtual block", Heaps::<VirtualBlockEngine>::growing()),
        runner("BTreeMap best fit", Heaps::<BestFit>::growing()),
        the_loop(),
    ]
}
