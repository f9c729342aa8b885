//! Frees from another thread: a completion thread frees everything that one thread allocates.

use super::{Settings, Tables, programs, warm_up};
use crate::contestants;
use crate::race::{ONE_THREAD, REMOTE, race};
use crate::show::Table;

pub(super) fn tables(settings: &Settings) -> Tables {
    let columns = [("local frees, ns/op", 1), ("remote frees, ns/op", 1), ("remote / local", 2)];
    let mut tables = Vec::new();
    for (name, program) in programs(settings)? {
        let mut table = Table::new(format!("{name}, frees from another thread"), &columns);
        let runners = settings.pick(contestants::all());
        warm_up(&runners, &program);
        let times = race(&runners, &program, &[ONE_THREAD, REMOTE], settings.rounds);
        for (runner, times) in runners.iter().zip(times) {
            table.row(runner.name, [Some(times[0]), Some(times[1]), Some(times[1] / times[0])]);
        }
        tables.push(table);
    }
    Ok(tables)
}
