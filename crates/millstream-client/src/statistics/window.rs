//! Values between two reports: their number, sum, bounds and percentiles.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// Buckets of each power of two: percentiles are exact to one part in as many.
const STEPS: u32 = 32;

/// Counts values in buckets that grow with them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Window {
    count: u64,
    sum: u64,
    squares: f64,
    min: u64,
    max: u64,
    /// By the lowest value of the bucket.
    buckets: BTreeMap<u64, u64>,
}

/// The lowest value of the bucket that `value` falls into.
fn bucket(value: u64) -> u64 {
    let shift = value.checked_ilog2().unwrap_or(0).saturating_sub(STEPS.ilog2());
    value >> shift << shift
}

impl Window {
    pub(crate) fn add(&mut self, value: u64) {
        self.min = if self.count == 0 { value } else { self.min.min(value) };
        self.max = self.max.max(value);
        self.count += 1;
        self.sum = self.sum.saturating_add(value);
        self.squares += (value as f64).powi(2);
        *self.buckets.entry(bucket(value)).or_default() += 1;
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        self.min = if self.count == 0 { other.min } else { self.min.min(other.min) };
        self.max = self.max.max(other.max);
        self.count += other.count;
        self.sum = self.sum.saturating_add(other.sum);
        self.squares += other.squares;
        for (bucket, count) in &other.buckets {
            *self.buckets.entry(*bucket).or_default() += count;
        }
    }

    /// What was seen, and begins anew.
    pub(crate) fn take(&mut self) -> Value {
        let seen = std::mem::take(self);
        let mean = seen.sum.checked_div(seen.count).unwrap_or(0);
        let variance = match seen.count {
            0 => 0.0,
            count => seen.squares / count as f64 - (seen.sum as f64 / count as f64).powi(2),
        };
        json!({
            "min": seen.min,
            "max": seen.max,
            "avg": mean,
            "sum": seen.sum,
            "stddev": variance.max(0.0).sqrt() as u64,
            "p50": seen.percentile(50.0),
            "p75": seen.percentile(75.0),
            "p90": seen.percentile(90.0),
            "p95": seen.percentile(95.0),
            "p99": seen.percentile(99.0),
            "p99_99": seen.percentile(99.99),
            "outofrange": 0,
            "cnt": seen.count,
        })
    }

    /// The value that so many of a hundred do not exceed.
    fn percentile(&self, of_100: f64) -> u64 {
        let rank = (self.count as f64 * of_100 / 100.0).ceil() as u64;
        let mut passed = 0;
        for (bucket, count) in &self.buckets {
            passed += count;
            if passed >= rank {
                return (*bucket).clamp(self.min, self.max);
            }
        }
        self.max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_tells_what_went_in_since_the_last_time() {
        let (mut window, mut other) = (Window::default(), Window::default());
        for value in 1..=1000 {
            if value % 3 == 0 { &mut other } else { &mut window }.add(value);
        }
        window.merge(&other);
        window.merge(&Window::default());
        let told = window.take();
        for (name, expected) in [("cnt", 1000), ("min", 1), ("max", 1000), ("sum", 500_500)] {
            assert_eq!(told[name], expected, "{told}");
        }
        // Within a thirty-second of what they are.
        for (name, exact) in [("p50", 500), ("p75", 750), ("p90", 900), ("p99", 990), ("avg", 500)]
        {
            let found = told[name].as_u64().unwrap();
            assert!(found <= exact && exact - found <= exact / 32, "{name}: {told}");
        }
        assert!((288..290).contains(&told["stddev"].as_u64().unwrap()), "{told}");
        assert_eq!((&window.take()["cnt"], &window.take()["p99"]), (&json!(0), &json!(0)));
    }

    #[test]
    fn the_largest_values_have_their_bucket() {
        let mut window = Window::default();
        for value in [0, u64::MAX, u64::MAX] {
            window.add(value);
        }
        let told = window.take();
        assert_eq!((&told["min"], &told["max"]), (&json!(0), &json!(u64::MAX)));
        assert!(told["p50"].as_u64().unwrap() > u64::MAX / 32 * 31);
    }
}
