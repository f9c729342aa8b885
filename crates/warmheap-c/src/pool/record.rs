//! Recording: the requests of a program, written as a trace.

use std::ffi::c_char;

use warmheap_trace::{Recorder, TraceError, TraceWriter};

use super::wh_pool;
use crate::status::{Failure, guarded, put, wh_status};
use crate::tables;
use crate::text::given;

impl From<TraceError> for Failure {
    fn from(error: TraceError) -> Self {
        Self::new(wh_status::WH_FILE_ERROR, error.to_string())
    }
}

/// Writes the requests to the pool to a trace at `path` from now on, until `wh_pool_stop_recording`. The end of
/// the name decides the compression: `.csv`, `.csv.gz`, `.csv.zst`. Buffers can do what they can do without.
/// A recording of the pool that runs already goes on, and this call returns `WH_WRONG_ORDER`. Since 0.2.
///
/// # Safety
/// `path` is null or ends with a zero byte.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wh_pool_record(pool: wh_pool, path: *const c_char) -> wh_status {
    guarded(|| {
        let (library, recorder) = tables::pool_and_recorder(pool.id)?;
        // SAFETY: the caller keeps this function's contract.
        let path = unsafe { given(path, "path") }?;
        if recorder.is_some() {
            return Err(running());
        }
        let recorder = Recorder::new(library, TraceWriter::create(path)?);
        match tables::set_recorder(pool.id, recorder)? {
            None => Ok(()),
            Some(refused) => {
                // Another thread was first. The empty file ends here.
                let _ = refused.finish();
                Err(running())
            }
        }
    })
}

fn running() -> Failure {
    Failure::order("the pool is being recorded already; stop that recording first")
}

/// Ends the trace of `wh_pool_record` and writes its number of events to `events`, which may be null. Without
/// a recording it returns `WH_WRONG_ORDER`. A write that failed meanwhile is reported here, and the trace then
/// ends before it. Closing the pool ends its recording, too. Since 0.2.
///
/// # Safety
/// `events` is null or has room for the result.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wh_pool_stop_recording(pool: wh_pool, events: *mut u64) -> wh_status {
    guarded(|| {
        tables::pool(pool.id)?;
        let recorder = tables::take_recorder(pool.id);
        let recorder = recorder.ok_or_else(|| Failure::order("the pool is not being recorded"))?;
        let number = recorder.finish()?;
        if events.is_null() {
            return Ok(());
        }
        // SAFETY: the caller keeps this function's contract.
        unsafe { put(events, "events", number) }
    })
}
