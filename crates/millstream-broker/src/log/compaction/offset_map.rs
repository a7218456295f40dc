//! The newest offset of each key in the part of a log that is about to be compacted.
//!
//! Kafka's cleaner keeps a hash of each key; here the keys themselves are kept, so that no two can
//! be taken for one. They lie in one run of bytes: a map of a million keys is gone in one step.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, DefaultHasher, Hasher};

/// What an entry costs beside its key: itself, and its place in the table of hashes with the
/// room that such a table keeps free.
const ENTRY_BYTES: usize = 64;
/// No further entry with the same hash.
const NONE: u32 = u32::MAX;

#[derive(Debug)]
struct Entry {
    /// Where the key lies.
    from: usize,
    length: usize,
    offset: i64,
    /// Another key with the same hash.
    next: u32,
}

/// Keys with their newest offsets, bounded in bytes.
#[derive(Debug)]
pub(super) struct OffsetMap {
    keys: Vec<u8>,
    entries: Vec<Entry>,
    /// The first entry of a hash.
    first: HashMap<u64, u32, BuildHasherDefault<DefaultHasher>>,
    bytes_max: usize,
}

impl OffsetMap {
    /// An empty map that is full when it takes about `bytes_max`.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { keys: Vec::new(), entries: Vec::new(), first: HashMap::default(), bytes_max }
    }

    /// Whether no further batch should be put in. A batch that was begun goes in whole.
    pub(super) fn is_full(&self) -> bool {
        self.keys.len() + self.entries.len() * ENTRY_BYTES >= self.bytes_max
    }

    /// Notes that the key's newest record is at `offset`; offsets come in growing order.
    pub(super) fn put(&mut self, key: &[u8], offset: i64) {
        let hash = hash_of(key);
        let first = self.first.get(&hash).copied();
        if let Some(at) = self.find(first, key) {
            self.entries[at].offset = offset;
            return;
        }
        let from = self.keys.len();
        self.keys.extend_from_slice(key);
        let next = first.unwrap_or(NONE);
        self.first.insert(hash, self.entries.len() as u32);
        self.entries.push(Entry { from, length: key.len(), offset, next });
    }

    /// The key's newest offset.
    pub(super) fn get(&self, key: &[u8]) -> Option<i64> {
        let first = self.first.get(&hash_of(key)).copied();
        self.find(first, key).map(|at| self.entries[at].offset)
    }

    fn find(&self, first: Option<u32>, key: &[u8]) -> Option<usize> {
        let mut at = first.unwrap_or(NONE);
        while at != NONE {
            let entry = &self.entries[at as usize];
            if self.keys[entry.from..entry.from + entry.length] == *key {
                return Some(at as usize);
            }
            at = entry.next;
        }
        None
    }
}

/// Without a seed: the same log is compacted in the same way each time.
fn hash_of(key: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::default();
    hasher.write(key);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_offset_of_each_key_until_it_is_full() {
        let mut map = OffsetMap::new(10 * (ENTRY_BYTES + 3));
        for offset in 0..10 {
            assert!(!map.is_full());
            map.put(format!("k{:02}", offset % 5).as_bytes(), offset);
        }
        assert_eq!((map.get(b"k03"), map.get(b"k04"), map.get(b"k05")), (Some(8), Some(9), None));
        for offset in 10..15 {
            assert!(!map.is_full());
            map.put(format!("k{offset}").as_bytes(), offset);
        }
        assert!(map.is_full());
        map.put(b"", 15);
        assert_eq!((map.get(b""), map.get(b"k00"), map.get(b"k14")), (Some(15), Some(5), Some(14)));
    }

    #[test]
    fn keys_of_one_hash_are_told_apart() {
        let mut map = OffsetMap::new(1000);
        map.put(b"a", 1);
        map.put(b"b", 2);
        // As if `b` had the hash of `a`.
        let at = map.first.remove(&hash_of(b"b")).unwrap();
        map.entries[0].next = at;
        map.put(b"a", 3);
        let first = map.first.get(&hash_of(b"a")).copied();
        assert_eq!(map.find(first, b"b"), Some(1));
        assert_eq!((map.get(b"a"), map.find(first, b"c")), (Some(3), None));
    }
}
