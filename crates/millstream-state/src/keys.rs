//! Keys: order-preserving and unambiguous.
//!
//! A key is a sequence of components. Comparing keys byte by byte compares them component by
//! component, and no component can run into the next: two different sequences never give the
//! same bytes, and no message key's entries lie inside the range of another's (parity row
//! ST-12, *Do*).
//!
//! | component | bytes |
//! |---|---|
//! | message key, none | `01` |
//! | message key, bytes | `02`, escaped bytes |
//! | message key, text | `03`, escaped UTF-8 |
//! | message key, any other value | `04`, escaped JSON text |
//! | bytes | escaped bytes |
//! | timestamp (ms) | 8 bytes, big endian, sign bit flipped |
//! | number (u64) | 8 bytes, big endian |
//! | rest | bytes as they are, to the end of the key |
//!
//! *Escaped* means: each `00` is written as `00 ff`, and `00 01` ends the component. A byte
//! string therefore sorts before every longer one that begins with it.
//!
//! The layouts made of these are listed in [`crate::families`]; a window's key, for example, is
//! message key, timestamp.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::ops::Deref;

use millstream_types::Timestamp;

const TAG_NONE: u8 = 0x01;
const TAG_BYTES: u8 = 0x02;
const TAG_TEXT: u8 = 0x03;
const TAG_JSON: u8 = 0x04;

const ESCAPE: u8 = 0x00;
const ESCAPED_ZERO: u8 = 0xff;
const END: u8 = 0x01;

/// A message key by its type. Text is always [`MessageKey::Text`], whichever deserializer it
/// came from, and never JSON with quotes; so equal keys have equal bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MessageKey<'a> {
    /// No key.
    None,
    /// Raw bytes.
    Bytes(&'a [u8]),
    /// Text.
    Text(&'a str),
    /// Any other value as compact JSON.
    Json(&'a [u8]),
}

/// Writes components one after the other into a buffer that the caller keeps.
///
/// ```
/// use millstream_state::{KeyWriter, MessageKey};
/// let mut buffer = Vec::new();
/// let key = KeyWriter::new(&mut buffer).message_key(MessageKey::Text("JFK")).timestamp(0).key();
/// assert_eq!(key, b"\x03JFK\x00\x01\x80\0\0\0\0\0\0\0");
/// ```
#[derive(Debug)]
pub struct KeyWriter<'b> {
    out: &'b mut Vec<u8>,
}

impl<'b> KeyWriter<'b> {
    /// Starts a key in `buffer`, whose content is dropped.
    pub fn new(buffer: &'b mut Vec<u8>) -> Self {
        buffer.clear();
        Self { out: buffer }
    }

    /// Goes on with the key in `buffer`.
    pub fn append(buffer: &'b mut Vec<u8>) -> Self {
        Self { out: buffer }
    }

    /// A message key.
    pub fn message_key(self, key: MessageKey<'_>) -> Self {
        let (tag, bytes) = match key {
            MessageKey::None => {
                self.out.push(TAG_NONE);
                return self;
            }
            MessageKey::Bytes(bytes) => (TAG_BYTES, bytes),
            MessageKey::Text(text) => (TAG_TEXT, text.as_bytes()),
            MessageKey::Json(text) => (TAG_JSON, text),
        };
        self.out.push(tag);
        self.bytes(bytes)
    }

    /// A component of bytes.
    pub fn bytes(self, mut bytes: &[u8]) -> Self {
        while let Some(at) = bytes.iter().position(|byte| *byte == ESCAPE) {
            self.out.extend_from_slice(&bytes[..=at]);
            self.out.push(ESCAPED_ZERO);
            bytes = &bytes[at + 1..];
        }
        self.out.extend_from_slice(bytes);
        self.out.extend_from_slice(&[ESCAPE, END]);
        self
    }

    /// A timestamp in ms; negative ones sort first.
    pub fn timestamp(self, timestamp: Timestamp) -> Self {
        self.out.extend_from_slice(&timestamp_bytes(timestamp));
        self
    }

    /// A number.
    pub fn number(self, number: u64) -> Self {
        self.out.extend_from_slice(&number.to_be_bytes());
        self
    }

    /// Bytes as they are. Only as the last component: nothing marks their end.
    pub fn rest(self, bytes: &[u8]) -> Self {
        self.out.extend_from_slice(bytes);
        self
    }

    /// The key so far.
    pub fn key(self) -> &'b [u8] {
        self.out
    }
}

/// A timestamp as key component.
pub fn timestamp_bytes(timestamp: Timestamp) -> [u8; 8] {
    ((timestamp as u64) ^ (1 << 63)).to_be_bytes()
}

