//! The arguments of calls. One that is of the wrong type or has an impossible value is an error of the
//! package, which names the argument.
//!
//! There is a function for each argument that some method takes. A method names it with `from_py_with`.

use std::path::PathBuf;
use std::time::Duration;

use pyo3::PyTypeInfo;
use pyo3::conversion::FromPyObjectOwned;
use pyo3::exceptions::{PyOverflowError, PyTypeError, PyUnicodeEncodeError};
use pyo3::prelude::*;
use pyo3::types::PyMapping;

use super::errors::Class;

/// The longest wait, some hundred years. A longer one would be the same.
const FOR_EVER: Duration = Duration::from_secs(1 << 32);
/// The most threads of a replay.
const MOST_THREADS: usize = 1024;

macro_rules! arguments {
    ($($function:ident: $kind:ident($name:literal) -> $type:ty;)*) => {
        $(pub(crate) fn $function(object: &Bound<'_, PyAny>) -> PyResult<$type> {
            $kind($name, object)
        })*
    };
}

arguments! {
    size: whole("size") -> u64;
    align: whole("align") -> u64;
    growable: whole("growable") -> u64;
    target: whole("target") -> u64;
    operation_id: whole("operation_id") -> u64;
    timeout_ms: whole("timeout_ms") -> u64;
    source_size: whole("source_size") -> u64;
    source_offset: whole("source_offset") -> u64;
    dest_size: whole("dest_size") -> u64;
    dest_offset: whole("dest_offset") -> u64;
    quota: maybe_whole("quota") -> Option<u64>;
    model_mb: maybe_whole("model_mb") -> Option<u64>;
    ram_gb: maybe_whole("ram_gb") -> Option<u64>;
    rounds: count("rounds") -> usize;
    threads: few("threads") -> usize;
    stream: maybe_count("stream") -> Option<usize>;
    zeroed: flag("zeroed") -> bool;
    fallback: flag("fallback") -> bool;
    may_move: flag("move") -> bool;
    environment: flag("environment") -> bool;
    lenient: flag("lenient") -> bool;
    verify: flag("verify") -> bool;
    copy: maybe_flag("copy") -> Option<bool>;
    tag: maybe_text("tag") -> Option<String>;
    named_tag: text("tag") -> String;
    device: text("device") -> String;
    pool_name: text("pool") -> String;
    yaml: text("text") -> String;
    json: text("text") -> String;
    patience: maybe_seconds("wait") -> Option<Duration>;
    timeout: seconds("timeout") -> Duration;
    max_seconds: maybe_seconds("max_seconds") -> Option<Duration>;
    max_mb: maybe_mib("max_mb") -> Option<u64>;
    sizes: maybe_bytes("sizes") -> Option<Vec<u64>>;
    sizes_mb: maybe_sizes("sizes_mb") -> Option<Vec<u64>>;
    path: path_of("path") -> PathBuf;
    max_version: maybe_pair("max_version") -> Option<(u32, u32)>;
    dl_device: maybe_pair("dl_device") -> Option<(i32, i32)>;
}

/// Returns an object of a class. Each class of the package has a function that uses this.
pub(crate) fn instance<'py, T: PyTypeInfo>(
    name: &str,
    allowed: &str,
    object: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, T>> {
    object.cast::<T>().cloned().map_err(|_| wrong(name, object, allowed))
}

/// Returns a dict, or another mapping.
pub(crate) fn mapping<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyMapping>> {
    instance("the argument", "a dict", object)
}

pub(crate) fn callback(object: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    callable("callback", object)
}

pub(crate) fn completion(object: &Bound<'_, PyAny>) -> PyResult<Option<Py<PyAny>>> {
    maybe(object, |object| callable("completion", object))
}

fn callable(name: &str, object: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    if object.is_callable() { Ok(object.clone().unbind()) } else { Err(wrong(name, object, "callable")) }
}

/// Returns the error for an object of the wrong type.
#[cold]
pub(crate) fn wrong(name: &str, object: &Bound<'_, PyAny>, allowed: &str) -> PyErr {
    let class = object.get_type().name().map_or_else(|_| "object".to_owned(), |name| name.to_string());
    Class::Argument.error(format_args!("{name} is of type {class}; it must be {allowed}"))
}

/// Returns the error for an object of the right type that has a value which nothing can have.
#[cold]
fn impossible(name: &str, object: &Bound<'_, PyAny>, allowed: &str) -> PyErr {
    let shown = object.repr().map(|text| text.to_string_lossy().chars().take(60).collect());
    let shown: String = shown.unwrap_or_else(|_| "a number of thousands of digits".to_owned());
    Class::Request.error(format_args!("{name} is {shown}; it must be {allowed}"))
}

