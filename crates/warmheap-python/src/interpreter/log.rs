//! Delivers the library's log to Python's logger `warmheap`.
//!
//! The library may log under its own locks, and on threads that Python does not know. A call into Python
//! could then wait for a thread that waits for such a lock. So records are only noted, and delivered to
//! `logging` from calls that hold nothing: at the end of the call that caused them, or at the interpreter's
//! next step. Handlers may do anything, including raise and log. Records that a handler causes are delivered
//! after it has returned.

use std::cell::Cell;
use std::fmt::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{LazyLock, Mutex, OnceLock, PoisonError};

use pyo3::prelude::*;
use pyo3::types::PyDict;
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Dispatch, Event, Level, Metadata, Subscriber};

use super::errors::unraisable;
use super::fork::Origin;
use super::pending;
use super::values::to_python;

/// Whether the interpreter is about to end. No record may be delivered any more.
static ENDED: AtomicBool = AtomicBool::new(false);
/// The notes of the first process.
static NOTES: LazyLock<Notes> = LazyLock::new(Notes::new);

thread_local! {
    /// Whether this thread delivers a record.
    static HANDING_OVER: Cell<bool> = const { Cell::new(false) };
}

/// The noted records of a process. Any thread adds to them without waiting. Only a thread with the
/// interpreter's lock reads them.
struct Notes {
    process: Origin,
    /// The number of noted records.
    waiting: AtomicUsize,
    sender: Sender<Note>,
    receiver: Mutex<Receiver<Note>>,
    /// The notes of a child of a fork. The parent delivers the records that the child inherits, and a thread
    /// of the parent may have been about to write to their list.
    child: OnceLock<Box<Self>>,
}

impl Notes {
    fn new() -> Self {
        let (sender, receiver) = channel();
        let (process, waiting) = (Origin::here(), AtomicUsize::new(0));
        Self { process, waiting, sender, receiver: Mutex::new(receiver), child: OnceLock::new() }
    }

    /// Returns the notes of this process.
    fn here() -> &'static Self {
        let mut notes = &*NOTES;
        while !notes.process.is_here() {
            notes = notes.child.get_or_init(|| Box::new(Self::new()));
        }
        notes
    }
}

struct Note {
    level: Level,
    text: Text,
}

/// Receives the library's events.
struct Bridge;

/// Where the events go instead, while the command runs.
static COMMAND: OnceLock<Dispatch> = OnceLock::new();

/// Makes the library's events go to `log`, from now on and in place of `logging`.
pub(crate) fn pass_to(log: Dispatch) {
    // A second command keeps the log of the first.
    let _ = COMMAND.set(log);
}

/// Makes this module note the library's events from now on.
pub(crate) fn install() {
    LazyLock::force(&NOTES);
    // This copy of the library belongs to the module, and so does its dispatcher.
    let _ = tracing::subscriber::set_global_default(Bridge);
}

/// Starts the notes of a child of a fork, before it has threads that could fork meanwhile.
pub(crate) fn start_anew() {
    Notes::here();
}

/// Delivers the noted records to `logging`. The end of an object never calls this: an exception may be on its
/// way then, or a handler may be inside its own lock.
#[inline]
pub(crate) fn deliver(py: Python<'_>) {
    let notes = Notes::here();
    if notes.waiting.load(Relaxed) > 0 {
        deliver_waiting(py, notes);
    }
}

#[cold]
fn deliver_waiting(py: Python<'_>, notes: &Notes) {
    // The records that a handler causes wait for the call below it on the stack, because it may hold a lock.
    if ENDED.load(Relaxed) || HANDING_OVER.replace(true) {
        return;
    }
    // Records are delivered one at a time, so that the lock is free while Python runs. Only the records noted
    // until now are delivered, so a handler that logs for every record does not keep the call from returning.
    for _ in 0..notes.waiting.load(Relaxed) {
        if !notes.process.is_here() {
            // A handler has forked, and this is the child.
            break;
        }
        let next = notes.receiver.lock().unwrap_or_else(PoisonError::into_inner).try_recv();
        let Ok(note) = next else { break };
        notes.waiting.fetch_sub(1, Relaxed);
        if let Err(error) = note.hand_over(py) {
            unraisable(py, error, None);
        }
    }
    HANDING_OVER.set(false);
    if notes.process.is_here() && notes.waiting.load(Relaxed) > 0 {
        pending::call_soon(deliver);
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
            fields.set_item(name, to_python(py, value)?)?;
        }
        let extra = PyDict::new(py);
        extra.set_item("fields", fields)?;
        let named = PyDict::new(py);
        named.set_item("extra", extra)?;
        logger.call_method("log", (level, "%s", self.text.message), Some(&named)).map(drop)
    }
}

/// Delivers the noted records of threads that Python did not start.
#[pyfunction]
#[pyo3(name = "_deliver_logs")]
pub(crate) fn deliver_logs(py: Python<'_>) {
    deliver(py);
}

/// Delivers the remaining records, and none from then on. The interpreter's end calls this.
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
        if let Some(command) = COMMAND.get() {
            if command.enabled(event.metadata()) {
                command.event(event);
            }
            return;
        }
        if ENDED.load(Relaxed) {
            return;
        }
        let mut text = Text::default();
        event.record(&mut text);
        // The count rises first, because a record that is not counted is not looked for.
        let notes = Notes::here();
        let before = notes.waiting.fetch_add(1, Relaxed);
        let _ = notes.sender.send(Note { level: *event.metadata().level(), text });
        if before == 0 {
            pending::call_soon(deliver);
        }
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// An event's message and its other fields.
#[derive(Default)]
struct Text {
    message: String,
    fields: Vec<(&'static str, Value)>,
}

impl Text {
    fn add(&mut self, field: &Field, value: impl Into<Value>) {
        self.fields.push((field.name(), value.into()));
    }
}

impl Visit for Text {
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.message.push_str(value);
        } else {
            self.add(field, value);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            let _ = write!(self.message, "{value:?}");
        } else {
            self.add(field, format!("{value:?}"));
        }
    }
}
