//! Traces: what a real engine allocated, recorded, read and replayed.
//!
//! The format is the replay log of RAPIDS' memory manager: a CSV of allocations and frees in
//! order, plain, gzip or zstd. [`TraceReader`] and [`TraceWriter`] stream it, [`Recorder`] writes
//! one from any pool, [`Program`] is one compiled for repetition, [`replay`] plays programs against
//! pools and measures, and [`soak`] plays them under every hardship and checks.
//!
//! This layer stands on top of the pool and uses its public interface alone. It knows no device
//! and decides no policy; how results are shown is its caller's business.

mod error;
mod event;
mod parse;
mod program;
mod reader;
mod recorder;
pub mod replay;
pub mod soak;
mod source;
mod words;
mod writer;

pub use error::{Fault, TraceError, TraceErrorKind};
pub use event::{Action, Event};
pub use program::{Compile, Program, Summary};
pub use reader::TraceReader;
pub use recorder::{Recorded, Recorder};
pub use writer::TraceWriter;
