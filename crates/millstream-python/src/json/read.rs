//! Python objects straight from JSON text.
//!
//! The text was checked, by the rules of parity row T-45; this reader relies on that for meaning,
//! never for memory. Integers beyond 64 bits become floats; of duplicate keys
//! the last wins, in the place of the first.

use std::cell::RefCell;

use millstream_value::json::{JsonText, Number, parse_number};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyString};
use pyo3::{IntoPyObject, ffi};

use super::keys::Keys;

/// Depth at which text is refused, as the checker does.
const DEEPEST: usize = 1024;

thread_local! {
    static KEYS: RefCell<Keys> = RefCell::new(Keys::new());
}

/// The object that `text` stands for.
///
/// # Errors
/// `ValueError` if the text is broken in a way that cannot be read over, or Python is out of memory.
pub(crate) fn read<'py>(py: Python<'py>, text: &JsonText) -> PyResult<Bound<'py, PyAny>> {
    let text: &[u8] = text.as_ref();
    KEYS.with_borrow_mut(|keys| {
        keys.start();
        let mut reader = Reader { py, text, at: 0, keys, depth: 0, unescaped: String::new() };
        reader.space();
        let value = reader.value()?;
        reader.space();
        if reader.at == text.len() { Ok(value) } else { Err(reader.broken()) }
    })
}

struct Reader<'py, 't> {
    py: Python<'py>,
    text: &'t [u8],
    at: usize,
    keys: &'t mut Keys,
    depth: usize,
    /// Room for strings with escapes.
    unescaped: String,
}

impl<'py, 't> Reader<'py, 't> {
    #[cold]
    fn broken(&self) -> PyErr {
        PyValueError::new_err(format!("invalid JSON at byte {}", self.at))
    }

    #[inline]
    fn peek(&self) -> u8 {
        // NUL is no part of any JSON text outside strings, so it stands for the end.
        self.text.get(self.at).copied().unwrap_or(0)
    }

    #[inline]
    fn space(&mut self) {
        while matches!(self.peek(), b' ' | b'\n' | b'\r' | b'\t') {
            self.at += 1;
        }
    }

