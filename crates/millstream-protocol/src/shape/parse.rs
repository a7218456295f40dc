//! Reads the text of a shape; a constant's at compile time, so that a slip does not compile.

use super::Shape;

/// Fields that a shape can have, all levels together.
pub(super) const FIELDS_MAX: usize = 64;
/// Brackets in brackets.
const DEPTH_MAX: usize = 8;

/// One field. What is inside it follows, up to `end`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    pub(super) kind: Kind,
    /// The number of a tagged field.
    pub(super) tag: Option<u16>,
    /// The first version that has it, and the last.
    from: i16,
    to: i16,
    end: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// So many bytes.
    Number(u8),
    String,
    Bytes,
    Struct,
    /// A struct that may be absent.
    Maybe,
    /// An array of numbers of so many bytes.
    Numbers(u8),
    /// An array of strings or byte strings.
    Texts,
    /// An array of structs, whose fields begin at `first`.
    Structs {
        first: u16,
    },
}

impl Field {
    pub(super) const fn end(&self) -> usize {
        self.end as usize
    }

    pub(super) const fn is_in(&self, version: i16) -> bool {
        self.from <= version && version <= self.to
    }

    const fn is_in_all(&self) -> bool {
        self.from == i16::MIN && self.to == i16::MAX
    }
}

impl Shape {
    /// Reads a shape.
    ///
    /// # Panics
    /// If `text` is none, or has more than 64 fields.
    pub const fn parse(text: &str) -> Self {
        let text = text.as_bytes();
        let nothing = Field { kind: Kind::Struct, tag: None, from: 0, to: 0, end: 0 };
        let mut fields = [nothing; FIELDS_MAX];
        let mut count = 0;
        let mut open = [0; DEPTH_MAX];
        // Whether a tagged field was seen, by depth.
        let mut tagged = [false; DEPTH_MAX + 1];
        let mut depth = 0;
        let mut at = 0;
        while at < text.len() {
            if text[at] == b' ' {
                at += 1;
                continue;
            }
            let field = match text[at] {
                b']' | b'}' => {
                    assert!(depth > 0, "a bracket that was not opened");
                    depth -= 1;
                    close(&mut fields, open[depth], count, text[at]);
                    at += 1;
                    open[depth]
                }
                _ => {
                    let tag;
                    (tag, at) = read_tag(text, at);
                    assert!(tag.is_some() || !tagged[depth], "tagged fields come last");
                    tagged[depth] = tag.is_some();
                    let kind;
                    (kind, at) = read_kind(text, at);
                    assert!(count < FIELDS_MAX, "too many fields");
                    let end = count as u16 + 1;
                    fields[count] = Field { kind, tag, from: i16::MIN, to: i16::MAX, end };
                    count += 1;
                    if matches!(kind, Kind::Struct | Kind::Maybe | Kind::Structs { .. }) {
                        assert!(depth < DEPTH_MAX, "too many brackets in brackets");
                        open[depth] = count - 1;
                        depth += 1;
                        tagged[depth] = false;
                        continue;
                    }
                    count - 1
                }
            };
            if at < text.len() && text[at] == b'@' {
                (fields[field].from, at) = read_number(text, at + 1);
                assert!(
                    at + 1 < text.len() && text[at] == b'.' && text[at + 1] == b'.',
                    "two dots"
                );
                at += 2;
                if at < text.len() && text[at].is_ascii_digit() {
                    (fields[field].to, at) = read_number(text, at);
                }
            }
        }
        assert!(depth == 0, "a bracket that is not closed");
        Self { fields, count }
    }
}

/// A field in brackets is complete: `fields[at]` with what follows it, up to `end`.
const fn close(fields: &mut [Field; FIELDS_MAX], at: usize, end: usize, bracket: u8) {
    let is_array = matches!(fields[at].kind, Kind::Structs { .. });
    assert!(is_array == (bracket == b']'), "brackets that do not match");
    fields[at].end = end as u16;
    if !is_array {
        return;
    }
    assert!(end > at + 1, "an array of nothing");
    let inner = fields[at + 1];
    let is_alone = inner.end() == end && inner.is_in_all() && inner.tag.is_none();
    fields[at].kind = match inner.kind {
        Kind::Number(bytes) if is_alone => Kind::Numbers(bytes),
        Kind::String | Kind::Bytes if is_alone => Kind::Texts,
        Kind::Struct if is_alone => Kind::Structs { first: at as u16 + 2 },
        _ => Kind::Structs { first: at as u16 + 1 },
    };
}

const fn read_tag(text: &[u8], at: usize) -> (Option<u16>, usize) {
    if text[at] != b'#' {
        return (None, at);
    }
    let (tag, at) = read_number(text, at + 1);
    assert!(at + 1 < text.len() && text[at] == b':', "tagged fields are written as #0:4");
    (Some(tag as u16), at + 1)
}

const fn read_kind(text: &[u8], at: usize) -> (Kind, usize) {
    match text[at] {
        b's' => (Kind::String, at + 1),
        b'b' => (Kind::Bytes, at + 1),
        b'[' => (Kind::Structs { first: 0 }, at + 1),
        b'{' => (Kind::Struct, at + 1),
        b'?' => {
            assert!(at + 1 < text.len() && text[at + 1] == b'{', "a ? stands before a brace");
            (Kind::Maybe, at + 2)
        }
        _ => {
            let (bytes, at) = read_number(text, at);
            assert!(bytes >= 1 && bytes <= 16, "numbers have 1 to 16 bytes");
            (Kind::Number(bytes as u8), at)
        }
    }
}

const fn read_number(text: &[u8], mut at: usize) -> (i16, usize) {
    assert!(at < text.len() && text[at].is_ascii_digit(), "a number was expected");
    let mut number = 0;
    while at < text.len() && text[at].is_ascii_digit() {
        number = number * 10 + (text[at] - b'0') as i16;
        at += 1;
    }
    (number, at)
}
