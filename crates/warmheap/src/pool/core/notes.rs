//! Lines for the log, kept until they may be written.
//!
//! The module owns those lines. A subscriber is the program's code: it may take time, use the pool and panic.
//! So the pool never logs while a lock is held or a span has no owner yet. It notes the line, and writes it
//! later.
#![forbid(unsafe_code)]

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::thread;

use crate::config::MIB;
use crate::device::DeviceError;
use crate::pool::core::Core;
use crate::pool::heaps::span::Span;
use crate::pool::interface::pressure::Pressure;
use crate::sync::Ordering::Relaxed;
use crate::sync::{AtomicBool, Mutex, lock};

const TENTH_OF_MIB: u64 = MIB / 10;

/// The most notes that wait. Further ones are dropped: a pool that cannot log for that long has little to
/// add.
const MOST: usize = 64;

/// A line of the log.
#[derive(Debug)]
pub(crate) enum Note {
    CouldNotGrow(DeviceError),
    FellBack { size: u64, fallback_allocations: u64 },
    WokeUp { lost: bool },
    CouldNotWake(DeviceError),
    GaveBackIdle { bytes: u64 },
    CouldNotClear { size: u64, error: DeviceError },
    CouldNotMove(DeviceError),
    CouldNotEnd(DeviceError),
    StillInFlight { buffers: usize, bytes: u64 },
    NotWatched,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    waiting: AtomicBool,
    list: Mutex<Vec<Note>>,
}

impl Notes {
    pub(crate) fn add(&self, note: Note) {
        let mut list = lock(&self.list);
        if list.len() < MOST {
            list.push(note);
        }
        self.waiting.store(true, Relaxed);
    }

    fn take(&self) -> Vec<Note> {
        let mut list = lock(&self.list);
        self.waiting.store(false, Relaxed);
        std::mem::take(&mut *list)
    }
}

impl Note {
    fn log(self) {
        match self {
            Self::CouldNotGrow(error) => tracing::debug!(%error, "the pool could not grow"),
            Self::FellBack { size, fallback_allocations } => {
                // Few bytes are not rounded to 0.
                let shown = match size {
                    ..TENTH_OF_MIB => format!("{size}B"),
                    _ => format!("{:.1}MB", size as f64 / MIB as f64),
                };
                tracing::warn!(
                    size,
                    fallback_allocations,
                    "Heap exhausted for {shown} allocation, falling back to device allocation"
                );
                tracing::info!("Consider increasing heap_size_mb or num_heaps");
            }
            Self::WokeUp { lost } => tracing::debug!(lost, "a heap at rest is used again"),
            Self::CouldNotWake(error) => {
                tracing::warn!(%error, "a heap at rest could not be claimed back and is destroyed");
            }
            Self::GaveBackIdle { bytes } => tracing::debug!(bytes, "idle memory went back to the device"),
            Self::CouldNotClear { size, error } => {
                tracing::error!(size, %error, "freed memory could not be cleared and is not used until it can");
            }
            Self::CouldNotMove(error) => {
                tracing::debug!(%error, "a buffer could not be moved to make room");
            }
            Self::CouldNotEnd(error) => {
                tracing::error!(%error, "memory went back to the device, whose destructor failed");
            }
            Self::StillInFlight { buffers, bytes } => tracing::error!(
                buffers,
                bytes,
                "a pool was closed while work that uses its memory does not complete; that memory is not reused"
            ),
            Self::NotWatched => tracing::error!(
                "a pool was closed while work uses its memory, and no thread could be started to wait for that; \
                 the memory is not reused"
            ),
        }
    }
}

/// Tells the program that a soft limit has been crossed, if it has. The caller holds no lock.
pub(crate) fn tell_of_soft_limit(core: &Core) {
    let account = core.driver.account();
    if account.crossed() {
        let (reserved, objects) = (account.bytes(), account.objects());
        tracing::warn!(reserved, objects, "more is held from the device than the soft limit says");
        core.callbacks.call(Pressure::SoftLimit { reserved, objects });
    }
}

/// Writes the lines that wait. The caller holds no lock of the pool, and every span that it holds is guarded.
///
/// From within a call of the device nothing is written. The caller of that call writes it.
pub(crate) fn write(core: &Core) {
    if core.notes.waiting.load(Relaxed) && may_speak(core) {
        core.notes.take().into_iter().for_each(Note::log);
    }
}

/// As [`write`], and tells the program if a soft limit has been crossed. A free must not call this: a callback
/// runs only where the program asks for something.
pub(crate) fn speak(core: &Core) {
    write(core);
    if core.driver.account().has_crossed() && may_speak(core) {
        tell_of_soft_limit(core);
    }
}

fn may_speak(core: &Core) -> bool {
    !core.is_within_call() && !thread::panicking()
}

/// As [`speak`], with a span in hand that is not counted as allocated yet. The span goes back if the program's
/// code panics.
pub(crate) fn speak_with(core: &Core, span: Span) -> Span {
    // The pool is in a consistent state while the program's code runs.
    let Err(panic) = catch_unwind(AssertUnwindSafe(|| speak(core))) else { return span };
    core.put_back(span);
    resume_unwind(panic)
}
