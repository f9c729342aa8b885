//! The host device: mapped pages of this process.
//!
//! ```
//! use std::sync::Arc;
//! use warmheap::device::host::HostDevice;
//! use warmheap::{Pool, PoolConfig};
//!
//! // The device has at most 64 MiB, and the pool takes what it needs of that.
//! let pool = Pool::new(Arc::new(HostDevice::with_budget(64 << 20)), PoolConfig::elastic())?;
//! assert_eq!(pool.reserved_bytes(), 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Heaps are anonymous mappings on 2 MiB boundaries, and the device asks for transparent huge pages. A fixed
//! heap is mapped whole. An elastic heap reserves addresses and opens pages as they are committed. A fallback
//! buffer behaves as a driver's allocation: it is mapped, every page is touched, and it is unmapped on free,
//! once per buffer.
//!
//! All memory system calls are in `mapping`. Above it, unsafe code only passes the callers' promises on.
#![allow(unsafe_code)]

mod available;
mod mapping;
mod memory;

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};

use mapping::Mapping;
use memory::HostMemory;

use super::memory::sensible;
use super::{Bound, BoundBytes, Device, DeviceError, DeviceLimits, HeapKind, HeapRequest, Memory};

const MIB: u64 = 1 << 20;

/// The step in which elastic heaps are committed: the size of a huge page.
const GRANULARITY: u64 = 2 * MIB;

/// The largest heap or buffer: 1/128 of a 47-bit address space.
const LARGEST: u64 = 1 << 40;

/// The share of the addresses that a limit leaves which one heap may reserve. The program needs the rest.
const ADDRESS_SHARE: u64 = 8;

/// Memory of this process, on any Unix.
///
/// The device refuses more than the machine has left, with the figures: more than the system has free, than
/// the control groups of the process leave, or than its limits (`RLIMIT_AS`, `RLIMIT_DATA`). It asks the
/// system before each large request, and between small ones after every 64 MiB.
///
/// ```
/// use warmheap::device::{Device, host::HostDevice};
/// let host = HostDevice::new();
/// let buffer = host.allocate(4096, 64)?;
/// assert!(buffer.host_ptr().is_some());
/// # Ok::<(), warmheap::device::DeviceError>(())
/// ```
#[derive(Debug)]
pub struct HostDevice {
    account: Arc<Account>,
    largest_heap: u64,
}

impl Default for HostDevice {
    fn default() -> Self {
        Self::new()
    }
}

impl HostDevice {
    /// Returns a device that may take all memory that the system gives.
    #[must_use]
    pub fn new() -> Self {
        Self { account: Arc::default(), largest_heap: largest_heap() }
    }

    /// Returns a device that takes at most `bytes` at a time.
    #[must_use]
    pub fn with_budget(bytes: u64) -> Self {
        let account = Account { budget: Some(bytes), ..Account::default() };
        Self { account: Arc::new(account), largest_heap: largest_heap() }
    }

    /// Returns the bytes that may still be taken: the rest of the budget, or what the system leaves.
    fn available(&self) -> Option<u64> {
        [self.account.rest(), available::pages(), available::addresses()].into_iter().flatten().min()
    }
}

/// Returns the bytes of the largest heap. With twice as many addresses as the machine has memory, a heap can
/// grow past addresses that were decommitted. More would take them from other pools and from the program. Where
/// the address space is small, or is nearly used up, a heap has a share of what is left.
fn largest_heap() -> u64 {
    let machine = available::machine().map(|bytes| bytes.saturating_mul(2).next_multiple_of(GRANULARITY));
    let share = available::addresses().map(|bytes| bytes / ADDRESS_SHARE / GRANULARITY * GRANULARITY);
    let bounds = [machine, share.map(|bytes| bytes.max(GRANULARITY))];
    let mut largest = bounds.into_iter().flatten().fold(LARGEST, u64::min);
    // Not every system tells how many addresses there are, and tools such as valgrind have fewer than it says.
    // One share is left for what the mapping itself needs.
    let shares = ADDRESS_SHARE - 1;
    while largest > GRANULARITY && Mapping::reserve(largest * shares, GRANULARITY).is_err() {
        largest = (largest / 2).next_multiple_of(GRANULARITY);
    }
    largest
}

