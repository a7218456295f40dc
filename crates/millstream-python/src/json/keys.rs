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
    /// The first eight of these, and which of the eight count.
    head: u64,
    mask: u64,
    object: Py<PyString>,
    /// Which name came next, the last time.
    next: u32,
    /// How many fields the object had that it was the first name of, the last time.
    fields: u32,
}

impl Name {
    /// Whether `text` starts with the name and its quote. Most names are settled by one comparison
    /// of registers.
    #[inline]
    fn starts(&self, text: &[u8]) -> bool {
        match text.first_chunk() {
            Some(eight) => {
                u64::from_le_bytes(*eight) & self.mask == self.head
                    && (self.quoted.len() <= 8 || text.starts_with(&self.quoted))
            }
            None => text.starts_with(&self.quoted),
        }
    }
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
        if !name.starts(text) {
            return None;
        }
        self.previous = index;
        Some((&name.object, name.quoted.len()))
    }

    /// Which name was read last: for [`Keys::fields_after`], if it is the first of its object.
    #[inline]
    pub(super) fn last(&self) -> u32 {
        self.previous
    }

    /// How many fields an object with this first name had last time; 0 if that is not known.
    #[inline]
    pub(super) fn fields_after(&self, first: u32) -> u32 {
        self.names.get(first as usize).map_or(0, |name| name.fields)
    }

    /// Remembers how many fields the object with this first name had.
    #[inline]
    pub(super) fn remember_fields(&mut self, first: u32, fields: u32) {
        if let Some(name) = self.names.get_mut(first as usize) {
            name.fields = fields;
        }
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
        let mut head = [0; 8];
        let counted = quoted.len().min(8);
        head[..counted].copy_from_slice(&quoted[..counted]);
        let index = self.names.len() as u32;
        self.names.push(Name {
            quoted: quoted.into_boxed_slice(),
            head: u64::from_le_bytes(head),
            mask: u64::MAX >> (64 - 8 * counted),
            object: PyString::intern(py, name).unbind(),
            next: NONE,
            fields: 0,
        });
        self.slots[slot] = index;
        index
    }
}

/// FNV-1a: names are short, and whoever can choose them can only make the table start anew.
fn hash(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}
