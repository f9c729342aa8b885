//! The cost by the number of heaps: 8 GiB in 1 to 64 heaps that are created at start-up.

use super::{Settings, warm_up};
use crate::contestants::{MIB, fixed, runner};
use crate::program::{Churn, Program, Sizes};
use crate::race::{ONE_THREAD, race};
use crate::show::Table;

pub(super) fn table(settings: &Settings) -> Table {
    let churn = |least, most| Churn { live: 512, replaced: 512, pairs: 50_000, sizes: Sizes { least, most } };
    let programs = [churn(4 << 10, MIB), churn(MIB, 16 * MIB)].map(|churn| churn.program(1));
    let columns = [("4 KiB-1 MiB, ns/op", 1), ("1-16 MiB, ns/op", 1)];
    let mut table = Table::new("8 GiB in so many heaps", &columns);
    for count in [1, 2, 4, 8, 16, 32, 64] {
        let time = |program: &Program| {
            let runners = [runner("warmheap", fixed(count, 8192 * MIB / count as u64))];
            warm_up(&runners, program);
            race(&runners, program, &[ONE_THREAD], settings.rounds)[0][0]
        };
        table.row(count.to_string(), programs.each_ref().map(|program| Some(time(program))));
    }
    table
}
