//! Converts between JSON and Python. Figures, findings and settings all have a JSON form, so a field that the
//! library gains needs no line here.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};
use serde_json::{Map, Number, Value};

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
    if object.is_none() {
        Ok(Value::Null)
    } else if let Ok(switch) = object.cast::<PyBool>() {
        Ok(Value::Bool(switch.is_true()))
    } else if object.is_instance_of::<PyInt>() {
        // A number too large for JSON's integers is too large for any setting. It becomes a float, which is
        // refused.
        let whole = object.extract::<i64>().map(Number::from).ok();
        whole
            .or_else(|| Number::from_f64(object.extract().ok()?))
            .map(Value::Number)
            .ok_or_else(|| odd(object))
    } else if let Ok(text) = object.cast::<PyString>() {
        Ok(Value::String(text.to_string()))
    } else if let Ok(dict) = object.cast::<PyDict>() {
        from_dict(dict).map(Value::Object)
    } else if object.is_instance_of::<PyList>() || object.is_instance_of::<PyTuple>() {
        object.try_iter()?.map(|item| from_python(&item?)).collect::<PyResult<_>>().map(Value::Array)
    } else {
        // These are floats, and objects that behave like one, such as NumPy's scalars.
        let number = object.extract::<f64>().ok().and_then(Number::from_f64);
        number.map(Value::Number).ok_or_else(|| odd(object))
    }
}

/// Does the same as [`from_python`] for a dictionary, whose keys are texts.
pub(crate) fn from_dict(dict: &Bound<'_, PyDict>) -> PyResult<Map<String, Value>> {
    dict.iter().map(|(key, value)| Ok((key.extract()?, from_python(&value)?))).collect()
}

fn odd(object: &Bound<'_, PyAny>) -> PyErr {
    let kind = object.get_type().name().map_or_else(|_| "object".to_owned(), |name| name.to_string());
    PyTypeError::new_err(format!(
        "a setting cannot be {kind} {object}; give a number, a text, a list or a dict"
    ))
}
