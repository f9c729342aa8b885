//! Which line of Python is calling.
//!
//! A line's number costs a walk through its function's table, so it is looked up once for each
//! place: a place is a code object and an offset in it, and the last few hundred of them are kept.
//! The code objects among them are kept alive, so that no other is ever found at their address.
#![allow(unsafe_code)]

use std::ffi::c_int;
use std::sync::{LazyLock, Mutex};

use pyo3::ffi::{PyEval_GetFrame, PyFrame_GetLineNumber, PyFrameObject, PyObject};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyString;
use warmheap::CallSite;

unsafe extern "C" {
    /// Of the stable interface since 3.10; 3.9 exports it all the same.
    fn PyFrame_GetCode(frame: *mut PyFrameObject) -> *mut PyObject;
}

/// Places kept; a power of two.
const PLACES: usize = 512;

struct Place {
    code: Py<PyAny>,
    offset: c_int,
    site: CallSite,
}

static KNOWN: LazyLock<Mutex<Vec<Option<Place>>>> =
    LazyLock::new(|| Mutex::new((0..PLACES).map(|_| None).collect()));
/// Of calls that come from no Python code.
static NOWHERE: LazyLock<CallSite> = LazyLock::new(|| CallSite::foreign("<unknown>", 0));

/// Names of attributes.
struct Names {
    lasti: Py<PyString>,
    filename: Py<PyString>,
}

static NAMES: PyOnceLock<Names> = PyOnceLock::new();

fn names(py: Python<'_>) -> &Names {
    let name = |text| PyString::intern(py, text).unbind();
    NAMES.get_or_init(py, || Names { lasti: name("f_lasti"), filename: name("co_filename") })
}

/// Makes the names, as the module is loaded. The first use would give up the interpreter's lock, and a
/// fork at that moment would leave its child waiting for them.
pub(crate) fn prepare(py: Python<'_>) {
    names(py);
}

/// The line of Python that called.
pub(crate) fn caller(py: Python<'_>) -> CallSite {
    // SAFETY: attached; the answer is null or borrowed from the thread, and lives as long as the
    // Python function that called us.
    let frame = unsafe { PyEval_GetFrame() };
    if frame.is_null() {
        return *NOWHERE;
    }
    // SAFETY: a frame is an object; a new reference is made.
    let object = unsafe { Bound::from_borrowed_ptr(py, frame.cast()) };
    // SAFETY: as above; the answer is a new reference and never null.
    let code = unsafe { Bound::from_owned_ptr(py, PyFrame_GetCode(frame)) };
    let offset = object.getattr(&names(py).lasti).and_then(|offset| offset.extract()).unwrap_or(-1);
    // Always free: it is taken with the interpreter's lock held, and nothing waits meanwhile.
    let Ok(mut known) = KNOWN.try_lock() else { return *NOWHERE };
    let place = &mut known[(code.as_ptr().addr() >> 4).wrapping_add(offset as usize / 2) % PLACES];
    match place {
        Some(place) if place.code.is(&code) && place.offset == offset => place.site,
        _ => {
            // SAFETY: attached, with a frame that lives.
            let line = unsafe { PyFrame_GetLineNumber(frame) };
            let site = look_up(&code, line).unwrap_or(*NOWHERE);
            let evicted = place.replace(Place { code: code.unbind(), offset, site });
            // A code object's end may run Python code, which may come back here.
            drop(known);
            drop(evicted);
            site
        }
    }
}

#[cold]
fn look_up(code: &Bound<'_, PyAny>, line: c_int) -> Option<CallSite> {
    let file = code.getattr(&names(code.py()).filename).ok()?;
    Some(CallSite::foreign(&file.extract::<String>().ok()?, u32::try_from(line).unwrap_or(0)))
}
