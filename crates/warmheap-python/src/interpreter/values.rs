//! Converts between JSON and Python. Figures, findings and settings all have a JSON form, so a field that the
//! library gains needs no line here.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{
    PyBool, PyByteArray, PyBytes, PyDict, PyFloat, PyInt, PyList, PyMapping, PyMemoryView, PyString,
};
use serde_json::{Map, Number, Value};

use super::errors::Class;

/// The most lists and dictionaries inside each other. No setting has more than three.
const DEPTH: usize = 16;

/// Returns the Python object for a JSON value: `dict`, `list`, `str`, `int`, `float`, `bool` or `None`.
pub(crate) fn to_python<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    Ok(match value {
        Value::Null => py.None().into_bound(py),
        Value::Bool(switch) => PyBool::new(py, *switch).to_owned().into_any(),
        Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(whole), _) => whole.into_pyobject(py)?.into_any(),
            (_, Some(whole)) => whole.into_pyobject(py)?.into_any(),
            _ => PyFloat::new(py, number.as_f64().unwrap_or(f64::NAN)).into_any(),
        },
        Value::String(text) => PyString::new(py, text).into_any(),
        Value::Array(items) => {
            let items = items.iter().map(|item| to_python(py, item)).collect::<PyResult<Vec<_>>>()?;
            PyList::new(py, items)?.into_any()
        }
        Value::Object(entries) => to_dict(py, entries)?.into_any(),
    })
}

/// Does the same as [`to_python`] for a JSON object.
pub(crate) fn to_dict<'py>(py: Python<'py>, entries: &Map<String, Value>) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for (key, value) in entries {
        dict.set_item(key, to_python(py, value)?)?;
    }
    Ok(dict)
}

/// Returns the JSON value of a Python object that may be a setting: a number, a text, a list, a dictionary.
pub(crate) fn from_python(object: &Bound<'_, PyAny>) -> PyResult<Value> {
    value(object, DEPTH)
}

/// Does the same as [`from_python`] for a mapping, whose keys are texts.
pub(crate) fn from_mapping(mapping: &Bound<'_, PyAny>) -> PyResult<Map<String, Value>> {
    entries(mapping, DEPTH)
}

/// Reads a JSON object.
///
/// # Errors
/// Returns what is wrong with the text.
pub(crate) fn from_json(text: &str) -> Result<Map<String, Value>, String> {
    match serde_json::from_str(text) {
        Ok(Value::Object(entries)) => Ok(entries),
        Ok(_) => Err("the text is JSON, but no object".to_owned()),
        Err(error) => Err(format!("the text is not JSON: {error}")),
    }
}

fn value(object: &Bound<'_, PyAny>, depth: usize) -> PyResult<Value> {
    if object.is_none() {
        Ok(Value::Null)
    } else if let Ok(switch) = object.extract::<bool>() {
        Ok(Value::Bool(switch))
    } else if object.is_instance_of::<PyInt>() {
        // A number too large for JSON's integers is too large for any setting. It becomes a float, which is
        // refused.
        let whole = object.extract::<i64>().map(Number::from).ok();
        whole
            .or_else(|| Number::from_f64(object.extract().ok()?))
            .map(Value::Number)
            .ok_or_else(|| Class::Config.error("a setting is a whole number of hundreds of digits"))
    } else if let Ok(text) = object.cast::<PyString>() {
        words(text).map(Value::String)
    } else if object.cast::<PyMapping>().is_ok() {
        entries(object, deeper(depth)?).map(Value::Object)
    } else if let Some(items) = items(object)? {
        let depth = deeper(depth)?;
        items.iter().map(|item| value(item, depth)).collect::<PyResult<_>>().map(Value::Array)
    } else {
        // These are floats, and objects that behave like one, such as NumPy's scalars.
        let number = object.extract::<f64>().map_err(|_| odd(object))?;
        let finite = Number::from_f64(number).map(Value::Number);
        finite.ok_or_else(|| Class::Config.error(format_args!("a setting cannot be {number}")))
    }
}

/// Returns the items of a sequence, such as a list or NumPy's array, that is neither text nor bytes.
fn items<'py>(object: &Bound<'py, PyAny>) -> PyResult<Option<Vec<Bound<'py, PyAny>>>> {
    let is_bytes = object.is_instance_of::<PyBytes>()
        || object.is_instance_of::<PyByteArray>()
        || object.is_instance_of::<PyMemoryView>();
    if is_bytes {
        return Ok(None);
    }
    match object.extract() {
        Ok(items) => Ok(Some(items)),
        Err(error) if error.is_instance_of::<PyTypeError>(object.py()) => Ok(None),
        // This is what the object's own code has raised.
        Err(error) => Err(error),
    }
}

fn entries(mapping: &Bound<'_, PyAny>, depth: usize) -> PyResult<Map<String, Value>> {
    let entry = |(key, of): (Bound<'_, PyAny>, Bound<'_, PyAny>)| {
        let key = key.cast::<PyString>().map_err(|_| odd(&key)).and_then(words)?;
        Ok((key, value(&of, depth)?))
    };
    // The list of items stays as it is, whatever the code of the values changes in the mapping.
    mapping.cast::<PyMapping>()?.items()?.iter().map(|item| entry(item.extract()?)).collect()
}

/// The depth that is left inside a list or a dictionary, which may contain itself.
fn deeper(depth: usize) -> PyResult<usize> {
    depth.checked_sub(1).ok_or_else(|| Class::Config.error("settings are not nested so deeply"))
}

fn words(text: &Bound<'_, PyString>) -> PyResult<String> {
    let half = |_| Class::Config.error("a text of a setting has half a character (a surrogate)");
    text.extract::<String>().map_err(half)
}

fn odd(object: &Bound<'_, PyAny>) -> PyErr {
    let kind = object.get_type().name().map_or_else(|_| "object".to_owned(), |name| name.to_string());
    let shown = object.repr().map_or_else(|_| String::new(), |text| text.to_string_lossy().into_owned());
    let shown: String = shown.chars().take(60).collect();
    Class::Argument
        .error(format_args!("a setting cannot be {kind} {shown}; give a number, a text, a list or a dict"))
}
