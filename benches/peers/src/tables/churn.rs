//! Random replacement of large buffers. There is no pattern to learn, and most sizes occur only once.

use super::{Settings, warm_up};
use crate::contestants::{self, MIB};
use crate::program::{Churn, Sizes};
use crate::race::{ONE_THREAD, TWO_THREADS, race};
use crate::show::Table;

pub(super) fn table(settings: &Settings) -> Table {
    let sizes = Sizes { least: 4 << 10, most: 16 * MIB };
    let program = Churn { live: 4096, replaced: 4096, pairs: 50_000, sizes }.program(1);
    let columns = [("1 thread, ns/op", 1), ("2 threads, ns/op", 1), ("peak reserved / live", 3)];
    let mut table = Table::new("churn, 4096 live, 4 KiB-16 MiB", &columns);
    let runners = settings.pick(contestants::all());
    let tally = warm_up(&runners, &program);
    let times = race(&runners, &program, &[ONE_THREAD, TWO_THREADS], settings.rounds);
    for ((runner, times), tally) in runners.iter().zip(times).zip(tally) {
        let packing = tally.peak_reserved.map(|held| held as f64 / program.peak_live as f64);
        table.row(runner.name, [Some(times[0]), Some(times[1]), packing]);
    }
    table
}
