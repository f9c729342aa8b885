//! Turns the records of `tracing` into those of C. Records that the program's function causes itself are not
//! handed over.

use std::cell::Cell;
use std::ffi::CString;
use std::fmt::{self, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::set_global_default;
use tracing::{Event, Level, Metadata, Subscriber};

use super::{Receiver, WANTED, locked, wh_log_level, wh_log_record};
use crate::callback;
use crate::status::Failure;

thread_local! {
    /// Whether this thread is in the program's function. It has no destructor, so it is there to the end.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Makes this module the receiver of the process's log.
pub(super) fn subscribe() -> Result<(), Failure> {
    let taken = "another part of this process receives the log already (tracing's global subscriber)";
    set_global_default(Bridge).map_err(|_| Failure::order(taken))
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
        let level = number(*event.metadata().level());
        // A receiver set after `enabled` was asked may want less.
        let wants = |(receiver, _): &(Arc<Receiver>, _)| {
            (level as u32 <= receiver.level).then(|| Arc::clone(receiver))
        };
        let Some(receiver) = locked().present.as_ref().and_then(wants) else { return };
        let mut text = Text::default();
        event.record(&mut text);
        let fields = Value::Object(text.fields).to_string();
        let c_text = |text: String| CString::new(text.replace('\0', " ")).unwrap_or_default();
        let (message, fields) = (c_text(text.message), c_text(fields));
        let record = wh_log_record {
            struct_size: size_of::<wh_log_record>(),
            level,
            message: message.as_ptr(),
            fields: fields.as_ptr(),
        };
        INSIDE.set(true);
        // SAFETY: `wh_set_log` requires that any thread may make this call.
        callback::enter(|| unsafe { (receiver.callback)(receiver.user, &raw const record) });
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
