//! Frees from another thread: a completion thread frees everything that one thread allocates.
//!
//! Sending a buffer to that thread costs time with any allocator. The loop without an allocator measures
//! that time. The last column subtracts it from both figures, and so shows what the allocators add.

use super::{Settings, Tables, programs, warm_up};
use crate::contestants::{LOOP, all, the_loop};
use crate::race::{ONE_THREAD, REMOTE, race};
use crate::show::Table;

pub(super) fn tables(settings: &Settings) -> Tables {
    let columns =
        [("local frees, ns/op", 1), ("remote frees, ns/op", 1), ("remote / local", 2), ("less the loop", 2)];
    let mut tables = Vec::new();
    for (name, program) in programs(settings)? {
        let mut table = Table::new(format!("{name}, frees from another thread"), &columns);
        let mut runners = settings.pick(all());
        runners.retain(|runner| runner.name != LOOP);
        runners.push(the_loop());
        warm_up(&runners, &program);
        let times = race(&runners, &program, &[ONE_THREAD, REMOTE], settings.rounds);
        let alone = &times[runners.len() - 1];
        for (runner, times) in runners.iter().zip(&times) {
            let (local, remote) = (times[0], times[1]);
            let added = (runner.name != LOOP).then(|| (remote - alone[1]) / (local - alone[0]));
            table.row(runner.name, [Some(local), Some(remote), Some(remote / local), added]);
        }
        tables.push(table);
    }
    Ok(tables)
}
