//! A full fence on every thread of the process, without `membarrier`. The calling thread visits each
//! processor on which any thread of the process may run.
//!
//! On each visit, the system stops the thread that ran there. Such a context switch is a full fence on
//! every architecture; `membarrier` itself relies on that. A thread that moves to another processor
//! meanwhile is switched too, and so is a thread that begins. A visit takes up to milliseconds. This module
//! owns nothing, and restores the processors on which the calling thread may run.
#![forbid(unsafe_code)]

use std::fs;

use rustix::io::Errno;
use rustix::thread::{CpuSet, Pid, sched_getaffinity, sched_setaffinity};

/// Makes every thread of the process pass a context switch. The error says what the system refuses.
pub(super) fn switch_all() -> Result<(), String> {
    let refused = |call: &str| format!("{call} is refused, too");
    let mine = sched_getaffinity(None).map_err(|error| refused(&format!("sched_getaffinity ({error})")))?;
    let all = all_threads().ok_or_else(|| refused("reading /proc/self/task"))?;
    let visit = |place| {
        let mut only = CpuSet::new();
        only.set(place);
        sched_setaffinity(None, &only)
    };
    let mut places = (0..CpuSet::MAX_CPU).filter(|place| all.is_set(*place));
    let visited = places.try_for_each(visit);
    // The thread had this set before, so the system accepts it again.
    let _ = sched_setaffinity(None, &mine);
    visited.map_err(|error| refused(&format!("sched_setaffinity ({error})")))
}

/// Returns the processors on which threads of this process may run.
fn all_threads() -> Option<CpuSet> {
    let mut all = CpuSet::new();
    for entry in fs::read_dir("/proc/self/task").ok()? {
        let thread = Pid::from_raw(entry.ok()?.file_name().to_str()?.parse().ok()?);
        match sched_getaffinity(Some(thread?)) {
            Ok(set) => {
                (0..CpuSet::MAX_CPU).filter(|place| set.is_set(*place)).for_each(|place| all.set(place))
            }
            // The thread has ended.
            Err(Errno::SRCH) => {}
            Err(_) => return None,
        }
    }
    Some(all)
}
