//! Reading checked text where it lies.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;

use super::index::FieldIndex;
use super::number::{self, Number};
use super::scan::{Quotes, container_end, skip_space, value_end};
use super::{JsonText, build};
use crate::{Map, Text, Value};

/// From this many fields on, a map is decoded with an index of its keys.
const FIELDS_SCANNED: usize = 32;

/// What sort of value JSON text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are JSON's own")]
pub enum Kind {
    Null,
    Bool(bool),
    Number,
    Str,
    List,
    Map,
}

/// A value inside checked JSON text.
#[derive(Clone, Copy, Debug)]
pub struct JsonRef<'a> {
    owner: &'a JsonText,
    text: &'a str,
}

/// Where a field's value lies in the text; nowhere by default.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// Text of 4 GiB is refused by the check.
    #[inline]
    pub(super) fn new(range: Range<usize>) -> Self {
        Self { start: range.start as u32, end: range.end as u32 }
    }
}

impl<'a> JsonRef<'a> {
    pub(super) fn whole(owner: &'a JsonText) -> Self {
        Self { owner, text: owner.as_str() }
    }

    #[inline(always)]
    fn part(self, range: Range<usize>) -> Self {
        Self { owner: self.owner, text: slice(self.text, range) }
    }

    /// The text of the value.
    pub fn as_str(self) -> &'a str {
        self.text
    }

    /// What sort of value it is.
    #[inline]
    pub fn kind(self) -> Kind {
        match self.text.as_bytes().first() {
            Some(b'"') => Kind::Str,
            Some(b'{') => Kind::Map,
            Some(b'[') => Kind::List,
            Some(b't') => Kind::Bool(true),
            Some(b'f') => Kind::Bool(false),
            Some(b'n') => Kind::Null,
            _ => Kind::Number,
        }
    }

    /// What Python calls its type.
    pub(crate) fn type_name(self) -> &'static str {
        match self.kind() {
            Kind::Null => "NoneType",
            Kind::Bool(_) => "bool",
            Kind::Number => match self.number() {
                Some(Number::Float(_)) => "float",
                _ => "int",
            },
            Kind::Str => "str",
            Kind::List => "list",
            Kind::Map => "dict",
        }
    }

    /// The number, if it is one.
    #[inline]
    pub fn number(self) -> Option<Number> {
        (self.kind() == Kind::Number).then(|| number::parse(self.text.as_bytes()))
    }

    /// The string, if it is one.
    #[inline]
    pub fn string(self) -> Option<JsonStr<'a>> {
        if !self.text.starts_with('"') {
            return None;
        }
        let raw = slice(self.text, 1..self.text.len() - 1);
        Some(JsonStr { owner: self.owner, raw, escaped: raw.as_bytes().contains(&b'\\') })
    }

    /// The fields in the order of the text, duplicate keys as they come. Nothing if it is no map.
    #[inline]
    pub fn fields(self) -> Fields<'a> {
        let text = self.text.as_bytes();
        let start = if let Some(b'{') = text.first() { 1 } else { text.len() };
        let mut quotes = Quotes::new(text, start);
        let key = quotes.next();
        Fields { value: self, quotes, key }
    }

    /// The items. Nothing if it is no list.
    #[inline]
    pub fn items(self) -> Items<'a> {
        let text = self.text.as_bytes();
        let at = match text.first() {
            Some(b'[') => skip_space(text, 1),
            _ => text.len(),
        };
        Items { value: self, at }
    }

    /// Where the fields lie, if this is the whole text and that was noted.
    #[inline]
    fn index(self) -> Option<&'a FieldIndex> {
        // A part of a text is shorter than it.
        self.owner.index().filter(|_| self.text.len() == self.owner.as_bytes().len())
    }

    /// The value of a field: of duplicates the last.
    pub fn field(self, key: &str) -> Option<JsonRef<'a>> {
        if let Some(index) = self.index() {
            return index.find(self.text.as_bytes(), key.as_bytes()).and_then(|span| self.at(span));
        }
        let mut found = None;
        for (name, value) in self.fields() {
            if name.is(key) {
                found = Some(value);
            }
        }
        found
    }

    /// Finds several fields in one pass; `found` is as long as `keys` at least.
    #[inline]
    pub(crate) fn find_fields<K: AsRef<str>>(self, keys: &[K], found: &mut [Span]) {
        if let Some(index) = self.index() {
            for (key, slot) in keys.iter().zip(found) {
                let span = index.find(self.text.as_bytes(), key.as_ref().as_bytes());
                *slot = span.unwrap_or_default();
            }
            return;
        }
        for (key, value) in self.fields() {
            for (wanted, slot) in keys.iter().zip(&mut *found) {
                if key.is(wanted.as_ref()) {
                    let start = value.text.as_ptr() as usize - self.text.as_ptr() as usize;
                    *slot = Span::new(start..start + value.text.len());
                }
            }
        }
    }

    /// What was found at `span` by [`JsonRef::find_fields`].
    #[inline]
    pub(crate) fn at(self, span: Span) -> Option<JsonRef<'a>> {
        let range = span.start as usize..span.end as usize;
        (range.end > 0).then(|| {
            let text = self.text.get(range).expect("the span was found in this text");
            Self { owner: self.owner, text }
        })
    }

    /// The value at the end of a path of field names.
    ///
    /// ```
    /// use millstream_value::Value;
    ///
    /// let Value::Json(text) = Value::json(r#"{"a": {"b": 1, "b": 2}}"#)? else { unreachable!() };
    /// assert_eq!(text.get().path(["a", "b"]).map(|found| found.as_str()), Some("2"));
    /// assert!(text.get().path(["a", "c"]).is_none());
    /// # Ok::<(), millstream_value::json::JsonError>(())
    /// ```
    pub fn path<'k>(self, keys: impl IntoIterator<Item = &'k str>) -> Option<JsonRef<'a>> {
        keys.into_iter().try_fold(self, JsonRef::field)
    }

    /// The value itself for scalars and strings; containers stay JSON text, which shares the
    /// bytes.
    #[inline]
    pub fn to_value(self) -> Value {
        match self.kind() {
            Kind::Null => Value::Null,
            Kind::Bool(value) => Value::Bool(value),
            Kind::Number => number::parse(self.text.as_bytes()).into(),
            Kind::Str => Value::Str(self.string().expect("its kind is string").to_text()),
            Kind::List | Kind::Map => Value::Json(self.to_json()),
        }
    }

    /// The value as JSON text of its own, which shares the bytes.
    pub fn to_json(self) -> JsonText {
        JsonText::part(self.owner.as_bytes().slice_ref(self.text.as_bytes()))
    }

    /// The native value, one level deep: containers inside a list or map stay JSON text.
    pub fn decode(self) -> Value {
        match self.kind() {
            Kind::List => Value::List(self.items().map(JsonRef::to_value).collect()),
            Kind::Map => Value::Map(self.decode_map(0)),
            _ => self.to_value(),
        }
    }

    /// The native value all the way down.
    pub fn decode_deep(self) -> Value {
        build::build(self, &mut build::Native)
    }

    /// The fields of a map, one level deep, with room for `more`.
    pub(crate) fn decode_map(self, more: usize) -> Map {
        // Fields of sixteen bytes are short ones; more room is made when it turns out so.
        let mut fields = MapFields::with_capacity(self.text.len().min(1024) / 16 + more);
        for (key, value) in self.fields() {
            fields.set(key.to_text(), value.to_value());
        }
        fields.finish()
    }
}

