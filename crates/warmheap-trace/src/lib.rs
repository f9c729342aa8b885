//! Traces: what a real engine allocated, recorded, read and replayed.
//!
//! The format is the replay log of RAPIDS' memory manager: a CSV of allocations and frees in
//! order, plain, gzip or zstd. [`TraceReader`] and [`TraceWriter`] stream it, [`Recorder`] writes
//! one from any pool, [`Program`] is one compiled for repetition, [`replay`] plays programs against
//! pools and measures.
//!
//! ```
//! use std::sync::Arc;
//! use warmheap::device::sim::SimDevice;
//! use warmheap::{Pool, PoolConfig};
//! use warmheap_trace::replay::Replay;
//! use warmheap_trace::{Compile, Program, TraceReader};
//!
//! let log = "Thread,Time,Action,Pointer,Size,Stream\n\
//!            0,0.001,allocate,0x1,303872,0\n\
//!            0,0.002,free,0x1,303872,0\n";
//! let program = Program::compile(TraceReader::new("log", log.as_bytes())?, Compile::default())?;
//! let pool = Pool::new(Arc::new(SimDevice::new()), PoolConfig::elastic())?;
//! let report = Replay { verify: true, ..Replay::default() }.run(&program, &pool, || {})?;
//! assert_eq!((report.allocations, report.failed), (1, 0));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! This crate stands on top of the pool and uses its public interface alone. It knows no device
//! and decides no policy; how results are shown is its caller's business.
#![deny(unsafe_code)]

mod error;
mod event;
mod parse;
mod program;
mod reader;
mod recorder;
pub mod replay;
mod source;
mod words;
mod writer;

pub use error::{Fault, TraceError, TraceErrorKind};
pub use event::{Action, Event};
pub use program::{Compile, Op, Program, Summary};
pub use reader::TraceReader;
pub use recorder::{Recorded, Recorder};
pub use words::Words;
pub use writer::TraceWriter;

use std::any::Any;

/// What a thread's panic said.
fn words_of(panic: Box<dyn Any + Send>) -> String {
    match panic.downcast::<String>() {
        Ok(words) => *words,
        Err(panic) => panic.downcast_ref::<&str>().copied().unwrap_or("without words").to_owned(),
    }
}
