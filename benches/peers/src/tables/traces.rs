//! Traces of real engines: the time per operation by the number of threads, and the memory held.

use super::{Settings, Tables, counted, programs, warm_up};
use crate::contestants::{self, OneRange, fixed_heaps, runner};
use crate::program::Program;
use crate::race::{How, Runner, Tally, race};
use crate::show::{Chart, Table};

pub(super) fn tables(settings: &Settings) -> Tables {
    let threads = settings.threads()?;
    let (fewest, most) = (threads[0], threads[threads.len() - 1]);
    let mut columns: Vec<_> =
        threads.iter().map(|count| (format!("{}, ns/op", counted(*count, "thread")), 1)).collect();
    let is_curve = most > fewest;
    if is_curve {
        columns.push((format!("{most} threads / {fewest}"), 2));
    }
    columns.extend([("peak reserved / live".to_owned(), 3), ("failed".to_owned(), 0)]);
    let ways: Vec<How> = threads.iter().map(|count| How::local(*count)).collect();
    let mut tables = Vec::new();
    for (name, program) in programs(settings)? {
        let packing = |tally: &Tally| tally.peak_reserved.map(|held| held as f64 / program.peak_live as f64);
        let runners = settings.pick(contestants(&program, &threads));
        let tally = warm_up(&runners, &program);
        let times = race(&runners, &program, &ways, settings.rounds);
        let mut chart = Chart::new(&name, "threads, all on one allocator");
        let mut table = Table::new(name, &columns);
        for ((runner, times), tally) in runners.iter().zip(times).zip(&tally) {
            let ratio = is_curve.then(|| times[times.len() - 1] / times[0]);
            chart.line(runner.name, threads.iter().copied().zip(times.iter().copied()));
            let held = [packing(tally), Some(tally.failed as f64)];
            let ratio = is_curve.then_some(ratio);
            table.row(runner.name, times.into_iter().map(Some).chain(ratio).chain(held));
        }
        let bound = runner("best fit, one growing range", OneRange::new());
        let tally = bound.entrant.tally(&program);
        let untimed = vec![None; threads.len() + usize::from(is_curve)];
        table.row(bound.name, untimed.into_iter().chain([packing(&tally), Some(tally.failed as f64)]));
        table.charts.extend(is_curve.then_some(chart));
        tables.push(table);
    }
    Ok(tables)
}

/// Returns all contestants. Pools of fixed heaps stand beside the other pools.
fn contestants(program: &Program, threads: &[usize]) -> Vec<Runner> {
    let mut all = contestants::all();
    all.splice(2..2, fixed_heaps(program, threads));
    all
}
