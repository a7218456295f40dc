//! The records that are written and read: JSON objects, by a rule, so that results can be checked.

use std::fmt::Write;

/// Length of every value that pipelines read, in bytes.
const VALUE_BYTES: usize = 151;

/// Length of every value that clients are compared with.
const SHORT_VALUE_BYTES: usize = 100;

/// Number of different keys.
const KEYS: u64 = 100;

/// 2026-01-01, as a multiple of the window's length.
const FIRST_MS: i64 = 1_767_225_600_000;

/// Records are a millisecond apart.
pub(crate) fn timestamp_ms(index: u64) -> i64 {
    FIRST_MS + i64::try_from(index).expect("a count of records")
}

/// The keys are spread so that neighbours differ, as they do in life.
fn key(index: u64) -> String {
    format!("user-{:04}", index * 7919 % KEYS)
}

/// Writes the value of record number `index`, and returns its key. One in a hundred has an amount below the filter.
pub(crate) fn write(index: u64, value: &mut String) -> String {
    write_amount(index, if index % 100 == 37 { 1 } else { 11 + index % 900 }, value)
}

/// The same, with an amount above the filter in every record.
pub(crate) fn write_that_passes(index: u64, value: &mut String) -> String {
    write_amount(index, 11 + index % 900, value)
}

fn write_amount(index: u64, amount: u64, value: &mut String) -> String {
    let key = key(index);
    value.clear();
    write!(
        value,
        r#"{{"id":{},"user":"{key}","amount":{amount}.5,"quantity":{},"country":"DE","kind":"purchase","note":""#,
        10_000_000 + index,
        1 + index % 9
    )
    .expect("a string takes all");
    while value.len() < VALUE_BYTES - 2 {
        value.push('x');
    }
    value.push_str("\"}");
    key
}

/// Records of 100 bytes, made before the clock runs: making one costs more than a client takes for it.
pub(crate) struct Ring(Vec<(String, String)>);

impl Ring {
    /// So many that a codec, which looks back 64 KB, does not see that they come again.
    const RECORDS: u64 = 10_000;

    pub(crate) fn new() -> Self {
        Ring((0..Self::RECORDS).map(|index| (key(index), short_value(index))).collect())
    }

    /// Key and value of record number `index`.
    pub(crate) fn get(&self, index: u64) -> (&[u8], &[u8]) {
        let (key, value) = &self.0[(index % Self::RECORDS) as usize];
        (key.as_bytes(), value.as_bytes())
    }
}

/// Names that repeat and digits that do not: codecs halve it about, as they do most of what is in Kafka.
fn short_value(index: u64) -> String {
    let mut value =
        format!(r#"{{"id":{},"amount":{}.5,"session":""#, 10_000_000 + index, 11 + index % 900);
    // Splitmix64: digits that no codec can guess.
    let mut state = index;
    while value.len() < SHORT_VALUE_BYTES - 2 {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        write!(value, "{:016x}", mixed ^ (mixed >> 27)).expect("a string takes all");
    }
    value.truncate(SHORT_VALUE_BYTES - 2);
    value.push_str("\"}");
    value
}

/// Number and checksum of records, the same in whatever order they come. Every byte of key and
/// value has a part in it, for a price that does not blur what the client costs.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) records: u64,
    pub(crate) checksum: u64,
}

impl Sum {
    #[inline]
    pub(crate) fn add(&mut self, key: &[u8], value: &[u8]) {
        self.records += 1;
        // An odd factor: no bit is lost, and every one of them moves those above it.
        let mixed = fold(fold(key.len() as u64, key), value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.checksum = self.checksum.wrapping_add(mixed ^ (mixed >> 32));
    }
}

#[inline]
fn fold(state: u64, bytes: &[u8]) -> u64 {
    let words = bytes.chunks_exact(8);
    let mut last = [0; 8];
    last[..words.remainder().len()].copy_from_slice(words.remainder());
    let state = words.fold(state, |state, word| {
        state.rotate_left(5) ^ u64::from_le_bytes(word.try_into().expect("eight bytes"))
    });
    state.rotate_left(5) ^ u64::from_le_bytes(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_has_the_length_that_reports_name() {
        let mut value = String::new();
        for index in [0, 1, 37, 99, 123_456, 9_999_999] {
            let key = write(index, &mut value);
            assert_eq!(value.len(), VALUE_BYTES, "{value}");
            assert!(value.contains(&key));
        }
        for index in [0, 1, 9_999] {
            assert_eq!(short_value(index).len(), SHORT_VALUE_BYTES, "{}", short_value(index));
        }
    }

    #[test]
    fn a_checksum_sees_every_byte_and_no_order() {
        let sum = |records: &[(&[u8], &[u8])]| {
            let mut sum = Sum::default();
            records.iter().for_each(|(key, value)| sum.add(key, value));
            sum.checksum
        };
        let value = short_value(7).into_bytes();
        let plain = sum(&[(b"user-0001", &value)]);
        for at in 0..value.len() {
            let mut changed = value.clone();
            changed[at] ^= 1;
            assert_ne!(sum(&[(b"user-0001", &changed)]), plain, "byte {at}");
        }
        assert_ne!(sum(&[(b"user-0002", &value)]), plain);
        assert_ne!(sum(&[(b"user-000", &value)]), plain);
        let one: (&[u8], &[u8]) = (b"a", b"b");
        let two: (&[u8], &[u8]) = (b"c", &value);
        assert_eq!(sum(&[one, two]), sum(&[two, one]));
        assert_ne!(sum(&[one, one]), sum(&[two, two]));
    }
}
