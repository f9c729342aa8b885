//! The cost by the number of heaps: 1 to 4,096 of 64 MiB that are created at start-up, chosen by best fit.
//!
//! The requests are the same for all. Either the other heaps are empty, or half of every heap is in use, so
//! that the pool chooses among as many free blocks as there are heaps.

use std::time::Instant;

use warmheap::config::Strategy;

use super::Settings;
use crate::contestants::{MIB, fixed, runner};
use crate::program::{Churn, Program, Sizes};
use crate::race::{ONE_THREAD, Runner, median, race};
use crate::show::{Chart, Table};

const HEAP: u64 = 64 * MIB;
/// More than half of a heap, so that each heap has one.
const PINNED: u64 = HEAP / 2 + MIB;
const MOST: usize = 4096;

pub(super) fn table(settings: &Settings) -> Table {
    let counts: Vec<usize> = (0..=MOST.ilog2()).map(|power| 1 << power).collect();
    let small = Churn { live: 64, replaced: 64, pairs: 50_000, sizes: Sizes { least: 4 << 10, most: MIB } };
    let large = Churn { live: 5, replaced: 5, sizes: Sizes { least: MIB, most: 3 * MIB }, ..small };
    let columns = [
        ("4 KiB-1 MiB, others empty, ns/op", 1),
        ("half in use, ns/op", 1),
        ("1-3 MiB, others empty, ns/op", 1),
        ("half in use, ns/op", 1),
        ("start-up, ms", 2),
    ];
    let names = ["4 KiB-1 MiB", "4 KiB-1 MiB, half in use", "1-3 MiB", "1-3 MiB, half in use"];
    let mut start_ups = vec![Vec::new(); counts.len()];
    let mut chart = Chart::new("heaps of 64 MiB", "heaps, all created at start-up");
    let mut times = Vec::new();
    for (name, (churn, half)) in
        names.into_iter().zip([(small, false), (small, true), (large, false), (large, true)])
    {
        let start = |(count, start_ups): (&usize, &mut Vec<f64>)| {
            let start = Instant::now();
            let pool = fixed(*count, HEAP, Strategy::BestFit);
            start_ups.push(start.elapsed().as_secs_f64() * 1e3);
            runner("warmheap", pool)
        };
        let runners: Vec<Runner> = counts.iter().zip(&mut start_ups).map(start).collect();
        let played = play(&runners, &counts, churn, half, settings.rounds);
        chart.line(name, counts.iter().copied().zip(played.iter().copied()));
        times.push(played);
    }
    let mut table = Table::new("heaps of 64 MiB", &columns);
    for (index, (count, start_ups)) in counts.iter().zip(start_ups).enumerate() {
        let times = times.iter().map(|times| times[index]);
        table.row(count.to_string(), times.chain([median(start_ups)]).map(Some));
    }
    table.charts.push(chart);
    table
}

/// Returns the nanoseconds per operation for each number of heaps. The rounds of all take turns.
fn play(runners: &[Runner], counts: &[usize], churn: Churn, half: bool, rounds: usize) -> Vec<f64> {
    let each = runners.iter().zip(counts).map(|(runner, count)| {
        let program = churn.program(1);
        (runner, *count, if half { program.beside(*count, PINNED) } else { program })
    });
    let each: Vec<(&Runner, usize, Program)> = each.collect();
    for (runner, count, program) in &each {
        let held = runner.entrant.tally(program).peak_reserved;
        assert_eq!(held, Some(*count as u64 * HEAP), "a request found no room in {count} heaps");
    }
    let mut times = vec![Vec::new(); each.len()];
    for _ in 0..rounds {
        for ((runner, _, program), times) in each.iter().zip(&mut times) {
            times.push(race(std::slice::from_ref(*runner), program, &[ONE_THREAD], 1)[0][0]);
        }
    }
    times.into_iter().map(median).collect()
}
