//! Injected failures, and counts of calls.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use crate::device::DeviceError;

/// A kind of device call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// [`Device::create_heap`](crate::device::Device::create_heap).
    CreateHeap,
    /// [`Device::allocate`](crate::device::Device::allocate).
    Allocate,
    /// [`Memory::commit`](crate::device::Memory::commit).
    Commit,
    /// [`Memory::decommit`](crate::device::Memory::decommit).
    Decommit,
    /// [`Memory::warm`](crate::device::Memory::warm).
    Warm,
    /// [`Memory::fill`](crate::device::Memory::fill).
    Fill,
    /// [`Memory::copy_from`](crate::device::Memory::copy_from).
    Copy,
    /// [`Memory::set_volatile`](crate::device::Memory::set_volatile).
    SetVolatile,
}

impl Call {
    /// All kinds of call.
    pub const ALL: [Self; 8] = [
        Self::CreateHeap,
        Self::Allocate,
        Self::Commit,
        Self::Decommit,
        Self::Warm,
        Self::Fill,
        Self::Copy,
        Self::SetVolatile,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::CreateHeap => "create_heap",
            Self::Allocate => "allocate",
            Self::Commit => "commit",
            Self::Decommit => "decommit",
            Self::Warm => "warm",
            Self::Fill => "fill",
            Self::Copy => "copy",
            Self::SetVolatile => "set_volatile",
        }
    }
}

const ALWAYS: u64 = u64::MAX;

#[derive(Debug, Default)]
struct Fault {
    calls: AtomicU64,
    /// The calls until one fails; 0 means that none does.
    countdown: AtomicU64,
}

/// The fault of each kind of call.
#[derive(Debug, Default)]
pub(super) struct Faults([Fault; Call::ALL.len()]);

impl Faults {
    pub(super) fn fail(&self, call: Call, nth: u64) {
        self.0[call as usize].countdown.store(nth, Relaxed);
    }

    pub(super) fn fail_always(&self, call: Call) {
        self.fail(call, ALWAYS);
    }

    pub(super) fn heal(&self) {
        self.0.iter().for_each(|fault| fault.countdown.store(0, Relaxed));
    }

    pub(super) fn calls(&self, call: Call) -> u64 {
        self.0[call as usize].calls.load(Relaxed)
    }

    /// Counts a call, and fails it if a failure is injected for it.
    pub(super) fn check(&self, call: Call, bytes: u64) -> Result<(), DeviceError> {
        let fault = &self.0[call as usize];
        fault.calls.fetch_add(1, Relaxed);
        let step = |left: u64| match left {
            0 => None,
            ALWAYS => Some(ALWAYS),
            left => Some(left - 1),
        };
        match fault.countdown.fetch_update(Relaxed, Relaxed, step) {
            Ok(1 | ALWAYS) => Err(match call {
                Call::CreateHeap | Call::Allocate | Call::Commit => {
                    DeviceError::OutOfMemory { requested: bytes, available: None }
                }
                _ => DeviceError::Failed { call: call.name(), reason: "a failure was ordered".into() },
            }),
            _ => Ok(()),
        }
    }
}
