//! Code of the program that the pool calls: a device, a queue and a subscriber that run a hook.
#![allow(dead_code, reason = "each test uses a part")]

use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use warmheap::device::sim::{SimDevice, SimQueue};
use warmheap::device::{
    Contents, Device, DeviceError, DeviceLimits, HeapRequest, Memory, ObjectCount, Queue,
};

thread_local! {
    /// Whether this thread is in a hook. What a hook causes runs no hook.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// The hook, which gets the name of the call.
type Act = Arc<dyn Fn(&str) + Send + Sync>;

/// A hook that can change at any time, and does not call itself.
#[derive(Clone, Default)]
pub(crate) struct Hook(Arc<Mutex<Option<Act>>>);

impl Hook {
    pub(crate) fn set(&self, act: impl Fn(&str) + Send + Sync + 'static) {
        *self.0.lock().unwrap() = Some(Arc::new(act));
    }

    pub(crate) fn clear(&self) {
        drop(self.0.lock().unwrap().take());
    }

    fn run(&self, call: &str) {
        struct Leave;
        impl Drop for Leave {
            fn drop(&mut self) {
                INSIDE.set(false);
            }
        }
        let act = self.0.lock().unwrap().clone();
        if let Some(act) = act.filter(|_| !INSIDE.replace(true)) {
            let _leave = Leave;
            act(call);
        }
    }
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hook")
    }
}

/// A simulated device that runs a hook before each of its calls.
#[derive(Debug, Clone)]
pub(crate) struct Hooked {
    pub(crate) inner: SimDevice,
    pub(crate) hook: Hook,
}

impl Hooked {
    pub(crate) fn new(inner: SimDevice) -> Self {
        Self { inner, hook: Hook::default() }
    }

    fn wrap(&self, inner: Box<dyn Memory>) -> Box<dyn Memory> {
        Box::new(HookedMemory { inner, hook: self.hook.clone() })
    }
}

impl Device for Hooked {
    fn name(&self) -> &str {
        "hooked"
    }

    fn limits(&self) -> DeviceLimits {
        self.hook.run("limits");
        Device::limits(&self.inner)
    }

    fn create_heap(&self, request: &HeapRequest) -> Result<Box<dyn Memory>, DeviceError> {
        self.hook.run("create_heap");
        self.inner.create_heap(request).map(|memory| self.wrap(memory))
    }

    fn allocate(&self, size: u64, align: u64) -> Result<Box<dyn Memory>, DeviceError> {
        self.hook.run("allocate");
        self.inner.allocate(size, align).map(|memory| self.wrap(memory))
    }

    fn objects(&self) -> Option<ObjectCount> {
        self.hook.run("objects");
        self.inner.objects()
    }
}

#[derive(Debug)]
struct HookedMemory {
    inner: Box<dyn Memory>,
    hook: Hook,
}

// SAFETY: it owns the memory that it wraps, and describes only that.
unsafe impl Memory for HookedMemory {
    fn device_address(&self) -> u64 {
        self.inner.device_address()
    }

    fn size(&self) -> u64 {
        self.inner.size()
    }

    fn host_ptr(&self) -> Option<NonNull<u8>> {
        self.inner.host_ptr()
    }

    unsafe fn commit(&self, range: Range<u64>) -> Result<(), DeviceError> {
        self.hook.run("commit");
        // SAFETY: the caller keeps this function's contract.
        unsafe { self.inner.commit(range) }
    }

    unsafe fn decommit(&self, range: Range<u64>) -> Result<(), DeviceError> {
        self.hook.run("decommit");
        // SAFETY: the caller keeps this function's contract.
        unsafe { self.inner.decommit(range) }
    }

    unsafe fn warm(&self, range: Range<u64>) -> Result<(), DeviceError> {
        self.hook.run("warm");
        // SAFETY: the caller keeps this function's contract.
        unsafe { self.inner.warm(range) }
    }

    unsafe fn fill(&self, range: Range<u64>, byte: u8) -> Result<(), DeviceError> {
        self.hook.run("fill");
        // SAFETY: the caller keeps this function's contract.
        unsafe { self.inner.fill(range, byte) }
    }

    unsafe fn copy_from(&self, at: u64, from: &dyn Memory, range: Range<u64>) -> Result<(), DeviceError> {
        self.hook.run("copy_from");
        let from = from.as_any().downcast_ref::<Self>().expect("memory of the same device");
        // SAFETY: the caller keeps this function's contract.
        unsafe { self.inner.copy_from(at, &*from.inner, range) }
    }

    unsafe fn set_volatile(&self, volatile: bool) -> Result<Contents, DeviceError> {
        self.hook.run("set_volatile");
        // SAFETY: the caller keeps this function's contract.
        unsafe { self.inner.set_volatile(volatile) }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for HookedMemory {
    fn drop(&mut self) {
        self.hook.run("drop");
    }
}

/// A queue that runs a hook whenever a thread reads its counter or waits for it.
#[derive(Debug, Default)]
pub(crate) struct HookedQueue {
    pub(crate) counter: SimQueue,
    pub(crate) hook: Hook,
}

impl Queue for HookedQueue {
    fn completed(&self) -> Result<u64, DeviceError> {
        self.hook.run("completed");
        self.counter.completed()
    }

    fn wait(&self, value: u64, timeout: Duration) -> Result<bool, DeviceError> {
        self.hook.run("wait");
        self.counter.wait(value, timeout)
    }
}

/// A subscriber that runs a hook at each line of the log, and keeps the lines.
#[derive(Debug, Clone, Default)]
pub(crate) struct Listener {
    pub(crate) hook: Hook,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Listener {
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }
}

struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

impl Subscriber for Listener {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut message = Message(String::new());
        event.record(&mut message);
        self.lines.lock().unwrap().push(message.0.clone());
        self.hook.run(&message.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
