//! Python objects as JSON text, by the rules of parity row T-44: those of orjson without options.
//!
//! Accepted: `None`, `bool`, `int` from -2^63 to 2^64-1, `float` (NaN and infinities become `null`),
//! `str` without lone surrogates, `list`, `tuple`, `dict` with `str` keys, subclasses of these but for
//! subclasses of `tuple`, `UUID` (as text) and members of an `Enum` (as their value). All else is refused.

use millstream_value::{Failure, FailureKind, Value, json};
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple, PyType};

/// How many containers may lie in each other, as in text that is read.
const DEEPEST: usize = json::DEPTH_MAX;

/// Why an object has no JSON form.
#[derive(Debug)]
pub(crate) enum NoJson {
    /// One sentence for the user.
    Refused(String),
    /// Python raised: out of memory, a broken `Enum`.
    Raised(PyErr),
}

impl NoJson {
    fn refused<T>(message: impl Into<String>) -> Result<T, Self> {
        Err(Self::Refused(message.into()))
    }

    /// The exception that `json_dumps` raises, `TypeError` as orjson does.
    pub(crate) fn into_type_error(self) -> PyErr {
        match self {
            Self::Refused(message) => pyo3::exceptions::PyTypeError::new_err(message),
            Self::Raised(error) => error,
        }
    }

    /// The failure of a serializer.
    pub(crate) fn into_failure(self) -> Failure {
        match self {
            Self::Refused(message) => Failure::new(FailureKind::Serialization, message),
            Self::Raised(error) => crate::errors::to_failure(error),
        }
    }
}

impl From<PyErr> for NoJson {
    fn from(error: PyErr) -> Self {
        Self::Raised(error)
    }
}

/// Appends `object` to `out`. What was appended before an error stays.
///
/// # Errors
/// If the object has no JSON form; the message names the type and what to do.
pub(crate) fn write(object: &Bound<'_, PyAny>, out: &mut Vec<u8>) -> Result<(), NoJson> {
    Writer { out, depth: 0 }.value(object)
}

struct Writer<'o> {
    out: &'o mut Vec<u8>,
    depth: usize,
}

