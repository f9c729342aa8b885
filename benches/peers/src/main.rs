//! Compares the pool with other allocators: same work, same loop, one process.
//!
//! This command prints every table of the benchmarks page. Each module of [`tables`] makes one of them.
//! Allocators ([`contestants`]) play programs ([`program`]) in interleaved rounds ([`race`]). Only [`show`]
//! prints figures, as tables or JSON.

mod contestants;
mod picture;
mod program;
mod race;
mod show;
// The replay's own, so that both measure alike.
#[allow(dead_code, reason = "replays also rest midway")]
#[path = "../../../crates/warmheap-trace/src/replay/side_by_side.rs"]
mod side_by_side;
mod tables;

use std::error::Error;
use std::path::PathBuf;

use clap::Parser;

use tables::{Kind, Settings};

/// The traces in the repository.
const BUNDLED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../traces");

/// Run the pool and other allocators side by side.
#[derive(Debug, Parser)]
struct Arguments {
    /// The tables to make [default: all]
    #[arg(value_enum)]
    tables: Vec<Kind>,
    /// A trace, or a directory of traces; may be repeated [default: the traces of the repository]
    #[arg(long = "trace", value_name = "PATH")]
    traces: Vec<PathBuf>,
    /// Run only allocators whose names contain this text; may be repeated
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
    /// The number of timed rounds; tables show the median
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// The numbers of threads that play traces
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [1, 2])]
    threads: Vec<usize>,
    /// The numbers of threads that free for one that allocates, and allocate for one that frees
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [1, 4, 15])]
    others: Vec<usize>,
    /// Leave out what needs more than so many threads at once [default: the cores of the machine]
    #[arg(long, value_name = "N")]
    cores: Option<usize>,
    /// Draw the curves of traces and heaps into this directory, as SVG
    #[arg(long, value_name = "DIRECTORY")]
    svg: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = Arguments::parse();
    if arguments.traces.is_empty() {
        arguments.traces.push(BUNDLED.into());
    }
    let cores =
        arguments.cores.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let settings = Settings {
        traces: arguments.traces,
        only: arguments.only,
        rounds: arguments.rounds.max(1),
        threads: arguments.threads,
        others: arguments.others,
        cores,
    };
    if let Some(directory) = &arguments.svg {
        std::fs::create_dir_all(directory)?;
    }
    let kinds = if arguments.tables.is_empty() { Kind::all() } else { arguments.tables };
    let mut report =
        show::Report::new(contestants::absent().into_iter().chain(settings.left_out()).collect());
    for kind in kinds {
        for table in kind.tables(&settings)? {
            if !arguments.json {
                show::print(&table.to_text())?;
            }
            if let Some(directory) = &arguments.svg {
                table.charts.iter().try_for_each(|chart| picture::draw(directory, chart))?;
            }
            report.tables.push(table);
        }
    }
    let end = if arguments.json { report.to_json()? } else { report.notes() };
    show::print(&end)?;
    Ok(())
}