/// `text[range]`, where both ends are ASCII characters of checked JSON.
#[inline(always)]
fn slice(text: &str, range: Range<usize>) -> &str {
    debug_assert!(text.is_char_boundary(range.start) && text.is_char_boundary(range.end));
    let bytes = &text.as_bytes()[range];
    // SAFETY: callers cut at quotes, brackets, commas and white space only: ASCII characters,
    // which never lie inside another character, so both parts of a cut are UTF-8.
    unsafe { std::str::from_utf8_unchecked(bytes) }
}

impl From<Number> for Value {
    fn from(number: Number) -> Self {
        match number {
            Number::Int(value) => Value::Int(value),
            Number::UInt(value) => Value::UInt(value),
            Number::Float(value) => Value::Float(value),
        }
    }
}

/// A string inside checked JSON text.
#[derive(Clone, Copy, Debug)]
pub struct JsonStr<'a> {
    owner: &'a JsonText,
    raw: &'a str,
    escaped: bool,
}

impl<'a> JsonStr<'a> {
    /// Whether it is that text.
    #[inline(always)]
    pub fn is(self, text: &str) -> bool {
        if self.escaped { self.unescape() == text } else { self.raw == text }
    }

    /// The string; copied only if it has escapes.
    pub fn to_cow(self) -> Cow<'a, str> {
        if self.escaped { Cow::Owned(self.unescape()) } else { Cow::Borrowed(self.raw) }
    }

    /// The string as it is spelled, without the quotes.
    pub(super) fn raw(self) -> &'a str {
        self.raw
    }

    /// The string, if it has no escapes.
    pub fn plain(self) -> Option<&'a str> {
        (!self.escaped).then_some(self.raw)
    }

    /// The string as a text, which shares the bytes if it has no escapes.
    #[inline]
    pub fn to_text(self) -> Text {
        if self.escaped {
            Text::from(self.unescape())
        } else {
            Text::part_of(self.owner.as_bytes(), self.raw)
        }
    }

    /// The bytes it lies in.
    pub(crate) fn owner(self) -> &'a Bytes {
        self.owner.as_bytes()
    }

    #[cold]
    fn unescape(self) -> String {
        let mut out = String::with_capacity(self.raw.len());
        let mut rest = self.raw;
        while let Some((plain, tail)) = rest.split_once('\\') {
            out.push_str(plain);
            let (char, length) = unescape_one(tail);
            out.push(char);
            rest = &tail[length..];
        }
        out.push_str(rest);
        out
    }
}

