//! The cost of statistics: the same pool with statistics on and off.

use super::{Settings, Tables, programs, warm_up};
use crate::contestants::{elastic, runner, untracked};
use crate::race::{ONE_THREAD, race};
use crate::show::Table;

pub(super) fn tables(settings: &Settings) -> Tables {
    let columns = [("on, ns/op", 2), ("off, ns/op", 2), ("difference, ns/op", 2)];
    let mut table = Table::new("statistics", &columns);
    for (name, program) in programs(settings)? {
        let runners = [runner("on", elastic()), runner("off", untracked())];
        warm_up(&runners, &program);
        // A difference of less than a nanosecond needs more rounds than a figure of ten nanoseconds.
        let times = race(&runners, &program, &[ONE_THREAD], 3 * settings.rounds);
        let (on, off) = (times[0][0], times[1][0]);
        table.row(name, [Some(on), Some(off), Some(on - off)]);
    }
    Ok(vec![table])
}
