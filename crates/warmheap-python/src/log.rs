//! The library's log as Python's: logger `warmheap`.
//!
//! The library logs wherever it is, which may be under its own locks and on threads that Python does
//! not know. Calling into Python there could wait for a thread that waits for such a lock. So
//! records are only noted down, and handed to `logging` from calls that hold nothing: at the end of
//! the call that caused them, or else at the interpreter's next step.

use std::fmt::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{LazyLock, Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::types::PyDict;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::ffi::pending;

/// Whether anything is noted down.
static WAITING: AtomicBool = AtomicBool::new(false);
/// The interpreter is about to end: nothing may be handed to it any more.
static ENDED: AtomicBool = AtomicBool::new(false);
static NOTES: LazyLock<Notes> = LazyLock::new(|| {
    let (sender, receiver) = channel();
    Notes { sender, receiver: Mutex::new(receiver) }
});

/// Written to by any thread without waiting; read with the interpreter's lock held only.
struct Notes {
    sender: Sender<Note>,
    receiver: Mutex<Receiver<Note>>,
}

struct Note {
    level: Level,
    text: Text,
}

/// Receives the library's events.
struct Bridge;

/// Has the library's events noted down from now on.
pub(crate) fn install() {
    LazyLock::force(&NOTES);
    // This copy of the library is the module's own, and so is its dispatcher.
    let _ = tracing::subscriber::set_global_default(Bridge);
}

/// Hands everything noted down to `logging`.
#[inline]
pub(crate) fn deliver(py: Python<'_>) {
    if WAITING.load(Relaxed) {
        deliver_waiting(py);
    }
}

#[cold]
fn deliver_waiting(py: Python<'_>) {
    if ENDED.load(Relaxed) {
        return;
    }
    WAITING.store(false, Relaxed);
    // One at a time, so that the lock is not held while Python runs.
    let next = || NOTES.receiver.lock().unwrap_or_else(PoisonError::into_inner).try_recv().ok();
    while let Some(note) = next() {
        if let Err(error) = note.hand_over(py) {
            error.write_unraisable(py, None);
        }
    }
}

impl Note {
    fn hand_over(self, py: Python<'_>) -> PyResult<()> {
        let level = match self.level {
            Level::ERROR => 40,
            Level::WARN => 30,
            Level::INFO => 20,
            Level::DEBUG | Level::TRACE => 10,
        };
        let logger = py.import("logging")?.call_method1("getLogger", ("warmheap",))?;
        let fields = PyDict::new(py);
        for (name, value) in &self.text.fields {
            fields.set_item(name, value)?;
        }
        let extra = PyDict::new(py);
        extra.set_item("fields", fields)?;
        let named = PyDict::new(py);
        named.set_item("extra", extra)?;
        logger.call_method("log", (level, "%s", self.text.message), Some(&named)).map(drop)
    }
}

/// Hands what is noted down to `logging`, for threads that Python did not start.
#[pyfunction]
#[pyo3(name = "_deliver_logs")]
pub(crate) fn deliver_logs(py: Python<'_>) {
    deliver(py);
}

/// Hands over what is left, and nothing from then on: for the interpreter's end.
#[pyfunction]
#[pyo3(name = "_stop_logs")]
pub(crate) fn stop_logs(py: Python<'_>) {
    deliver(py);
    ENDED.store(true, Relaxed);
}

impl Subscriber for Bridge {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::DEBUG && metadata.is_event()
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        if ENDED.load(Relaxed) {
            return;
        }
        let mut text = Text::default();
        event.record(&mut text);
        let _ = NOTES.sender.send(Note { level: *event.metadata().level(), text });
        if !WAITING.swap(true, Relaxed) {
            pending::deliver_soon();
        }
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// An event's message and its other fields.
#[derive(Default)]
struct Text {
    message: String,
    fields: Vec<(&'static str, String)>,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            let _ = write!(self.message, "{value:?}");
        } else {
            self.fields.push((field.name(), format!("{value:?}")));
        }
    }
}