    fn value(&mut self) -> PyResult<Bound<'py, PyAny>> {
        match self.peek() {
            b'"' => {
                self.at += 1;
                Ok(self.string()?.into_any())
            }
            b'{' => self.nested(Self::object),
            b'[' => self.nested(Self::array),
            b't' => self.word(b"true", |py| PyBool::new(py, true).to_owned().into_any()),
            b'f' => self.word(b"false", |py| PyBool::new(py, false).to_owned().into_any()),
            b'n' => self.word(b"null", |py| py.None().into_bound(py)),
            b'-' | b'0'..=b'9' => self.number(),
            _ => Err(self.broken()),
        }
    }

    fn nested(
        &mut self,
        read: impl FnOnce(&mut Self) -> PyResult<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.at += 1;
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(self.broken());
        }
        let value = read(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn word(
        &mut self,
        word: &[u8],
        value: impl FnOnce(Python<'py>) -> Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if !self.text[self.at..].starts_with(word) {
            return Err(self.broken());
        }
        self.at += word.len();
        Ok(value(self.py))
    }

    fn object(&mut self) -> PyResult<Bound<'py, PyAny>> {
        self.space();
        if self.peek() == b'}' {
            self.at += 1;
            return Ok(PyDict::new(self.py).into_any());
        }
        let mut key = self.key_and_colon()?;
        let first = self.keys.last();
        let dict = dict_for(self.py, self.keys.fields_after(first))?;
        let mut fields = 0;
        loop {
            let value = self.value()?;
            set(&dict, &key, &value)?;
            fields += 1;
            self.space();
            match self.peek() {
                b',' => self.at += 1,
                b'}' => {
                    self.at += 1;
                    self.keys.remember_fields(first, fields);
                    return Ok(dict.into_any());
                }
                _ => return Err(self.broken()),
            }
            self.space();
            key = self.key_and_colon()?;
        }
    }

    /// A field's name, up to where its value begins.
    #[inline]
    fn key_and_colon(&mut self) -> PyResult<Bound<'py, PyString>> {
        if self.peek() != b'"' {
            return Err(self.broken());
        }
        self.at += 1;
        let key = self.key()?;
        self.space();
        if self.peek() != b':' {
            return Err(self.broken());
        }
        self.at += 1;
        self.space();
        Ok(key)
    }

    fn array(&mut self) -> PyResult<Bound<'py, PyAny>> {
        let list = PyList::empty(self.py);
        self.space();
        if self.peek() == b']' {
            self.at += 1;
            return Ok(list.into_any());
        }
        loop {
            list.append(self.value()?)?;
            self.space();
            match self.peek() {
                b',' => self.at += 1,
                b']' => {
                    self.at += 1;
                    return Ok(list.into_any());
                }
                _ => return Err(self.broken()),
            }
            self.space();
        }
    }

    /// A field's name; `at` is behind its opening quote.
    #[inline]
    fn key(&mut self) -> PyResult<Bound<'py, PyString>> {
        if let Some((object, length)) = self.keys.foreseen(&self.text[self.at..]) {
            let object = object.bind(self.py).clone();
            self.at += length;
            return Ok(object);
        }
        let (end, plain) = self.end_of_string()?;
        if !plain.escaped {
            let name = self.utf8(end)?;
            let object = self.keys.find(self.py, name);
            self.at = end + 1;
            return Ok(object);
        }
        self.string()
    }

    /// A string; `at` is behind its opening quote.
    fn string(&mut self) -> PyResult<Bound<'py, PyString>> {
        let (end, plain) = self.end_of_string()?;
        if plain.escaped {
            return self.string_with_escapes();
        }
        let string = if plain.ascii {
            ascii(self.py, &self.text[self.at..end])?
        } else {
            PyString::new(self.py, self.utf8(end)?)
        };
        self.at = end + 1;
        Ok(string)
    }

    fn utf8(&self, end: usize) -> PyResult<&'t str> {
        let text: &'t [u8] = self.text;
        std::str::from_utf8(&text[self.at..end]).map_err(|_| self.broken())
    }

    /// Where the string that goes on at `at` meets its closing quote or first backslash.
    #[inline]
    fn end_of_string(&self) -> PyResult<(usize, Plain)> {
        const ONES: u64 = 0x0101_0101_0101_0101;
        const HIGHS: u64 = 0x8080_8080_8080_8080;
        // A byte of `word` that is zero has its high bit set in the result; bytes above the first
        // such one may be marked falsely, which does not matter: only the first counts.
        let zeros = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
        let mut end = self.at;
        let mut seen = 0;
        while let Some(eight) = self.text.get(end..end + 8) {
            let word = u64::from_le_bytes(eight.try_into().expect("eight bytes"));
            let stops =
                zeros(word ^ (ONES * u64::from(b'"'))) | zeros(word ^ (ONES * u64::from(b'\\')));
            if stops != 0 {
                let before = stops.trailing_zeros() / 8;
                seen |= word & ((1_u64 << (before * 8)) - 1);
                end += before as usize;
                let plain = Plain { ascii: seen & HIGHS == 0, escaped: self.text[end] == b'\\' };
                return Ok((end, plain));
            }
            seen |= word;
            end += 8;
        }
        for (index, byte) in self.text.iter().enumerate().skip(end) {
            if matches!(byte, b'"' | b'\\') {
                return Ok((index, Plain { ascii: seen & HIGHS == 0, escaped: *byte == b'\\' }));
            }
            seen |= u64::from(*byte);
        }
        Err(self.broken())
    }

    #[cold]
    fn string_with_escapes(&mut self) -> PyResult<Bound<'py, PyString>> {
        self.unescaped.clear();
        loop {
            let (end, plain) = self.end_of_string()?;
            let piece = std::str::from_utf8(&self.text[self.at..end]).map_err(|_| self.broken())?;
            self.unescaped.push_str(piece);
            self.at = end + 1;
            if !plain.escaped {
                return Ok(PyString::new(self.py, &self.unescaped));
            }
            let escape = self.peek();
            self.at += 1;
            let character = match escape {
                b'"' | b'\\' | b'/' => char::from(escape),
                b'b' => '\u{8}',
                b'f' => '\u{c}',
                b'n' => '\n',
                b'r' => '\r',
                b't' => '\t',
                b'u' => self.escaped_unit()?,
                _ => return Err(self.broken()),
            };
            self.unescaped.push(character);
        }
    }

    fn escaped_unit(&mut self) -> PyResult<char> {
        let first = self.hex()?;
        if !(0xd800..0xdc00).contains(&first) {
            return char::from_u32(first).ok_or_else(|| self.broken());
        }
        if !self.text[self.at.min(self.text.len())..].starts_with(b"\\u") {
            return Err(self.broken());
        }
        self.at += 2;
        let second = self.hex()?;
        if !(0xdc00..0xe000).contains(&second) {
            return Err(self.broken());
        }
        let code = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
        char::from_u32(code).ok_or_else(|| self.broken())
    }

    fn hex(&mut self) -> PyResult<u32> {
        let digits = self.text.get(self.at..self.at + 4).ok_or_else(|| self.broken())?;
        let mut unit = 0;
        for digit in digits {
            let digit = char::from(*digit).to_digit(16).ok_or_else(|| self.broken())?;
            unit = unit * 16 + digit;
        }
        self.at += 4;
        Ok(unit)
    }

    fn number(&mut self) -> PyResult<Bound<'py, PyAny>> {
        let start = self.at;
        self.at += 1;
        while matches!(self.peek(), b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-') {
            self.at += 1;
        }
        match parse_number(&self.text[start..self.at]) {
            Number::Int(value) => self.int(value),
            Number::UInt(value) => Ok(value.into_pyobject(self.py)?.into_any()),
            Number::Float(value) => Ok(PyFloat::new(self.py, value).into_any()),
        }
    }

    #[inline]
    fn int(&self, value: i64) -> PyResult<Bound<'py, PyAny>> {
        let value: Bound<'py, PyInt> = value.into_pyobject(self.py)?;
        Ok(value.into_any())
    }
}

