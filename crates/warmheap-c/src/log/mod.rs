//! The library's log, handed to a function of the program.
//!
//! The module owns which function that is, and its end. The function runs on the thread that logs, inside the
//! call that caused the record. No lock of this interface is held meanwhile, so it may call the library.

mod bridge;

use std::ffi::{c_char, c_void};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use warmheap::fork::Process;

use crate::callback;
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

/// A record of the log. The texts live until the callback returns.
/// Since 0.2, as are the fields without another version.
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

/// The program's function, and what it was set with.
#[derive(Clone, Copy)]
struct Receiver {
    callback: unsafe extern "C" fn(*mut c_void, *const wh_log_record),
    user: *mut c_void,
    level: u32,
}

// SAFETY: `wh_set_log` requires a function that any thread may call with the data.
unsafe impl Send for Receiver {}
// SAFETY: as above.
unsafe impl Sync for Receiver {}

impl Receiver {
    fn is(
        &self,
        callback: unsafe extern "C" fn(*mut c_void, *const wh_log_record),
        user: *mut c_void,
    ) -> bool {
        std::ptr::fn_addr_eq(self.callback, callback) && self.user == user
    }
}

/// A receiver that was replaced or ended.
struct Former {
    receiver: Receiver,
    process: Process,
    /// Alive while a thread is in the function.
    calls: Weak<Receiver>,
}

impl Former {
    /// Whether a thread of this process may be in the function. The threads that a parent had are not here.
    fn is_called(&self) -> bool {
        self.process.is_current() && self.calls.strong_count() > 0
    }
}

/// Those who receive the log.
pub(crate) struct Receivers {
    /// Each call of the function holds a reference, which it takes while the list is locked.
    present: Option<(Arc<Receiver>, Process)>,
    /// Those that may not have returned yet.
    former: Vec<Former>,
    /// Whether `tracing` hands its records to the bridge.
    bridged: bool,
}

static RECEIVERS: Mutex<Receivers> =
    Mutex::new(Receivers { present: None, former: Vec::new(), bridged: false });
/// The number of the least important level that the program wants; 0 is none. It changes while the list is
/// locked.
static WANTED: AtomicU32 = AtomicU32::new(0);

/// Locks what [`wh_set_log`] sets.
pub(crate) fn locked() -> MutexGuard<'static, Receivers> {
    RECEIVERS.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Receivers {
    fn replace(&mut self, next: Option<Receiver>) {
        WANTED.store(next.map_or(0, |receiver| receiver.level), Ordering::Release);
        let next = next.map(|receiver| (Arc::new(receiver), Process::current()));
        if let Some((before, process)) = std::mem::replace(&mut self.present, next) {
            self.former.push(Former { receiver: *before, process, calls: Arc::downgrade(&before) });
        }
        self.former.retain(Former::is_called);
    }
}

/// Waits until no other thread is in a former receiver that `ends`; see [`callback`].
fn wait_for_former(ends: impl Fn(&Receiver) -> bool) {
    let is_called = || locked().former.iter().any(|former| ends(&former.receiver) && former.is_called());
    // The list is not locked during a pause.
    while is_called() && callback::pause() {}
}

/// Hands the library's log to `callback`: the records of `level` and of those that matter more. Null ends
/// that. A process has one callback at a time, and each call replaces the one before. The callback is called on
/// any thread, several at once, and inside calls of this library. It may call the library, and does not throw.
///
/// When this call returns, no other thread is in a callback that was set before, so the data of those may be
/// destroyed. Within a callback (of the log or of a pool) this call does not wait: it replaces the callback and
/// returns. The data of the former one then stays until a later call outside of callbacks has returned. Do not
/// hold a lock that the callback takes. Since 0.2.
///
/// # Safety
/// Any thread may call `callback` with `user`, as long as this says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wh_set_log(callback: wh_log_callback, user: *mut c_void, level: u32) -> wh_status {
    guarded(|| {
        if callback.is_some() && !(1..=4).contains(&level) {
            let text = format!("level is {level}; it is one of WH_LOG_ERROR (1) to WH_LOG_DEBUG (4)");
            return Err(Failure::argument(text));
        }
        let next = callback.map(|callback| Receiver { callback, user, level });
        let mut receivers = locked();
        if next.is_some() && !receivers.bridged {
            bridge::subscribe()?;
            receivers.bridged = true;
        }
        receivers.replace(next);
        drop(receivers);
        wait_for_former(|_| true);
        Ok(())
    })
}

/// Ends what `wh_set_log` began with this `callback` and `user`, unless a later call has replaced it. When
/// this call returns, no other thread is in that callback with that data; within a callback it does not wait,
/// as `wh_set_log`. For libraries that share a process: none of them ends the log of another. Since 0.2.
#[unsafe(no_mangle)]
pub extern "C" fn wh_unset_log(callback: wh_log_callback, user: *mut c_void) -> wh_status {
    guarded(|| {
        let callback = callback.ok_or_else(|| Failure::argument("callback is null"))?;
        let mut receivers = locked();
        if receivers.present.as_ref().is_some_and(|(present, _)| present.is(callback, user)) {
            receivers.replace(None);
        }
        drop(receivers);
        wait_for_former(|receiver| receiver.is(callback, user));
        Ok(())
    })
}
