//! A pair of fences whose whole cost falls on the rare side.
//!
//! If each of two threads writes one flag and reads the other's, both need a full fence. Without it, both
//! may miss the other's write. On Linux, `membarrier` interrupts every core on demand. There the frequent
//! side only keeps the compiler from reordering, and the rare side pays microseconds. Elsewhere, and under
//! `--cfg warmheap_symmetric`, both sides pay for an ordinary fence.
//!
//! The program may later enter a sandbox that refuses `membarrier`. Then the rare side tells the frequent
//! side to use a full fence from now on. It also makes every thread of the process pass a context switch,
//! which is a full fence (`cores`). After that, a thread on the frequent side has either published what it
//! wrote before, or reads that it must use a full fence. If the sandbox refuses this too, nothing can keep
//! two threads apart. The process then ends with a line on stderr.
#![cfg_attr(any(loom, shuttle, warmheap_symmetric, not(target_os = "linux")), allow(dead_code))]

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

/// The fences of one lock. Both of its sides use the same ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fences {
    /// [`Fences::heavy`] reaches every thread of the process, so [`Fences::light`] is free.
    Asymmetric,
    /// Both sides use a full fence.
    Symmetric,
}

/// Whether the system refused `membarrier` after it had worked.
static REFUSED: AtomicBool = AtomicBool::new(false);

impl Fences {
    /// Chooses the cheapest fences that work here. Registers the process where the system needs that.
    pub(crate) fn detect() -> Self {
        if !REFUSED.load(Relaxed) && system::register() { Self::Asymmetric } else { Self::Symmetric }
    }

    /// Fences on the frequent side.
    #[inline(always)]
    pub(crate) fn light(self) {
        match self {
            #[cfg(not(any(loom, shuttle)))]
            Self::Asymmetric => std::sync::atomic::compiler_fence(std::sync::atomic::Ordering::SeqCst),
            _ => full(),
        }
    }

    /// Fences on the rare side. On return, every thread has either published what it wrote before its last
    /// [`Fences::light`], or will see what this thread wrote before this call.
    ///
    /// Returns `false` if the system refuses that now. Then the frequent side must be told to use [`full`],
    /// and [`switch_all`] makes sure that it knows.
    pub(crate) fn heavy(self) -> bool {
        let done = self == Self::Symmetric || system::interrupt_all();
        full();
        done
    }
}

/// As [`Fences::heavy`], for a system that refuses that. Ends the process if the system refuses this too.
#[cold]
pub(crate) fn switch_all() {
    REFUSED.store(true, Relaxed);
    full();
    if let Err(reason) = system::switch_all() {
        system::end(&reason);
    }
    full();
}

#[cfg(all(target_os = "linux", not(any(loom, shuttle, warmheap_symmetric))))]
mod system {
    use std::io::Write;
    use std::sync::atomic::AtomicU8;
    use std::sync::atomic::Ordering::Relaxed;

    use rustix::thread::{MembarrierCommand, membarrier};

    pub(super) use super::super::cores::switch_all;

    const UNKNOWN: u8 = 0;
    const NO: u8 = 1;
    const YES: u8 = 2;

    /// Returns whether the process may interrupt all cores that run it. Several threads may find out at the
    /// same time. This uses no lock, because the child of a fork could inherit a held lock and wait for
    /// ever.
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

    /// Prints a line and ends the process. Nothing else in this library does either. Without fences, the
    /// pool would hand out memory twice.
    pub(super) fn end(reason: &str) -> ! {
        let _ = writeln!(
            std::io::stderr(),
            "warmheap: the system call membarrier worked when the pool was made and is refused now, and \
             {reason}: threads can no longer be kept apart, so this process ends. Allow membarrier or \
             sched_setaffinity in the sandbox, or enter the sandbox before the program makes its first pool."
        );
        std::process::abort()
    }
}

#[cfg(any(loom, shuttle, warmheap_symmetric, not(target_os = "linux")))]
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

/// A full fence, for either side.
#[inline(always)]
pub(crate) fn full() {
    super::fence(super::Ordering::SeqCst);
}