/// What is known of a piece of string that was looked through.
struct Plain {
    ascii: bool,
    /// It ended at a backslash.
    escaped: bool,
}

/// A string of ASCII bytes, without looking through them again.
#[inline]
fn ascii<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyString>> {
    if bytes.len() < 2 {
        // These are shared objects of the interpreter.
        let text = std::str::from_utf8(bytes).expect("the caller saw that it is ASCII");
        return Ok(PyString::new(py, text));
    }
    // SAFETY: a new compact string of `len` characters up to 127 has room for `len` bytes at its
    // data pointer, and nobody else has a reference to it yet. A null pointer is handled by
    // `from_owned_ptr_or_err` before the data pointer is asked for.
    unsafe {
        let object = ffi::PyUnicode_New(bytes.len() as ffi::Py_ssize_t, 127);
        let string = Bound::from_owned_ptr_or_err(py, object)?;
        let data = ffi::PyUnicode_1BYTE_DATA(object);
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), data, bytes.len());
        Ok(string.cast_into_unchecked())
    }
}

unsafe extern "C" {
    /// A dict with room for that many items before it must grow. CPython's own modules call it, and so
    /// do other JSON readers; it has been there from 3.3 to 3.14.
    #[cfg(all(not(PyPy), not(GraalPy), not(Py_3_15)))]
    fn _PyDict_NewPresized(items: ffi::Py_ssize_t) -> *mut ffi::PyObject;
}

/// An empty dict for about that many fields. Small ones have room from the start.
#[inline]
fn dict_for(py: Python<'_>, fields: u32) -> PyResult<Bound<'_, PyDict>> {
    #[cfg(all(not(PyPy), not(GraalPy), not(Py_3_15)))]
    if fields > 5 {
        // SAFETY: the thread is attached, and the call returns a new dict or null with an error set.
        return unsafe {
            let dict = _PyDict_NewPresized(fields as ffi::Py_ssize_t);
            Bound::from_owned_ptr_or_err(py, dict).map(|dict| dict.cast_into_unchecked())
        };
    }
    Ok(PyDict::new(py))
}

/// `dict[key] = value`.
#[inline]
fn set(
    dict: &Bound<'_, PyDict>,
    key: &Bound<'_, PyString>,
    value: &Bound<'_, PyAny>,
) -> PyResult<()> {
    // SAFETY: the three are live objects of their types; the call takes references of its own.
    match unsafe { ffi::PyDict_SetItem(dict.as_ptr(), key.as_ptr(), value.as_ptr()) } {
        0 => Ok(()),
        _ => Err(PyErr::fetch(dict.py())),
    }
}
