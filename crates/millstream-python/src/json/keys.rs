//! Field names as Python strings, made once.
//!
//! The records of a topic name the same fields in the same order. So each known name remembers the
//! name that came after it last time: the next record's names are found by one comparison each,
//! without looking for their end and without hashing. A name that was not foreseen is looked up by
//! hash, and a name that is not known yet is made and interned.

use pyo3::prelude::*;
use pyo3::types::PyString;

/// Names longer than this, in bytes, are not remembered: such keys are data, not field names.
const LONGEST: usize = 64;
/// Slots of the hash table, a power of two.
const SLOTS: usize = 2048;
/// No name.
const NONE: u32 = u32::MAX;

/// One name that was seen.
struct Name {
    /// Its bytes and the closing quote, so that one comparison checks both.
    quoted: Box<[u8]>,
    object: Py<PyString>,
    /// Which name came next, the last time.
    next: u32,
}

/// The names seen on this thread. Bounded: when the table is full it starts anew.
pub(super) struct Keys {
    names: Vec<Name>,
    slots: Box<[u32]>,
    /// The name that began the last text.
    first: u32,
    previous: u32,
}

impl Keys {
    pub(super) fn new() -> Self {
        Self {
            names: Vec::new(),
            slots: vec![NONE; SLOTS].into_boxed_slice(),
            first: NONE,
            previous: NONE,
        }
    }

    /// Begins a text: what its first name is likely to be.
    #[inline]
    pub(super) fn start(&mut self) {
        self.previous = NONE;
    }

    /// If `text`, which begins after an opening quote, starts with the foreseen name and its closing
    /// quote: the name's object and length with that quote.
    #[inline]
    pub(super) fn foreseen(&mut self, text: &[u8]) -> Option<(&Py<PyString>, usize)> {
        let index = match self.names.get(self.previous as usize) {
            Some(previous) => previous.next,
            None => self.first,
        };
        let name = self.names.get(index as usize)?;
        if !text.starts_with(&name.quoted) {
            return None;
        }
        self.previous = index;
        Some((&name.object, name.quoted.len()))
    }

    /// The object of a name that has no escapes, and remembers that it came here.
    pub(super) fn find<'py>(&mut self, py: Python<'py>, name: &str) -> Bound<'py, PyString> {
        if name.len() > LONGEST {
            return PyString::new(py, name);
        }
        if self.names.len() >= SLOTS / 2 {
            *self = Self::new();
        }
        let index = self.index_of(py, name);
        match self.names.get_mut(self.previous as usize) {
            Some(previous) => previous.next = index,
            None => self.first = index,
        }
        self.previous = index;
        self.names[index as usize].object.bind(py).clone()
    }

    fn index_of(&mut self, py: Python<'_>, name: &str) -> u32 {
        let mut slot = hash(name.as_bytes()) as usize % SLOTS;
        loop {
            let index = self.slots[slot];
            let Some(known) = self.names.get(index as usize) else { break };
            if &known.quoted[..known.quoted.len() - 1] == name.as_bytes() {
                return index;
            }
            slot = (slot + 1) % SLOTS;
        }
        let mut quoted = Vec::with_capacity(name.len() + 1);
        quoted.extend_from_slice(name.as_bytes());
        quoted.push(b'"');
        let object = PyString::intern(py, name).unbind();
        let index = self.names.len() as u32;
        self.names.push(Name { quoted: quoted.into_boxed_slice(), object, next: NONE });
        self.slots[slot] = index;
        index
    }
}

/// FNV-1a: names are short, and whoever can choose them can only make the table start anew.
fn hash(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}