/// Reads components in the order in which they were written. Each method gives `None` where the
/// bytes do not fit, and then the reader is of no further use.
#[derive(Clone, Copy, Debug)]
pub struct KeyReader<'a> {
    rest: &'a [u8],
}

impl<'a> KeyReader<'a> {
    /// Reads `key` from its start.
    pub fn new(key: &'a [u8]) -> Self {
        Self { rest: key }
    }

    /// A message key. Its bytes are unescaped into `buffer`, whose content is dropped.
    pub fn message_key<'b>(&mut self, buffer: &'b mut Vec<u8>) -> Option<MessageKey<'b>> {
        let (tag, rest) = self.rest.split_first()?;
        self.rest = rest;
        if *tag == TAG_NONE {
            return Some(MessageKey::None);
        }
        let bytes = self.bytes(buffer)?;
        match *tag {
            TAG_BYTES => Some(MessageKey::Bytes(bytes)),
            TAG_TEXT => std::str::from_utf8(bytes).ok().map(MessageKey::Text),
            TAG_JSON => Some(MessageKey::Json(bytes)),
            _ => None,
        }
    }

    /// A message key as the bytes it has in the key, tag and terminator included: enough to
    /// build further keys of the same message key ([`KeyWriter::rest`]) and to sort by it.
    pub fn raw_message_key(&mut self) -> Option<&'a [u8]> {
        let whole = self.rest;
        let (tag, rest) = whole.split_first()?;
        let length = if *tag == TAG_NONE { 1 } else { 1 + component_length(rest)? };
        self.rest = &whole[length..];
        Some(&whole[..length])
    }

    /// A component of bytes, unescaped into `buffer`.
    pub fn bytes<'b>(&mut self, buffer: &'b mut Vec<u8>) -> Option<&'b [u8]> {
        let length = component_length(self.rest)?;
        let (component, rest) = self.rest.split_at(length);
        self.rest = rest;
        buffer.clear();
        let mut bytes = component[..length - 2].iter();
        while let Some(byte) = bytes.next() {
            buffer.push(*byte);
            if *byte == ESCAPE {
                bytes.next();
            }
        }
        Some(buffer)
    }

    /// A timestamp in ms.
    pub fn timestamp(&mut self) -> Option<Timestamp> {
        self.number().map(|number| (number ^ (1 << 63)) as Timestamp)
    }

    /// A number.
    pub fn number(&mut self) -> Option<u64> {
        let (number, rest) = self.rest.split_first_chunk::<8>()?;
        self.rest = rest;
        Some(u64::from_be_bytes(*number))
    }

    /// What is left.
    pub fn rest(self) -> &'a [u8] {
        self.rest
    }
}

/// Length of the escaped component that `bytes` begins with, terminator included.
fn component_length(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let at = from + bytes[from..].iter().position(|byte| *byte == ESCAPE)?;
        match *bytes.get(at + 1)? {
            END => return Some(at + 2),
            ESCAPED_ZERO => from = at + 2,
            _ => return None,
        }
    }
}

/// The smallest key that is greater than every key beginning with `prefix`; `None` if there is
/// none.
pub fn prefix_end(prefix: &[u8]) -> Option<KeyBuf> {
    let last = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(KeyBuf::new(&end))
}

/// Longest key that [`KeyBuf`] holds without an allocation.
const INLINE: usize = 38;

/// An owned key. Up to 38 bytes (a window of a message key of 27 bytes) lie in place.
#[derive(Clone)]
pub struct KeyBuf(Repr);

#[derive(Clone)]
enum Repr {
    Inline { length: u8, bytes: [u8; INLINE] },
    Heap(Box<[u8]>),
}

impl KeyBuf {
    /// A copy of `key`.
    pub fn new(key: &[u8]) -> Self {
        if key.len() > INLINE {
            return Self(Repr::Heap(key.into()));
        }
        let mut bytes = [0; INLINE];
        bytes[..key.len()].copy_from_slice(key);
        Self(Repr::Inline { length: key.len() as u8, bytes })
    }
}

impl Deref for KeyBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Repr::Inline { length, bytes } => &bytes[..*length as usize],
            Repr::Heap(bytes) => bytes,
        }
    }
}

impl Borrow<[u8]> for KeyBuf {
    fn borrow(&self) -> &[u8] {
        self
    }
}

impl PartialEq for KeyBuf {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for KeyBuf {}

impl PartialOrd for KeyBuf {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for KeyBuf {
    fn cmp(&self, other: &Self) -> Ordering {
        (**self).cmp(&**other)
    }
}

impl fmt::Debug for KeyBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::error::key_text(self))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(key: MessageKey<'_>, start: Timestamp) -> Vec<u8> {
        let mut buffer = Vec::new();
        KeyWriter::new(&mut buffer).message_key(key).timestamp(start);
        buffer
    }

