//! The changes of one checkpoint, encoded once: the changelog and the backend get the same bytes.

use crate::FamilyId;

/// Changes in the order in which they are to be applied, in one arena.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Per change: family, key, value.
    bytes: Vec<u8>,
    ops: Vec<Op>,
}

#[derive(Clone, Copy, Debug)]
struct Op {
    start: usize,
    /// Length of family and key.
    key_length: u32,
    /// Length of the value; `DELETED` for none.
    value_length: u32,
    local: bool,
}

const DELETED: u32 = u32::MAX;

/// One change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchOp<'a> {
    /// Where.
    pub family: FamilyId,
    /// The key.
    pub key: &'a [u8],
    /// The family's number followed by the key: the key of the changelog record.
    pub record_key: &'a [u8],
    /// The stored form of the entry; `None` deletes.
    pub value: Option<&'a [u8]>,
    /// For the backend only, not for the changelog.
    pub local: bool,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of changes.
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Whether there is no change.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// Bytes of keys and values.
    pub fn byte_size(&self) -> usize {
        self.bytes.len()
    }

    /// Forgets all changes; the memory stays.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ops.clear();
    }

    /// Sets a key to the value that `write` appends.
    ///
    /// # Panics
    /// If key or value have 4 GiB or more.
    pub fn put_with(&mut self, family: FamilyId, key: &[u8], write: impl FnOnce(&mut Vec<u8>)) {
        let (start, key_length) = self.key(family, key);
        let value_start = self.bytes.len();
        write(&mut self.bytes);
        let value_length = length(self.bytes.len() - value_start);
        self.ops.push(Op { start, key_length, value_length, local: false });
    }

    /// Sets a key to a value.
    ///
    /// # Panics
    /// If key or value have 4 GiB or more.
    pub fn put(&mut self, family: FamilyId, key: &[u8], value: &[u8]) {
        self.put_with(family, key, |out| out.extend_from_slice(value));
    }

    /// Deletes a key.
    pub fn delete(&mut self, family: FamilyId, key: &[u8]) {
        let (start, key_length) = self.key(family, key);
        self.ops.push(Op { start, key_length, value_length: DELETED, local: false });
    }

    /// Keeps the last change out of the changelog: the backend alone gets it.
    ///
    /// # Panics
    /// If there is no change.
    pub fn make_last_local(&mut self) {
        self.ops.last_mut().expect("a change was made").local = true;
    }

    /// The change at `index`.
    ///
    /// # Panics
    /// If `index >= len()`.
    pub fn get(&self, index: usize) -> BatchOp<'_> {
        let op = self.ops[index];
        let (record_key, rest) = self.bytes[op.start..].split_at(op.key_length as usize);
        BatchOp {
            family: FamilyId(record_key[0]),
            key: &record_key[1..],
            record_key,
            value: (op.value_length != DELETED).then(|| &rest[..op.value_length as usize]),
            local: op.local,
        }
    }

    /// All changes in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = BatchOp<'_>> {
        (0..self.len()).map(|index| self.get(index))
    }

    /// Sorts by family and key and keeps the last change of each key: what a backend takes in
    /// fastest.
    pub fn sort(&mut self) {
        let bytes = &self.bytes;
        let key = |op: &Op| &bytes[op.start..op.start + op.key_length as usize];
        self.ops.sort_by(|a, b| key(a).cmp(key(b)).then(b.start.cmp(&a.start)));
        self.ops.dedup_by(|later, kept| key(later) == key(kept));
    }

    fn key(&mut self, family: FamilyId, key: &[u8]) -> (usize, u32) {
        let start = self.bytes.len();
        self.bytes.push(family.0);
        self.bytes.extend_from_slice(key);
        (start, length(key.len() + 1))
    }
}

fn length(length: usize) -> u32 {
    u32::try_from(length)
        .ok()
        .filter(|length| *length != DELETED)
        .expect("keys and values are below 4 GiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_come_out_as_they_went_in() {
        let mut batch = Batch::new();
        batch.put(FamilyId(1), b"b", b"first");
        batch.delete(FamilyId(2), b"");
        batch.put(FamilyId(1), b"a", b"");
        let ops: Vec<_> = batch.iter().map(|op| (op.family.0, op.key, op.value)).collect();
        assert_eq!(
            ops,
            [(1, &b"b"[..], Some(&b"first"[..])), (2, b"", None), (1, b"a", Some(b""))]
        );
        assert_eq!(batch.get(0).record_key, b"\x01b");
    }

    #[test]
    fn a_local_change_stays_local() {
        let mut batch = Batch::new();
        batch.put(FamilyId(2), b"x", b"");
        batch.make_last_local();
        batch.put(FamilyId(1), b"a", b"");
        batch.delete(FamilyId(1), b"b");
        batch.make_last_local();
        batch.sort();
        let ops: Vec<_> = batch.iter().map(|op| (op.record_key, op.local)).collect();
        assert_eq!(ops, [(&b"\x01a"[..], false), (b"\x01b", true), (b"\x02x", true)]);
    }

    #[test]
    fn sorting_keeps_the_last_change_of_a_key() {
        let mut batch = Batch::new();
        batch.put(FamilyId(1), b"b", b"1");
        batch.put(FamilyId(1), b"a", b"2");
        batch.delete(FamilyId(1), b"b");
        batch.put(FamilyId(0x10), b"a", b"3");
        batch.put(FamilyId(1), b"a", b"4");
        batch.sort();
        let ops: Vec<_> = batch.iter().map(|op| (op.record_key, op.value)).collect();
        assert_eq!(
            ops,
            [(&b"\x01a"[..], Some(&b"4"[..])), (b"\x01b", None), (b"\x10a", Some(b"3"))]
        );
    }
}
