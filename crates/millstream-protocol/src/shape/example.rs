//! Random messages of a shape: the mirror of the walk, for tests that hold a table of shapes
//! against a codec.

use std::ops::Range;

use super::Shape;
use super::parse::Kind;
use crate::varint;

/// What examples are like.
#[derive(Clone, Debug)]
pub struct Style {
    /// Whether strings, byte strings and arrays are null now and then, also where the codec does
    /// not allow it. Default: false.
    pub nulls: bool,
    /// Numbers of tagged fields that the shape does not name, one of which every other
    /// struct has.
    /// Those that it names in any version are left out. Default: only 100.
    pub foreign_tags: Range<u16>,
}

impl Default for Style {
    fn default() -> Self {
        Self { nulls: false, foreign_tags: 100..101 }
    }
}

/// A message without its header.
#[derive(Clone, Debug)]
pub struct Example {
    /// The message.
    pub bytes: Vec<u8>,
    /// Where lengths, counts and sizes stand in it, in order. One that is null is among them.
    pub lengths: Vec<Range<usize>>,
}

impl Example {
    /// The message with the length at `lengths[index]` replaced by one that no message has.
    pub fn with_a_lie(&self, index: usize, flexible: bool) -> Vec<u8> {
        let at = self.lengths[index].clone();
        let mut bytes = self.bytes.clone();
        if flexible {
            bytes.splice(at, [0xff, 0xff, 0xff, 0xff, 0x0f]);
        } else {
            let huge = &[0x7f, 0xff, 0xff, 0xff][..at.len()];
            bytes.splice(at, huge.iter().copied());
        }
        bytes
    }
}

/// A random message of `shape`: arrays of up to two elements, strings of up to four letters.
/// `random` gives 32 random bits. Fields of one byte are 0 or 1, as they may be booleans.
pub fn write(
    shape: &Shape,
    version: i16,
    flexible: bool,
    style: &Style,
    random: &mut dyn FnMut() -> u32,
) -> Example {
    let example = Example { bytes: Vec::new(), lengths: Vec::new() };
    let mut writer = Writer { shape, version, flexible, style, random, example };
    writer.structure(0, shape.count);
    writer.example
}

struct Writer<'a> {
    shape: &'a Shape,
    version: i16,
    flexible: bool,
    style: &'a Style,
    random: &'a mut dyn FnMut() -> u32,
    example: Example,
}

impl Writer<'_> {
    fn below(&mut self, bound: u32) -> u32 {
        (self.random)() % bound
    }

    fn structure(&mut self, start: usize, end: usize) {
        let mut at = start;
        while at < end && self.shape.fields[at].tag.is_none() {
            let field = self.shape.fields[at];
            if field.is_in(self.version) {
                self.field(at);
            }
            at = field.end();
        }
        if self.flexible {
            self.tags(at, end);
        }
    }

    fn field(&mut self, at: usize) {
        let field = self.shape.fields[at];
        match field.kind {
            Kind::Number(1) => {
                let bit = self.below(2) as u8;
                self.example.bytes.push(bit);
            }
            Kind::Number(bytes) => self.number(bytes),
            Kind::String => self.text(2),
            Kind::Bytes => self.text(4),
            Kind::Struct => self.structure(at + 1, field.end()),
            Kind::Maybe => {
                let is_there = self.below(2) == 0;
                self.example.bytes.push(if is_there { 1 } else { 0xff });
                if is_there {
                    self.structure(at + 1, field.end());
                }
            }
            Kind::Numbers(bytes) => {
                for _ in 0..self.length(3, 4) {
                    self.number(bytes);
                }
            }
            Kind::Texts => {
                for _ in 0..self.length(3, 4) {
                    self.field(at + 1);
                }
            }
            Kind::Structs { first } => {
                for _ in 0..self.length(3, 4) {
                    self.structure(usize::from(first), field.end());
                }
            }
        }
    }

    fn number(&mut self, bytes: u8) {
        for _ in 0..bytes {
            let byte = (self.random)() as u8;
            self.example.bytes.push(byte);
        }
    }

    fn text(&mut self, bytes: usize) {
        for _ in 0..self.length(5, bytes) {
            let letter = b'a' + self.below(26) as u8;
            self.example.bytes.push(letter);
        }
    }

    /// Writes a length below `bound`, of so many bytes if not compact. Null has nothing.
    fn length(&mut self, bound: u32, bytes: usize) -> u32 {
        let start = self.example.bytes.len();
        let is_null = self.style.nulls && self.below(4) == 0;
        let length = if is_null { 0 } else { self.below(bound) };
        if self.flexible {
            let stated = if is_null { 0 } else { u64::from(length) + 1 };
            varint::write_u64(&mut self.example.bytes, stated);
        } else {
            let stated = if is_null { u32::MAX } else { length };
            self.example.bytes.extend_from_slice(&stated.to_be_bytes()[4 - bytes..]);
        }
        self.example.lengths.push(start..self.example.bytes.len());
        length
    }

    fn tags(&mut self, start: usize, end: usize) {
        let mut known = Vec::new();
        let mut named = Vec::new();
        let mut at = start;
        while at < end {
            let field = self.shape.fields[at];
            let tag = field.tag.expect("tagged fields come last");
            named.push(tag);
            if field.is_in(self.version) && self.below(2) == 0 {
                known.push((tag, at));
            }
            at = field.end();
        }
        let foreign = self.style.foreign_tags.clone();
        let choice = foreign.start + self.below(foreign.len().max(1) as u32) as u16;
        let is_foreign = !foreign.is_empty() && !named.contains(&choice) && self.below(2) == 0;

        let count = known.len() + usize::from(is_foreign);
        self.varint_length(count);
        for (tag, at) in known {
            varint::write_u64(&mut self.example.bytes, tag.into());
            self.sized(|writer| writer.field(at));
        }
        if is_foreign {
            varint::write_u64(&mut self.example.bytes, choice.into());
            self.sized(|writer| writer.example.bytes.extend_from_slice(&[7, 7, 7]));
        }
    }

    fn varint_length(&mut self, length: usize) {
        let start = self.example.bytes.len();
        varint::write_u64(&mut self.example.bytes, length as u64);
        self.example.lengths.push(start..self.example.bytes.len());
    }

    /// Puts its size before what `write` writes.
    fn sized(&mut self, write: impl FnOnce(&mut Self)) {
        let outer = std::mem::replace(
            &mut self.example,
            Example { bytes: Vec::new(), lengths: Vec::new() },
        );
        write(self);
        let inner = std::mem::replace(&mut self.example, outer);
        self.varint_length(inner.bytes.len());
        let start = self.example.bytes.len();
        self.example.bytes.extend_from_slice(&inner.bytes);
        let moved = inner.lengths.into_iter().map(|at| at.start + start..at.end + start);
        self.example.lengths.extend(moved);
    }
}
