//! A full fence on every thread of the process, without `membarrier`: the calling thread runs on each
//! processor once on which any thread of the process may run.
//!
//! To let it run there, the system takes off the processor whatever ran, and a context switch is a full
//! fence on every architecture: that is what `membarrier` itself relies on. A thread that escapes to
//! another processor meanwhile is switched, too, and so is one that begins. Slow: up to milliseconds for
//! each processor. Owns nothing; leaves the thread's own processors as they were.
#![forbid(unsafe_code)]

use std::fs;

use rustix::io::Errno;
use rustix::thread::{CpuSet, Pid, sched_getaffinity, sched_setaffinity};

/// Has every thread of the process pass a context switch. An error says what the system refuses.
pub(super) fn switch_all() -> Result<(), String> {
    let refused = |call: &str| format!("{call} is refused, too");
    let mine = sched_getaffinity(None).map_err(|error| refused(&format!("sched_getaffinity ({error})")))?;
    let all = all_threads().ok_or_else(|| refused("to look at /proc/self/task"))?;
    let visit = |place| {
        let mut only = CpuSet::new();
        only.set(place);
        sched_setaffinity(None, &only)
    };
    let mut places = (0..CpuSet::MAX_CPU).filter(|place| all.is_set(*place));
    let visited = places.try_for_each(visit);
    // The set was this thread's, so it may be again.
    let _ = sched_setaffinity(None, &mine);
    visited.map_err(|error| refused(&format!("sched_setaffinity ({error})")))
}

/// The processors on which threads of this process may run.
fn all_threads() -> Option<CpuSet> {
    let mut all = CpuSet::new();
    for entry in fs::read_dir("/proc/self/task").ok()? {
        let thread = Pid::from_raw(entry.ok()?.file_name().to_str()?.parse().ok()?);
        match sched_getaffinity(Some(thread?)) {
            Ok(set) => {
                (0..CpuSet::MAX_CPU).filter(|place| set.is_set(*place)).for_each(|place| all.set(place))
            }
            // It has ended.
            Err(Errno::SRCH) => {}
            Err(_) => return None,
        }
    }
    Some(all)
}
