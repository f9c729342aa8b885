//! Fixed heaps: a pool made for a program and for the number of threads that play it.
//!
//! The other contestants take what they need, so one of them serves any number of threads.

use std::time::Duration;

use warmheap::Pool;
use warmheap::config::Strategy;

use super::fixed;
use crate::program::Program;
use crate::race::{Entrant, How, Runner, Tally};

const HEAPS: u64 = 8;

/// A pool for each number of threads.
struct FixedHeaps(Vec<(usize, Pool)>);

/// Returns pools whose heaps have 1.25 x the most that is live, for each of the strategies.
pub(crate) fn fixed_heaps(program: &Program, threads: &[usize]) -> [Runner; 2] {
    [("warmheap, fixed", Strategy::RoundRobin), ("warmheap, fixed, best fit", Strategy::BestFit)].map(
        |(name, strategy)| {
            let pool = |threads: &usize| (*threads, pool(program, *threads, strategy));
            Runner { name, entrant: Box::new(FixedHeaps(threads.iter().map(pool).collect())) }
        },
    )
}

/// Creates eight heaps, or one where an eighth is too small for a request.
fn pool(program: &Program, threads: usize, strategy: Strategy) -> Pool {
    let all = program.peak_live * threads as u64 / 4 * 5;
    let heaps = if program.largest() > all / HEAPS { 1 } else { HEAPS };
    fixed(heaps as usize, all.div_ceil(heaps), strategy)
}

impl Entrant for FixedHeaps {
    fn play(&self, program: &Program, how: How) -> Duration {
        let pool = self.0.iter().find(|(threads, _)| *threads == how.threads);
        pool.expect("there is a pool for each number of threads").1.play(program, how)
    }

    /// Warms all pools up. The figures are those of the first.
    fn tally(&self, program: &Program) -> Tally {
        let tallies: Vec<_> = self.0.iter().map(|(_, pool)| pool.tally(program)).collect();
        *tallies.first().expect("there is a number of threads")
    }
}
