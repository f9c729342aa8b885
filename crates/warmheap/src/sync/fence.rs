//! A fence whose whole cost falls on the rare side.
//!
//! Two threads that each write one flag and read the other's need a full fence on both sides, or
//! both may miss the other's write. Where the system can interrupt every core on demand (Linux:
//! `membarrier`), the frequent side needs only to stop the compiler from reordering, and the rare
//! side pays microseconds. Elsewhere, and under `--cfg warmheap_symmetric`, both sides pay for an
//! ordinary fence.

/// Whether [`light`] may be free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fences {
    /// [`heavy`] reaches every thread of the process.
    #[cfg_attr(any(loom, warmheap_symmetric, not(target_os = "linux")), allow(dead_code))]
    Asymmetric,
    /// Both sides fence.
    Symmetric,
}

impl Fences {
    /// Registers the process where the system asks for that; called before the first use.
    #[cfg(all(target_os = "linux", not(any(loom, warmheap_symmetric))))]
    pub(crate) fn detect() -> Self {
        use rustix::thread::{MembarrierCommand, membarrier};
        use std::sync::OnceLock;
        static DETECTED: OnceLock<Fences> = OnceLock::new();
        *DETECTED.get_or_init(|| {
            let registered = membarrier(MembarrierCommand::RegisterPrivateExpedited);
            if registered.is_ok() && membarrier(MembarrierCommand::PrivateExpedited).is_ok() {
                Self::Asymmetric
            } else {
                Self::Symmetric
            }
        })
    }

    #[cfg(any(loom, warmheap_symmetric, not(target_os = "linux")))]
    pub(crate) fn detect() -> Self {
        Self::Symmetric
    }

    /// The frequent side.
    #[inline(always)]
    pub(crate) fn light(self) {
        match self {
            #[cfg(not(loom))]
            Self::Asymmetric => std::sync::atomic::compiler_fence(std::sync::atomic::Ordering::SeqCst),
            _ => full(),
        }
    }

    /// The rare side: on return, every thread has either published what it wrote before its last
    /// [`light`], or will see what this thread wrote before this call.
    pub(crate) fn heavy(self) {
        #[cfg(all(target_os = "linux", not(any(loom, warmheap_symmetric))))]
        if self == Self::Asymmetric {
            use rustix::thread::{MembarrierCommand, membarrier};
            // Registration succeeded, after which the call is documented not to fail.
            let done = membarrier(MembarrierCommand::PrivateExpedited);
            debug_assert!(done.is_ok(), "{done:?}");
        }
        full();
    }
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
