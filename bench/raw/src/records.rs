//! The records that all workloads read: JSON objects of 151 bytes, by a rule, so that results can be checked.

use std::fmt::Write;

/// Length of every value, in bytes.
const VALUE_BYTES: usize = 151;

/// Number of different keys.
const KEYS: u64 = 100;

/// 2026-01-01, as a multiple of the window's length.
const FIRST_MS: i64 = 1_767_225_600_000;

/// Records are a millisecond apart.
pub(crate) fn timestamp_ms(index: u64) -> i64 {
    FIRST_MS + i64::try_from(index).expect("a count of records")
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
    // The keys are spread so that neighbours differ, as they do in life.
    let key = format!("user-{:04}", index * 7919 % KEYS);
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
    }
}
