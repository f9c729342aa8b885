//! The tables. Each module runs one kind of work on some of the allocators.

mod churn;
mod fill;
mod heaps;
mod live;
mod million;
mod remote;
mod statistics;
mod traces;

use std::collections::BTreeSet;
use std::error::Error;
use std::path::PathBuf;

use clap::ValueEnum;

use crate::program::Program;
use crate::race::{Runner, Tally};
use crate::show::Table;

/// A table, or one for each trace.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Kind {
    /// Traces of real engines: time and packing
    Traces,
    /// Random replacement of 4096 buffers of 4 KiB to 16 MiB
    Churn,
    /// The used share of 8 GiB when the first request fails
    Fill,
    /// The cost by the number of live buffers
    Live,
    /// The cost by the number of heaps
    Heaps,
    /// Frees from other threads
    Remote,
    /// The cost of statistics
    Statistics,
    /// A million buffers freed in random order
    Million,
}

/// The settings of the command line.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) traces: Vec<PathBuf>,
    /// Parts of the names of the allocators that run, in any case. An empty list runs all.
    pub(crate) only: Vec<String>,
    pub(crate) rounds: usize,
    pub(crate) threads: Vec<usize>,
    pub(crate) others: Vec<usize>,
    pub(crate) cores: usize,
}

impl Settings {
    /// Returns the numbers of threads that play traces, in order.
    fn threads(&self) -> Result<Vec<usize>, Box<dyn Error>> {
        self.within(&self.threads, self.cores)
    }

    /// Returns the numbers of threads that one thread hands buffers to, or takes them from, in order.
    fn others(&self) -> Result<Vec<usize>, Box<dyn Error>> {
        self.within(&self.others, self.cores.saturating_sub(1).max(1))
    }

    /// Says which numbers of threads the machine has too few cores for.
    pub(crate) fn left_out(&self) -> Option<String> {
        let others = self.others.iter().map(|others| others + 1);
        let counts = self.threads.iter().copied().chain(others).filter(|count| *count > self.cores);
        let counts: BTreeSet<_> = counts.collect();
        (!counts.is_empty()).then(|| format!("{counts:?} threads did not run on {} cores", self.cores))
    }

    fn within(&self, counts: &[usize], most: usize) -> Result<Vec<usize>, Box<dyn Error>> {
        let counts: BTreeSet<_> = counts.iter().copied().filter(|count| (1..=most).contains(count)).collect();
        if counts.is_empty() {
            return Err(format!("no number of threads fits {} cores; see --cores", self.cores).into());
        }
        Ok(counts.into_iter().collect())
    }

    /// Returns the runners that the command line asks for.
    fn pick(&self, mut runners: Vec<Runner>) -> Vec<Runner> {
        let has = |name: &str, part: &str| name.to_lowercase().contains(&part.to_lowercase());
        let wanted = |name: &str| self.only.is_empty() || self.only.iter().any(|part| has(name, part));
        runners.retain(|runner| wanted(runner.name));
        runners
    }
}

type Tables = Result<Vec<Table>, Box<dyn Error>>;

impl Kind {
    pub(crate) fn all() -> Vec<Self> {
        Self::value_variants().to_vec()
    }

    pub(crate) fn tables(self, settings: &Settings) -> Tables {
        match self {
            Self::Traces => traces::tables(settings),
            Self::Churn => Ok(vec![churn::table(settings)]),
            Self::Fill => Ok(vec![fill::table()]),
            Self::Live => Ok(live::tables(settings)),
            Self::Heaps => Ok(vec![heaps::table(settings)]),
            Self::Remote => remote::tables(settings),
            Self::Statistics => statistics::tables(settings),
            Self::Million => Ok(vec![million::table()]),
        }
    }
}

/// Returns the requested traces as programs, each with its name.
fn programs(settings: &Settings) -> Result<Vec<(String, Program)>, Box<dyn Error>> {
    let mut files = Vec::new();
    for path in &settings.traces {
        if path.is_dir() {
            for entry in path.read_dir()? {
                files.push(entry?.path());
            }
        } else {
            files.push(path.clone());
        }
    }
    files.retain(|file| file.to_string_lossy().contains(".csv"));
    files.sort();
    let program = |file: PathBuf| {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let name = name.split('.').next().unwrap_or_default().to_owned();
        Ok((name, Program::from_trace(&file)?))
    };
    files.into_iter().map(program).collect()
}

fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// Plays one cold round with each runner, so that heaps and tables exist before the clock runs.
fn warm_up(runners: &[Runner], program: &Program) -> Vec<Tally> {
    runners.iter().map(|runner| runner.entrant.tally(program)).collect()
}
