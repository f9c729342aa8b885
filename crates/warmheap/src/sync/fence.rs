//! A fence whose whole cost falls on the rare side.
//!
//! Two threads that each write one flag and read the other's need a full fence on both sides, or
//! both may miss the other's write. Where the system can interrupt every core on demand (Linux:
//! `membarrier`), the frequent side needs only to stop the compiler from reordering, and the rare
//! side pays microseconds. Elsewhere, and under `--cfg warmheap_symmetric`, both sides pay for an
//! ordinary fence.
//!
//! A sandbox that the program enters later may refuse `membarrier`. The rare side then tells the
//! frequent side to fence from now on, and has every thread of the process pass a context switch once,
//! which is a full fence (`cores`). After that, the frequent side has either published what it wrote
//! before, or reads that it must fence. Where the sandbox refuses that too, nothing can keep two threads
//! apart, and the process ends with a line on stderr.
#![cfg_attr(any(loom, warmheap_symmetric, not(target_os = "linux")), allow(dead_code))]

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

/// The fences of one lock: both of its sides use the same.
#[derive(Debug)]
pub(crate) struct Fences {
    /// [`Fences::heavy`] reaches every thread of the process, so [`Fences::light`] is free. Cleared once,
    /// for good.
    asymmetric: AtomicBool,
}

/// `membarrier` was refused after it had worked.
static REFUSED: AtomicBool = AtomicBool::new(false);

impl Fences {
    /// Registers the process where the system asks for that.
    pub(crate) fn detect() -> Self {
        Self { asymmetric: AtomicBool::new(!REFUSED.load(Relaxed) && system::register()) }
    }

    /// The frequent side.
    #[inline(always)]
    pub(crate) fn light(&self) {
        #[cfg(not(loom))]
        if self.asymmetric.load(Relaxed) {
            return std::sync::atomic::compiler_fence(std::sync::atomic::Ordering::SeqCst);
        }
        full();
    }

    /// The rare side: on return, every thread has either published what it wrote before its last
    /// [`Fences::light`], or will see what this thread wrote before this call.
    pub(crate) fn heavy(&self) {
        if self.asymmetric.load(Relaxed) && !system::interrupt_all() {
            self.demote();
        }
        full();
    }

    /// Has the frequent side fence from now on, and waits until every thread knows.
    #[cold]
    fn demote(&self) {
        REFUSED.store(true, Relaxed);
        self.asymmetric.store(false, Relaxed);
        full();
        if let Err(reason) = system::switch_all() {
            system::end(&reason);
        }
    }
}

#[cfg(all(target_os = "linux", not(any(loom, warmheap_symmetric))))]
mod system {
    use std::io::Write;
    use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

    use rustix::thread::{MembarrierCommand, membarrier};

    pub(super) use super::super::cores::switch_all;

    const UNKNOWN: u8 = 0;
    const NO: u8 = 1;
    const YES: u8 = 2;

    /// Whether the process may interrupt all cores that run it. Threads may find out at once: a lock that is
    /// waited for would be held for ever in the child of a fork.
    pub(super) fn register() -> bool {
        static REGISTERED: AtomicU8 = AtomicU8::new(UNKNOWN);
        if REGISTERED.load(Relaxed) == UNKNOWN {
            let registered = membarrier(MembarrierCommand::RegisterPrivateExpedited).is_ok();
            REGISTERED.store(if registered && interrupt_all() { YES } else { NO }, Relaxed);
        }
        REGISTERED.load(Relaxed) == YES
    }

    pub(super) fn interrupt_all() -> bool {
        membarrier(MembarrierCommand::PrivateExpedited).is_ok()
    }

    /// The one place where this library prints and ends the process: going on would hand out memory twice.
    pub(super) fn end(reason: &str) -> ! {
        let _ = writeln!(
            std::io::stderr(),
            "warmheap: the system call membarrier is refused since the pool was made, and {reason}: threads can \
             no longer be kept apart, so this process ends. Allow membarrier or sched_setaffinity in the sandbox, \
             or enter it before the first pool is made."
        );
        std::process::abort()
    }
}

#[cfg(any(loom, warmheap_symmetric, not(target_os = "linux")))]
mod system {
    pub(super) fn register() -> bool {
        false
    }

    pub(super) fn interrupt_all() -> bool {
        true
    }

    pub(super) fn switch_all() -> Result<(), String> {
        Ok(())
    }

    pub(super) fn end(_: &str) {}
}

#[cfg(not(loom))]
#[inline(always)]
fn full() {
    std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
}

#[cfg(loom)]
fn full() {
    loom::sync::atomic::fence(loom::sync::atomic::Ordering::SeqCst);
}
