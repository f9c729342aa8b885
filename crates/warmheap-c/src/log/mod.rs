//! The library's log, handed to a function of the program.
//!
//! The function runs on the thread that logs, inside the call that caused the record. No lock of this
//! interface is held meanwhile, so it may call the library. Records that it causes itself are not handed
//! over.

use std::cell::Cell;
use std::ffi::{CString, c_char, c_void};
use std::fmt::{self, Write};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::set_global_default;
use tracing::{Event, Level, Metadata, Subscriber};
use warmheap::fork::Process;

use crate::status::{Failure, guarded, wh_status};

/// How much a record of the log matters. Since 0.2.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(non_camel_case_types)]
pub enum wh_log_level {
    /// Something is lost: buffers leaked, or the device failed. Since 0.2.
    WH_LOG_ERROR = 1,
    /// Memory is short, or a setting does not fit. Since 0.2.
    WH_LOG_WARN = 2,
    /// What would help, and pools that close without leaks. Since 0.2.
    WH_LOG_INFO = 3,
    /// What the pool does by itself. Since 0.2.
    WH_LOG_DEBUG = 4,
}

/// A record of the log. The texts live until the callback returns. Since 0.2.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct wh_log_record {
    /// `sizeof(wh_log_record)`, as the library knows it.
    pub struct_size: usize,
    /// How much it matters.
    pub level: wh_log_level,
    /// What happened, in words.
    pub message: *const c_char,
    /// The figures of the record as a JSON object: `{"reserved":1048576}`.
    pub fields: *const c_char,
}

/// A function that receives the log. `user` is what `wh_set_log` was given. Since 0.2.
#[allow(non_camel_case_types)]
pub type wh_log_callback = Option<unsafe extern "C" fn(user: *mut c_void, record: *const wh_log_record)>;

/// The function of the program, and its data.
pub(crate) struct Program {
    callback: unsafe extern "C" fn(*mut c_void, *const wh_log_record),
    user: *mut c_void,
    process: Process,
}

// SAFETY: `wh_set_log` requires a function that any thread may call with the data.
unsafe impl Send for Program {}
// SAFETY: as above.
unsafe impl Sync for Program {}

static PROGRAM: Mutex<Option<Arc<Program>>> = Mutex::new(None);
/// The number of the least important level that the program wants; 0 is none.
static WANTED: AtomicU32 = AtomicU32::new(0);

thread_local! {
    /// Whether this thread is in the program's function. It has no destructor, so it is there to the end.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Locks what [`wh_set_log`] sets.
pub(crate) fn locked() -> MutexGuard<'static, Option<Arc<Program>>> {
    PROGRAM.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Hands the library's log to `callback`: the records of `level` and of those that matter more. Null ends
/// that. The callback is called on any thread, several at once, and inside calls of this library. It may call
/// the library, and does not throw. When this call returns, no other thread is in the callback that was set
/// before, so its data may be destroyed. Since 0.2.
///
/// # Safety
/// Any thread may call `callback` with `user`, until another call of this function returns.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wh_set_log(callback: wh_log_callback, user: *mut c_void, level: u32) -> wh_status {
    guarded(|| {
        if callback.is_some() && !(1..=4).contains(&level) {
            let text = format!("level is {level}; it is one of WH_LOG_ERROR (1) to WH_LOG_DEBUG (4)");
            return Err(Failure::argument(text));
        }
        let program =
            callback.map(|callback| Arc::new(Program { callback, user, process: Process::current() }));
        if program.is_some() {
            subscribe()?;
        }
        WANTED.store(if program.is_some() { level } else { 0 }, Ordering::Release);
        let before = std::mem::replace(&mut *locked(), program);
        if let Some(before) = before.filter(|before| before.process.is_current() && !INSIDE.get()) {
            while Arc::strong_count(&before) > 1 {
                std::thread::sleep(Duration::from_micros(100));
            }
        }
        Ok(())
    })
}

/// Makes this module the receiver of the process's log.
fn subscribe() -> Result<(), Failure> {
    static DONE: Mutex<bool> = Mutex::new(false);
    let mut done = DONE.lock().unwrap_or_else(PoisonError::into_inner);
    if !*done {
        let taken = "another part of this process receives the log already (tracing's global subscriber)";
        set_global_default(Bridge).map_err(|_| Failure::order(taken))?;
        *done = true;
    }
    Ok(())
}

#[derive(Debug)]
struct Bridge;

fn number(level: Level) -> wh_log_level {
    match level {
        Level::ERROR => wh_log_level::WH_LOG_ERROR,
        Level::WARN => wh_log_level::WH_LOG_WARN,
        Level::INFO => wh_log_level::WH_LOG_INFO,
        _ => wh_log_level::WH_LOG_DEBUG,
    }
}

impl Subscriber for Bridge {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event()
            && *metadata.level() <= Level::DEBUG
            && number(*metadata.level()) as u32 <= WANTED.load(Ordering::Acquire)
    }

    /// The program may ask for more later.
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> tracing::subscriber::Interest {
        if metadata.is_event() && *metadata.level() <= Level::DEBUG {
            tracing::subscriber::Interest::sometimes()
        } else {
            tracing::subscriber::Interest::never()
        }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::DEBUG)
    }

    fn event(&self, event: &Event<'_>) {
        if INSIDE.get() {
            return;
        }
        let Some(program) = locked().clone() else { return };
        let mut text = Text::default();
        event.record(&mut text);
        let fields = Value::Object(text.fields).to_string();
        let c_text = |text: String| CString::new(text.replace('\0', " ")).unwrap_or_default();
        let (message, fields) = (c_text(text.message), c_text(fields));
        let record = wh_log_record {
            struct_size: size_of::<wh_log_record>(),
            level: number(*event.metadata().level()),
            message: message.as_ptr(),
            fields: fields.as_ptr(),
        };
        INSIDE.set(true);
        // SAFETY: `wh_set_log` requires that any thread may make this call.
        unsafe { (program.callback)(program.user, &raw const record) };
        INSIDE.set(false);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// A record's message and its other fields. Numbers stay numbers.
#[derive(Default)]
struct Text {
    message: String,
    fields: Map<String, Value>,
}

impl Text {
    fn add(&mut self, field: &Field, value: impl Into<Value>) {
        self.fields.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Text {
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            let _ = write!(self.message, "{value:?}");
        } else {
            self.add(field, format!("{value:?}"));
        }
    }
}
