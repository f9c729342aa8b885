//! Traces of real engines: the time per operation with one thread and two, and the memory held.

use super::{Settings, Tables, programs, warm_up};
use crate::contestants::{self, OneRange, runner};
use crate::race::{ONE_THREAD, TWO_THREADS, Tally, race};
use crate::show::Table;

pub(super) fn tables(settings: &Settings) -> Tables {
    let columns = [
        ("1 thread, ns/op", 1),
        ("2 threads, ns/op", 1),
        ("2 threads / 1", 2),
        ("peak reserved / live", 3),
        ("failed", 0),
    ];
    let mut tables = Vec::new();
    for (name, program) in programs(settings)? {
        let mut table = Table::new(name, &columns);
        let packing = |tally: &Tally| tally.peak_reserved.map(|held| held as f64 / program.peak_live as f64);
        let runners = settings.pick(contestants::all());
        let tally = warm_up(&runners, &program);
        let times = race(&runners, &program, &[ONE_THREAD, TWO_THREADS], settings.rounds);
        for ((runner, times), tally) in runners.iter().zip(times).zip(&tally) {
            let (one, two) = (times[0], times[1]);
            let failed = tally.failed as f64;
            table.row(runner.name, [Some(one), Some(two), Some(two / one), packing(tally), Some(failed)]);
        }
        let bound = runner("best fit, one growing range", OneRange::new());
        let tally = bound.entrant.tally(&program);
        table.row(bound.name, [None, None, None, packing(&tally), Some(tally.failed as f64)]);
        tables.push(table);
    }
    Ok(tables)
}