impl Writer<'_> {
    fn value(&mut self, object: &Bound<'_, PyAny>) -> Result<(), NoJson> {
        // Exact types first, the most frequent in front: one pointer comparison each.
        if let Ok(text) = object.cast_exact::<PyString>() {
            self.string(text)
        } else if let Ok(int) = object.cast_exact::<PyInt>() {
            self.int(int)
        } else if let Ok(float) = object.cast_exact::<PyFloat>() {
            json::write_float(float.value(), self.out);
            Ok(())
        } else if let Ok(flag) = object.cast_exact::<PyBool>() {
            self.out.extend_from_slice(if flag.is_true() { b"true" } else { b"false" });
            Ok(())
        } else if object.is_none() {
            self.out.extend_from_slice(b"null");
            Ok(())
        } else if let Ok(dict) = object.cast_exact::<PyDict>() {
            self.dict(dict)
        } else if let Ok(list) = object.cast_exact::<PyList>() {
            self.list(list)
        } else if let Ok(tuple) = object.cast_exact::<PyTuple>() {
            self.tuple(tuple)
        } else {
            self.rare(object)
        }
    }

    /// Enums, UUIDs and subclasses, in the order in which orjson tries them.
    #[cold]
    fn rare(&mut self, object: &Bound<'_, PyAny>) -> Result<(), NoJson> {
        // Held: code of the user's may run below (see `each_item`).
        let object = &object.clone();
        let py = object.py();
        if object.get_type().is(class(py, &UUID, "uuid", "UUID")?) {
            let text = object.str()?;
            return self.string(&text);
        }
        if object.get_type().is_instance(class(py, &ENUM, "enum", "EnumMeta")?)? {
            return self.deeper(|writer| writer.value(&object.getattr(intern!(py, "value"))?));
        }
        if let Ok(text) = object.cast::<PyString>() {
            self.string(text)
        } else if let Ok(int) = object.cast::<PyInt>() {
            self.int(int)
        } else if let Ok(list) = object.cast::<PyList>() {
            self.list(list)
        } else if let Ok(dict) = object.cast::<PyDict>() {
            self.dict(dict)
        } else if let Ok(float) = object.cast::<PyFloat>() {
            json::write_float(float.value(), self.out);
            Ok(())
        } else {
            NoJson::refused(refusal(object))
        }
    }

    fn deeper(
        &mut self,
        write: impl FnOnce(&mut Self) -> Result<(), NoJson>,
    ) -> Result<(), NoJson> {
        if self.depth == DEEPEST {
            return NoJson::refused(
                "the value is nested more than 1024 deep, or contains itself; flatten it first",
            );
        }
        self.depth += 1;
        write(self)?;
        self.depth -= 1;
        Ok(())
    }

    #[inline]
    fn string(&mut self, text: &Bound<'_, PyString>) -> Result<(), NoJson> {
        match utf8(text) {
            Some(text) if is_plain(text.as_bytes()) => {
                self.out.reserve(text.len() + 3);
                self.out.push(b'"');
                self.out.extend_from_slice(text.as_bytes());
                self.out.push(b'"');
            }
            Some(text) => json::write_str(text, self.out),
            None => {
                return NoJson::refused(
                    "str is not valid UTF-8: surrogates are not allowed in JSON; replace them with \
                     text.encode(\"utf-8\", \"replace\").decode()",
                );
            }
        }
        Ok(())
    }

    fn int(&mut self, int: &Bound<'_, PyInt>) -> Result<(), NoJson> {
        let value = match integer(int) {
            Integer::Int(value) => Value::Int(value),
            Integer::UInt(value) => Value::UInt(value),
            Integer::Large => {
                return NoJson::refused(
                    "Integer exceeds 64-bit range; make it a str or a float before it is serialized",
                );
            }
        };
        json::write(&value, self.out).map_err(|failure| NoJson::Refused(failure.message))
    }

    fn list(&mut self, list: &Bound<'_, PyList>) -> Result<(), NoJson> {
        let list = list.clone(); // Held, see `each_item`.
        self.deeper(|writer| {
            writer.out.push(b'[');
            for index in 0..list.len() {
                // Nothing here runs Python code of a user but an Enum's `value`; should that shrink
                // the list, the rest of it is gone.
                let Ok(item) = list.get_item(index) else { break };
                if index > 0 {
                    writer.out.push(b',');
                }
                writer.value(&item)?;
            }
            writer.out.push(b']');
            Ok(())
        })
    }

    fn tuple(&mut self, tuple: &Bound<'_, PyTuple>) -> Result<(), NoJson> {
        let tuple = tuple.clone(); // Held, see `each_item`.
        self.deeper(|writer| {
            writer.out.push(b'[');
            for (index, item) in tuple.iter_borrowed().enumerate() {
                if index > 0 {
                    writer.out.push(b',');
                }
                writer.value(&item)?;
            }
            writer.out.push(b']');
            Ok(())
        })
    }

    fn dict(&mut self, dict: &Bound<'_, PyDict>) -> Result<(), NoJson> {
        let dict = &dict.clone(); // Held, see `each_item`.
        self.deeper(|writer| {
            writer.out.push(b'{');
            let mut first = true;
            each_item(dict, |key, value| {
                if !first {
                    writer.out.push(b',');
                }
                first = false;
                match key.cast::<PyString>() {
                    Ok(key) => writer.string(&key)?,
                    Err(_) => {
                        return NoJson::refused(format!(
                            "Dict key must be str, not {}; convert it with str(key)",
                            type_name(&key)
                        ));
                    }
                }
                writer.out.push(b':');
                writer.value(&value)
            })?;
            writer.out.push(b'}');
            Ok(())
        })
    }
}

