//! Traces of the allocations of a real engine: recording, reading and replaying them.
//!
//! The format is the replay log of RAPIDS' memory manager: a CSV of allocations and frees in order, plain or
//! compressed with gzip or zstd. [`TraceReader`] and [`TraceWriter`] stream it. [`Recorder`] writes a trace
//! from any pool. [`Program`] is a trace compiled for repetition. [`replay`] plays programs on pools and
//! measures.
//!
//! ```
//! use std::sync::Arc;
//! use warmheap::device::sim::SimDevice;
//! use warmheap::{Pool, PoolConfig};
//! use warmheap_trace::replay::Replay;
//! use warmheap_trace::{Compile, FirstTokens, Program, TraceReader};
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
//! This crate lies above the pool and uses only its public interface. It knows no device and decides no
//! policy. The caller decides how to show results.
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
pub use program::{Compile, FirstTokens, Op, Program, Summary};
pub use reader::TraceReader;
pub use recorder::{Recorded, Recorder};
pub use words::Words;
pub use writer::TraceWriter;

use std::any::Any;

/// Returns the message of a thread's panic.
fn words_of(panic: Box<dyn Any + Send>) -> String {
    match panic.downcast::<String>() {
        Ok(words) => *words,
        Err(panic) => panic.downcast_ref::<&str>().copied().unwrap_or("without words").to_owned(),
    }
}