/// The character that an escape stands for, and how many bytes follow the backslash.
fn unescape_one(tail: &str) -> (char, usize) {
    let code = |at: usize| {
        tail.get(at..at + 4).and_then(|digits| u32::from_str_radix(digits, 16).ok()).unwrap_or(0)
    };
    match tail.as_bytes().first() {
        Some(b'b') => ('\u{8}', 1),
        Some(b'f') => ('\u{c}', 1),
        Some(b'n') => ('\n', 1),
        Some(b'r') => ('\r', 1),
        Some(b't') => ('\t', 1),
        Some(b'u') => match code(1) {
            high @ 0xd800..=0xdbff => {
                let low = code(7);
                let char = 0x10000 + ((high - 0xd800) << 10) + (low.wrapping_sub(0xdc00) & 0x3ff);
                (char::from_u32(char).unwrap_or(char::REPLACEMENT_CHARACTER), 11)
            }
            code => (char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), 5),
        },
        other => (other.map_or('\\', |byte| char::from(*byte)), 1),
    }
}

/// The fields of a map, in the order of the text.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    value: JsonRef<'a>,
    quotes: Quotes<'a>,
    /// The quote that starts the next key; the end of the text if there is no more.
    key: usize,
}

impl<'a> Iterator for Fields<'a> {
    type Item = (JsonStr<'a>, JsonRef<'a>);

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        let text = self.value.text.as_bytes();
        if self.key >= text.len() {
            return None;
        }
        let (from, quote) = (self.key + 1, self.quotes.next());
        let raw = slice(self.value.text, from..quote);
        // Whether any backslash came up so far is known for nothing; only then is it worth
        // looking whether it is in the key.
        let escaped = self.quotes.slashes() && raw.as_bytes().contains(&b'\\');
        let key = JsonStr { owner: self.value.owner, raw, escaped };
        let colon = skip_space(text, quote + 1);
        let from = skip_space(text, colon + 1);
        let to = match text.get(from) {
            Some(b'"') => {
                self.quotes.next();
                let end = self.quotes.next() + 1;
                self.key = self.quotes.next();
                end
            }
            Some(b'{' | b'[') => {
                let end = container_end(text, from);
                self.quotes.skip_to(end);
                self.key = self.quotes.next();
                end
            }
            // A number or a word ends before the comma that comes before the next key, or before
            // the bracket at the end of the map.
            _ => {
                self.key = self.quotes.next();
                let separator = space_before(text, self.key.min(text.len())) - 1;
                space_before(text, separator)
            }
        };
        Some((key, self.value.part(from..to)))
    }
}

/// Where the white space starts that ends at `at`.
#[inline(always)]
fn space_before(text: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\n' | b'\r' | b'\t') = at.checked_sub(1).and_then(|at| text.get(at)) {
        at -= 1;
    }
    at
}

/// The items of a list.
#[derive(Clone, Debug)]
pub struct Items<'a> {
    value: JsonRef<'a>,
    at: usize,
}

impl<'a> Iterator for Items<'a> {
    type Item = JsonRef<'a>;

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        let text = self.value.text.as_bytes();
        if matches!(text.get(self.at), None | Some(b']')) {
            return None;
        }
        let to = value_end(text, self.at);
        let item = self.value.part(self.at..to);
        self.at = next_start(text, to);
        Some(item)
    }
}

/// Where the next key or item starts, given the end of a value; the closing bracket otherwise.
#[inline(always)]
fn next_start(text: &[u8], end: usize) -> usize {
    let comma = skip_space(text, end);
    match text.get(comma) {
        Some(b',') => skip_space(text, comma + 1),
        _ => comma,
    }
}

/// A map under construction, whose keys may come twice.
pub(super) struct MapFields {
    map: Map,
    /// Where each key is, once there are many: looking through them for each new one would
    /// take quadratic time.
    index: Option<std::collections::HashMap<Text, usize>>,
}

impl MapFields {
    pub(super) fn with_capacity(capacity: usize) -> Self {
        Self { map: Map::with_capacity(capacity), index: None }
    }

    #[inline]
    pub(super) fn set(&mut self, key: Text, value: Value) {
        if self.map.len() < FIELDS_SCANNED {
            return self.map.insert(key, value);
        }
        let index = self.index.get_or_insert_with(|| {
            self.map.keys().enumerate().map(|(at, key)| (key.clone(), at)).collect()
        });
        match index.entry(key) {
            std::collections::hash_map::Entry::Occupied(found) => {
                self.map.set_at(*found.get(), value);
            }
            std::collections::hash_map::Entry::Vacant(free) => {
                self.map.push_new(free.key().clone(), value);
                free.insert(self.map.len() - 1);
            }
        }
    }

    pub(super) fn finish(self) -> Map {
        self.map
    }
}