/// Calls `each` with every item of a dict.
#[inline]
fn each_item<'py>(
    dict: &Bound<'py, PyDict>,
    mut each: impl FnMut(Borrowed<'_, 'py, PyAny>, Borrowed<'_, 'py, PyAny>) -> Result<(), NoJson>,
) -> Result<(), NoJson> {
    // PyO3's iterator counts each reference up and down; here `each` borrows from the dict. The only
    // code of a user's that can run meanwhile is an Enum's `value`, and should that change the dict,
    // then `Writer` itself holds every object that it still uses after a nested call.
    if cfg!(Py_GIL_DISABLED) {
        for (key, value) in dict.iter() {
            each(key.as_borrowed(), value.as_borrowed())?;
        }
        return Ok(());
    }
    let mut position = 0;
    let (mut key, mut value) = (std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: `dict` is a live dict and the four pointers are valid; the references that come out are
    // borrowed from the dict.
    while unsafe { ffi::PyDict_Next(dict.as_ptr(), &mut position, &mut key, &mut value) } != 0 {
        // SAFETY: both are live objects that the dict holds. `each` reads the key at once, and hands
        // the value to `Writer::value`, which takes a reference before it runs anything else.
        let (key, value) =
            unsafe { (Borrowed::from_ptr(dict.py(), key), Borrowed::from_ptr(dict.py(), value)) };
        each(key, value)?;
    }
    Ok(())
}

/// An `int` as far as 64 bits hold it.
pub(crate) enum Integer {
    Int(i64),
    /// Beyond `i64`.
    UInt(u64),
    /// Beyond 64 bits.
    Large,
}

/// Reads an `int`.
#[inline]
pub(crate) fn integer(int: &Bound<'_, PyInt>) -> Integer {
    let mut overflow = 0;
    // SAFETY: `int` is a live int object, so the call cannot raise; it reports what does not fit.
    let value = unsafe { ffi::PyLong_AsLongLongAndOverflow(int.as_ptr(), &mut overflow) };
    match overflow {
        0 => Integer::Int(value),
        1 => int.extract().map_or(Integer::Large, Integer::UInt),
        _ => Integer::Large,
    }
}

/// Whether short text needs no escapes. Longer text is looked at and copied in one go elsewhere.
#[inline]
fn is_plain(text: &[u8]) -> bool {
    let eight = |at: usize| {
        let bytes = text[at..at + 8].try_into().expect("eight bytes");
        escapes_in(u64::from_le_bytes(bytes)) == 0
    };
    let four = |at: usize| {
        let bytes: [u8; 4] = text[at..at + 4].try_into().expect("four bytes");
        u64::from(u32::from_le_bytes(bytes))
    };
    // Two loads that overlap cover every length between one and two of them.
    match text.len() {
        8..=16 => eight(0) && eight(text.len() - 8),
        4..=7 => escapes_in(four(0) | four(text.len() - 4) << 32) == 0,
        0..=3 => text.iter().all(|byte| !matches!(byte, b'"' | b'\\' | ..0x20)),
        17..=32 => eight(0) && eight(8) && eight(text.len() - 16) && eight(text.len() - 8),
        _ => false,
    }
}

/// Nonzero if a byte of `word` is a quote, a backslash or a control character.
#[inline]
fn escapes_in(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    // `x - n` borrows into the high bit where a byte is below n (and was below 0x80).
    let below = |word: u64, n: u64| word.wrapping_sub(ONES * n) & !word & HIGHS;
    let is = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    below(word, 0x20) | is(b'"') | is(b'\\')
}

/// The text of a string, `None` if it has lone surrogates.
#[inline]
fn utf8<'a>(text: &'a Bound<'_, PyString>) -> Option<&'a str> {
    // Compact ASCII strings are their own UTF-8; `to_str` sees that too, but behind a call.
    // SAFETY: `text` is a live str object; a compact ASCII string's data are `length` bytes of
    // ASCII that do not change while the object lives, which is as long as the borrow.
    unsafe {
        if ffi::PyUnicode_IS_COMPACT_ASCII(text.as_ptr()) != 0 {
            let length = ffi::PyUnicode_GET_LENGTH(text.as_ptr()) as usize;
            let data = ffi::PyUnicode_1BYTE_DATA(text.as_ptr()).cast_const();
            let bytes = std::slice::from_raw_parts(data, length);
            return Some(std::str::from_utf8_unchecked(bytes));
        }
    }
    text.to_str().ok()
}

static UUID: PyOnceLock<Py<PyType>> = PyOnceLock::new();
static ENUM: PyOnceLock<Py<PyType>> = PyOnceLock::new();

fn class<'py>(
    py: Python<'py>,
    cell: &'static PyOnceLock<Py<PyType>>,
    module: &str,
    name: &str,
) -> PyResult<&'py Bound<'py, PyType>> {
    cell.import(py, module, name)
}

/// The name of an object's type as a traceback would show it.
pub(crate) fn type_name(object: &Bound<'_, PyAny>) -> String {
    object
        .get_type()
        .fully_qualified_name()
        .map_or_else(|_| "object".into(), |name| name.to_string())
}

fn refusal(object: &Bound<'_, PyAny>) -> String {
    let name = type_name(object);
    let remedy = match name.as_str() {
        "bytes" | "bytearray" | "memoryview" => "; decode them to a str first",
        "datetime.datetime" | "datetime.date" | "datetime.time" => "; use its isoformat() instead",
        "set" | "frozenset" => "; make it a list first",
        "decimal.Decimal" => "; make it a str or a float first",
        _ => "; convert it to plain dicts, lists, strings and numbers first",
    };
    format!("Type is not JSON serializable: {name}{remedy}")
}
