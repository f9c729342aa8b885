//! Frees from other threads: completion threads free everything that other threads allocate.
//!
//! Sending a buffer to another thread costs time with any allocator. The loop without an allocator measures
//! that time. The second table of a trace subtracts it, and so shows what the allocators add.

use super::{Settings, Tables, counted, programs, warm_up};
use crate::contestants::{LOOP, all, the_loop};
use crate::race::{How, ONE_THREAD, race};
use crate::show::Table;

pub(super) fn tables(settings: &Settings) -> Tables {
    let ways = ways(&settings.others()?);
    let name = |way: &How| format!("{} to {}", counted(way.threads, "thread"), way.freeing);
    let names = || ways[1..].iter().map(name);
    let local = ["1 thread, its own".to_owned()];
    let times_of = local.into_iter().chain(names()).map(|name| (name, 1));
    let times_of: Vec<_> = times_of.collect();
    let ratios_of: Vec<_> = names().map(|name| (name, 2)).collect();
    let mut tables = Vec::new();
    for (name, program) in programs(settings)? {
        let mut runners = settings.pick(all());
        runners.retain(|runner| runner.name != LOOP);
        runners.push(the_loop());
        warm_up(&runners, &program);
        let times = race(&runners, &program, &ways, settings.rounds);
        let mut measured = Table::new(format!("{name}, frees from other threads, ns/op"), &times_of);
        let mut ratios =
            Table::new(format!("{name}, frees from other threads / local ones, less the loop"), &ratios_of);
        let alone = &times[runners.len() - 1];
        for (runner, times) in runners.iter().zip(&times) {
            measured.row(runner.name, times.iter().copied().map(Some));
            if runner.name != LOOP {
                let added = |way: usize| times[way] - alone[way];
                ratios.row(runner.name, (1..ways.len()).map(|way| Some(added(way) / added(0))));
            }
        }
        tables.extend([measured, ratios]);
    }
    Ok(tables)
}

/// Local frees, then one thread that allocates for each number of others that free, then the reverse.
fn ways(others: &[usize]) -> Vec<How> {
    let freeing = others.iter().map(|freeing| How { threads: 1, freeing: *freeing });
    let several = others.iter().filter(|threads| **threads > 1);
    let allocating = several.map(|threads| How { threads: *threads, freeing: 1 });
    [ONE_THREAD].into_iter().chain(freeing).chain(allocating).collect()
}