/// Converts. What the object's own methods raise goes on as it is.
fn convert<'py, T: FromPyObjectOwned<'py>>(
    name: &str,
    object: &Bound<'py, PyAny>,
    allowed: &str,
) -> PyResult<T> {
    let py = object.py();
    object.extract::<T>().map_err(|error| {
        let error: PyErr = error.into();
        if error.is_instance_of::<PyOverflowError>(py) || error.is_instance_of::<PyUnicodeEncodeError>(py) {
            impossible(name, object, allowed)
        } else if error.is_instance_of::<PyTypeError>(py) {
            wrong(name, object, allowed)
        } else {
            error
        }
    })
}

/// Converts what may be `None`.
fn maybe<T>(
    object: &Bound<'_, PyAny>,
    convert: impl FnOnce(&Bound<'_, PyAny>) -> PyResult<T>,
) -> PyResult<Option<T>> {
    if object.is_none() { Ok(None) } else { convert(object).map(Some) }
}

fn whole(name: &str, object: &Bound<'_, PyAny>) -> PyResult<u64> {
    convert(name, object, "a whole number from 0 to 18446744073709551615")
}

fn maybe_whole(name: &str, object: &Bound<'_, PyAny>) -> PyResult<Option<u64>> {
    maybe(object, |object| whole(name, object))
}

fn count(name: &str, object: &Bound<'_, PyAny>) -> PyResult<usize> {
    convert(name, object, "a whole number from 0")
}

fn few(name: &str, object: &Bound<'_, PyAny>) -> PyResult<usize> {
    let number = count(name, object)?;
    if number <= MOST_THREADS {
        Ok(number)
    } else {
        Err(impossible(name, object, &format!("a whole number from 0 to {MOST_THREADS}")))
    }
}

fn maybe_count(name: &str, object: &Bound<'_, PyAny>) -> PyResult<Option<usize>> {
    maybe(object, |object| count(name, object))
}

fn flag(name: &str, object: &Bound<'_, PyAny>) -> PyResult<bool> {
    convert(name, object, "True or False")
}

fn maybe_flag(name: &str, object: &Bound<'_, PyAny>) -> PyResult<Option<bool>> {
    maybe(object, |object| flag(name, object))
}

fn text(name: &str, object: &Bound<'_, PyAny>) -> PyResult<String> {
    convert(name, object, "a text of whole characters")
}

fn maybe_text(name: &str, object: &Bound<'_, PyAny>) -> PyResult<Option<String>> {
    maybe(object, |object| text(name, object))
}

fn path_of(name: &str, object: &Bound<'_, PyAny>) -> PyResult<PathBuf> {
    convert(name, object, "the path of a file")
}

fn seconds(name: &str, object: &Bound<'_, PyAny>) -> PyResult<Duration> {
    const ALLOWED: &str = "a finite number of seconds, 0 or more";
    let number: f64 = convert(name, object, ALLOWED)?;
    if number.is_finite() && number >= 0.0 {
        Ok(Duration::try_from_secs_f64(number).unwrap_or(FOR_EVER).min(FOR_EVER))
    } else {
        Err(impossible(name, object, ALLOWED))
    }
}

fn maybe_seconds(name: &str, object: &Bound<'_, PyAny>) -> PyResult<Option<Duration>> {
    maybe(object, |object| seconds(name, object))
}

/// Converts MiB to bytes.
fn mib(name: &str, object: &Bound<'_, PyAny>) -> PyResult<u64> {
    const ALLOWED: &str = "a finite number of MiB, 0 or more";
    let number: f64 = convert(name, object, ALLOWED)?;
    if number.is_finite() && number >= 0.0 {
        Ok((number * warmheap::config::MIB as f64) as u64)
    } else {
        Err(impossible(name, object, ALLOWED))
    }
}

fn maybe_mib(name: &str, object: &Bound<'_, PyAny>) -> PyResult<Option<u64>> {
    maybe(object, |object| mib(name, object))
}

fn maybe_sizes(name: &str, object: &Bound<'_, PyAny>) -> PyResult<Option<Vec<u64>>> {
    maybe(object, |object| {
        let items: Vec<Bound<'_, PyAny>> = convert(name, object, "a sequence of numbers")?;
        items.iter().map(|item| mib(name, item)).collect()
    })
}

/// Converts numbers of bytes.
fn maybe_bytes(name: &str, object: &Bound<'_, PyAny>) -> PyResult<Option<Vec<u64>>> {
    maybe(object, |object| {
        let items: Vec<Bound<'_, PyAny>> = convert(name, object, "a sequence of whole numbers")?;
        items.iter().map(|item| whole(name, item)).collect()
    })
}

/// Converts two whole numbers.
fn maybe_pair<'py, T>(name: &str, object: &Bound<'py, PyAny>) -> PyResult<Option<T>>
where
    T: FromPyObjectOwned<'py>,
{
    if object.is_none() { Ok(None) } else { convert(name, object, "a pair of whole numbers").map(Some) }
}