/// The system is asked what it has before more than this is taken.
const UNSEEN: u64 = 64 * MIB;

/// The bytes taken by all memory of one device, and their budget.
#[derive(Debug, Default)]
struct Account {
    budget: Option<u64>,
    taken: AtomicU64,
    /// Bytes taken since the system was last asked what it has.
    unseen: AtomicU64,
    /// Held while a large buffer is asked for and populated. Two threads would otherwise be promised the same
    /// memory, and the kernel ends a process that it cannot give what it promised.
    large: Mutex<()>,
}

impl Account {
    fn rest(&self) -> Option<u64> {
        self.budget.map(|budget| budget.saturating_sub(self.taken.load(Relaxed)))
    }

    fn take(&self, bytes: u64) -> Result<(), DeviceError> {
        self.ask(bytes)?;
        let fits = |taken: u64| {
            taken.checked_add(bytes).filter(|sum| self.budget.is_none_or(|budget| *sum <= budget))
        };
        match self.taken.fetch_update(Relaxed, Relaxed, fits) {
            Ok(_) => Ok(()),
            Err(_) => Err(DeviceError::OutOfMemory { requested: bytes, available: self.rest() }),
        }
    }

    /// Returns an error if the machine does not have the memory.
    fn ask(&self, bytes: u64) -> Result<(), DeviceError> {
        let unseen = self.unseen.load(Relaxed).saturating_add(bytes);
        // Two threads that ask at the same time do no harm.
        self.unseen.store(if unseen < UNSEEN { unseen } else { 0 }, Relaxed);
        let available = if unseen < UNSEEN { None } else { available::pages() };
        match available.filter(|available| bytes > *available) {
            Some(_) => Err(DeviceError::OutOfMemory { requested: bytes, available }),
            None => Ok(()),
        }
    }

    fn give(&self, bytes: u64) {
        self.taken.fetch_sub(bytes, Relaxed);
    }
}

impl Device for HostDevice {
    fn name(&self) -> &str {
        "host"
    }

    fn limits(&self) -> DeviceLimits {
        DeviceLimits {
            alignment: 256,
            granularity: GRANULARITY,
            largest_heap: self.largest_heap,
            largest_buffer: LARGEST,
            budget: self.account.budget,
            available: self.available(),
            elastic: true,
            host_visible: true,
            zeroed: true,
        }
    }

    fn create_heap(&self, request: &HeapRequest) -> Result<Box<dyn Memory>, DeviceError> {
        sensible(request.size, GRANULARITY)?;
        check_size(request.size, self.largest_heap)?;
        let fixed = request.kind == HeapKind::Fixed;
        let mapping = Mapping::reserve(request.size, GRANULARITY)?;
        let memory = HostMemory::new(mapping, request.kind, Arc::clone(&self.account));
        if fixed {
            memory.open(0..request.size)?;
        }
        Ok(Box::new(memory))
    }

    fn allocate(&self, size: u64, align: u64) -> Result<Box<dyn Memory>, DeviceError> {
        sensible(size, align)?;
        check_size(size, LARGEST)?;
        let memory =
            HostMemory::new(Mapping::reserve(size, align)?, HeapKind::Fixed, Arc::clone(&self.account));
        let _alone =
            (size >= UNSEEN).then(|| self.account.large.lock().unwrap_or_else(PoisonError::into_inner));
        memory.open(0..size)?;
        // SAFETY: the memory is open and new, so nothing else uses it.
        unsafe { memory.warm(0..size) }?;
        Ok(Box::new(memory))
    }

    fn bounds(&self) -> Vec<Bound> {
        let budget = self.account.budget.zip(self.account.rest());
        let budget = budget.map(|(limit, free)| BoundBytes { limit, free });
        let own = budget.map(|bytes| Bound { name: "budget", bytes: Some(bytes) });
        own.into_iter().chain(available::bounds()).collect()
    }
}

fn check_size(requested: u64, largest: u64) -> Result<(), DeviceError> {
    if requested > largest { Err(DeviceError::TooLarge { requested, largest }) } else { Ok(()) }
}
