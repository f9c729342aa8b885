//! Finds the line of Python that is calling.
//!
//! A line's number costs a walk through its function's table, so each place is looked up once. A place is a
//! code object and an offset in it, and the last few hundred places are kept. Their code objects are kept
//! alive, so that no other object is ever found at their address.
#![allow(unsafe_code)]

use std::ffi::c_int;
use std::sync::{LazyLock, Mutex};

use pyo3::ffi::{PyEval_GetFrame, PyFrame_GetLineNumber, PyFrameObject, PyObject};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyString;
use warmheap::CallSite;

unsafe extern "C" {
    /// The function is part of the stable interface since 3.10. 3.9 exports it as well.
    fn PyFrame_GetCode(frame: *mut PyFrameObject) -> *mut PyObject;
}

/// The number of places to keep, a power of two.
const PLACES: usize = 512;

struct Place {
    code: Py<PyAny>,
    offset: c_int,
    site: CallSite,
}

static KNOWN: LazyLock<Mutex<Vec<Option<Place>>>> =
    LazyLock::new(|| Mutex::new((0..PLACES).map(|_| None).collect()));
/// The site of calls from no Python code.
static NOWHERE: LazyLock<CallSite> = LazyLock::new(|| CallSite::foreign("<unknown>", 0));

/// The names of attributes.
struct Names {
    lasti: Py<PyString>,
    filename: Py<PyString>,
}

static NAMES: PyOnceLock<Names> = PyOnceLock::new();

fn names(py: Python<'_>) -> &Names {
    let name = |text| PyString::intern(py, text).unbind();
    NAMES.get_or_init(py, || Names { lasti: name("f_lasti"), filename: name("co_filename") })
}

/// Makes the names while the module is loaded. The first use would give up the interpreter's lock, and the
/// child of a fork at that moment would wait for them.
pub(crate) fn prepare(py: Python<'_>) {
    names(py);
}

/// Returns the line of Python that is calling.
pub(crate) fn caller(py: Python<'_>) -> CallSite {
    // SAFETY: the thread is attached. The frame is null or borrowed from the thread, and lives as long as the
    // Python function that is calling.
    let frame = unsafe { PyEval_GetFrame() };
    if frame.is_null() {
        return *NOWHERE;
    }
    // SAFETY: a frame is an object, and this makes a new reference.
    let object = unsafe { Bound::from_borrowed_ptr(py, frame.cast()) };
    // SAFETY: as above. The result is a new reference and never null.
    let code = unsafe { Bound::from_owned_ptr(py, PyFrame_GetCode(frame)) };
    let offset = object.getattr(&names(py).lasti).and_then(|offset| offset.extract()).unwrap_or(-1);
    // The lock is always free: a thread takes it with the interpreter's lock held, and nothing waits
    // meanwhile.
    let Ok(mut known) = KNOWN.try_lock() else { return *NOWHERE };
    let place = &mut known[(code.as_ptr().addr() >> 4).wrapping_add(offset as usize / 2) % PLACES];
    match place {
        Some(place) if place.code.is(&code) && place.offset == offset => place.site,
        _ => {
            // SAFETY: the thread is attached, and the frame lives.
            let line = unsafe { PyFrame_GetLineNumber(frame) };
            let site = look_up(&code, line).unwrap_or(*NOWHERE);
            let evicted = place.replace(Place { code: code.unbind(), offset, site });
            // The end of a code object may run Python code, which may come back here.
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