    /// The bytes are on disk: a change here is a new format version.
    #[test]
    fn golden_bytes() {
        assert_eq!(encoded(MessageKey::None, 0), b"\x01\x80\0\0\0\0\0\0\0");
        assert_eq!(
            encoded(MessageKey::Bytes(b"a\0b"), -1),
            b"\x02a\0\xffb\0\x01\x7f\xff\xff\xff\xff\xff\xff\xff"
        );
        assert_eq!(encoded(MessageKey::Text("é"), 1), b"\x03\xc3\xa9\0\x01\x80\0\0\0\0\0\0\x01");
        assert_eq!(encoded(MessageKey::Json(b"[1]"), i64::MIN), b"\x04[1]\0\x01\0\0\0\0\0\0\0\0");
        let mut buffer = Vec::new();
        let key =
            KeyWriter::new(&mut buffer).timestamp(5).bytes(b"\0").number(258).rest(b"\0x").key();
        assert_eq!(key, b"\x80\0\0\0\0\0\0\x05\0\xff\0\x01\0\0\0\0\0\0\x01\x02\0x");
    }

    /// ST-12 *Do*: none, bytes, text and JSON of the same look do not collide, an empty bytes
    /// key has a space of its own, and no separator in a key can be mistaken.
    #[test]
    fn st_12_types_and_separators_do_not_collide() {
        let keys = [
            MessageKey::None,
            MessageKey::Bytes(b"null"),
            MessageKey::Json(b"null"),
            MessageKey::Text("null"),
            MessageKey::Bytes(b""),
            MessageKey::Bytes(b"\"a\""),
            MessageKey::Text("a"),
            MessageKey::Bytes(b"a|"),
            MessageKey::Bytes(b"a"),
            MessageKey::Bytes(b"a\0\x01"),
        ];
        let mut buffer = Vec::new();
        let prefixes: Vec<Vec<u8>> = keys
            .iter()
            .map(|key| KeyWriter::new(&mut buffer).message_key(*key).key().to_vec())
            .collect();
        for (i, a) in prefixes.iter().enumerate() {
            for (j, b) in prefixes.iter().enumerate() {
                assert_eq!(a.starts_with(b), i == j, "{:?} {:?}", keys[i], keys[j]);
            }
        }
    }

    #[test]
    fn broken_keys_are_refused() {
        let mut buffer = Vec::new();
        for key in
            [&b""[..], b"\x02abc", b"\x02a\0", b"\x02a\0\x02", b"\x09a\0\x01", b"\x03\xff\0\x01"]
        {
            assert_eq!(KeyReader::new(key).message_key(&mut buffer), None, "{key:?}");
        }
        assert_eq!(KeyReader::new(b"1234567").timestamp(), None);
    }

    #[test]
    fn prefix_ends() {
        assert_eq!(prefix_end(b"a\xff\xff").as_deref(), Some(&b"b"[..]));
        assert_eq!(prefix_end(b"\xff"), None);
        assert_eq!(prefix_end(b""), None);
    }

    fn message_key() -> impl Strategy<Value = (u8, Vec<u8>)> {
        // Few byte values, so that escapes, terminators and prefixes of each other are common.
        (
            0..3_u8,
            proptest::collection::vec(prop_oneof![Just(0), Just(1), Just(0xff), any::<u8>()], 0..6),
        )
    }

    fn typed((kind, bytes): &(u8, Vec<u8>)) -> MessageKey<'_> {
        match kind {
            0 => MessageKey::None,
            1 => MessageKey::Bytes(bytes),
            _ => MessageKey::Json(bytes),
        }
    }

    proptest! {
        #[test]
        fn order_and_round_trip(a in message_key(), at in any::<i64>(), b in message_key(), bt in any::<i64>()) {
            let (a, b) = (typed(&a), typed(&b));
            let (left, right) = (encoded(a, at), encoded(b, bt));
            prop_assert_eq!((a, at).cmp(&(b, bt)), left.cmp(&right));
            let mut buffer = Vec::new();
            let mut reader = KeyReader::new(&left);
            prop_assert_eq!(reader.message_key(&mut buffer), Some(a));
            prop_assert_eq!(reader.timestamp(), Some(at));
            prop_assert!(reader.rest().is_empty());
            let mut reader = KeyReader::new(&left);
            let raw = reader.raw_message_key().expect("a whole key").to_vec();
            prop_assert_eq!(reader.timestamp(), Some(at));
            let mut again = Vec::new();
            KeyWriter::new(&mut again).rest(&raw).timestamp(at);
            prop_assert_eq!(again, left);
        }

        #[test]
        fn key_buffers_keep_their_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            prop_assert_eq!(&*KeyBuf::new(&bytes), &bytes[..]);
        }
    }
}
