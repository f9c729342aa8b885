//! The whole state of the double, behind one lock.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use cudarc::driver::sys::CUresult;

/// The granule of physical memory.
pub(crate) const GRANULE: u64 = 2 << 20;
/// The number of devices.
pub(crate) const DEVICES: usize = 2;

/// The settings that tests can change before and during a run.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) driver_version: i32,
    /// The bytes of memory of each device.
    pub(crate) memory: u64,
    pub(crate) virtual_memory: bool,
    pub(crate) stream_writes: bool,
}

/// A reserved address range.
#[derive(Debug)]
pub(crate) struct Reservation {
    pub(crate) size: u64,
    /// The mappings by their start addresses.
    pub(crate) mappings: BTreeMap<u64, Mapping>,
}

#[derive(Debug, Clone)]
pub(crate) struct Mapping {
    pub(crate) size: u64,
    pub(crate) handle: u64,
    pub(crate) accessible: bool,
}

/// A physical allocation. It is alive while a handle or a mapping holds it.
#[derive(Debug, Clone)]
pub(crate) struct Physical {
    pub(crate) device: usize,
    pub(crate) size: u64,
    pub(crate) released: bool,
    pub(crate) mapped: bool,
}

/// The work of one stream that has not run, in order. An item is an address and a value to write, or a
/// callback.
#[derive(Debug, Default)]
pub(crate) struct StreamState {
    pub(crate) held: bool,
    pub(crate) capturing: bool,
    pub(crate) pending: Vec<Work>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Work {
    Write { address: u64, value: u64 },
    Call { function: usize, data: usize },
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) settings: Settings,
    pub(crate) initialised: bool,
    pub(crate) retained: [i64; DEVICES],
    pub(crate) used: [u64; DEVICES],
    pub(crate) blocks: HashMap<u64, (u64, usize)>,
    pub(crate) host_blocks: HashMap<u64, u64>,
    pub(crate) reservations: BTreeMap<u64, Reservation>,
    pub(crate) physical: HashMap<u64, Physical>,
    pub(crate) next_handle: u64,
    pub(crate) streams: HashMap<usize, StreamState>,
    pub(crate) calls: HashMap<&'static str, u64>,
    /// The calls to fail: the function's name, the number of the call from now on, and the status.
    pub(crate) failures: Vec<(String, u64, CUresult)>,
    pub(crate) violations: Vec<String>,
}

static STATE: Mutex<Option<State>> = Mutex::new(None);

/// The state, created at first use.
pub(crate) struct Locked(MutexGuard<'static, Option<State>>);

pub(crate) fn lock() -> Locked {
    let mut guard = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    guard.get_or_insert_with(State::new);
    Locked(guard)
}

impl std::ops::Deref for Locked {
    type Target = State;
    fn deref(&self) -> &State {
        self.0.as_ref().expect("made by lock()")
    }
}

impl std::ops::DerefMut for Locked {
    fn deref_mut(&mut self) -> &mut State {
        self.0.as_mut().expect("made by lock()")
    }
}

impl State {
    fn new() -> Self {
        Self {
            settings: Settings {
                driver_version: 13_000,
                memory: 64 << 30,
                virtual_memory: true,
                stream_writes: true,
            },
            initialised: false,
            retained: [0; DEVICES],
            used: [0; DEVICES],
            blocks: HashMap::new(),
            host_blocks: HashMap::new(),
            reservations: BTreeMap::new(),
            physical: HashMap::new(),
            next_handle: 1,
            streams: HashMap::new(),
            calls: HashMap::new(),
            failures: Vec::new(),
            violations: Vec::new(),
        }
    }

    /// Counts a call. Returns an error if the test made this call fail.
    pub(crate) fn enter(&mut self, call: &'static str) -> Result<(), CUresult> {
        *self.calls.entry(call).or_default() += 1;
        if !self.initialised && call != "cuInit" {
            return self.broken(call, "before cuInit", CUresult::CUDA_ERROR_NOT_INITIALIZED);
        }
        let due = self.failures.iter_mut().find(|(name, ..)| name == call);
        if let Some((_, left, status)) = due {
            *left -= 1;
            if *left == 0 {
                let status = *status;
                self.failures.retain(|(_, left, _)| *left > 0);
                return Err(status);
            }
        }
        Ok(())
    }

    /// Records a broken rule and returns the driver's error.
    pub(crate) fn broken<T>(&mut self, call: &str, rule: &str, status: CUresult) -> Result<T, CUresult> {
        self.violations.push(format!("{call}: {rule}"));
        Err(status)
    }

    /// Takes `size` bytes of a device's memory.
    pub(crate) fn take(&mut self, device: usize, size: u64) -> Result<(), CUresult> {
        if self.used[device] + size > self.settings.memory {
            return Err(CUresult::CUDA_ERROR_OUT_OF_MEMORY);
        }
        self.used[device] += size;
        Ok(())
    }

    /// Frees a physical allocation if nothing holds it any more.
    pub(crate) fn settle(&mut self, handle: u64) {
        let Some(physical) = self.physical.get(&handle) else {
            return;
        };
        if physical.released && !physical.mapped {
            self.used[physical.device] -= physical.size;
            self.physical.remove(&handle);
        }
    }
}

/// Converts a result to the driver's status.
pub(crate) fn status(result: Result<(), CUresult>) -> CUresult {
    result.err().unwrap_or(CUresult::CUDA_SUCCESS)
}
