//! How long a record takes until it comes out of a topic.

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::client::{Client, PATIENCE, Reader, Start, Writer, give_up};
use crate::records;

/// Says "waiting", and when the first record came that is written from then on, in seconds since 1970.
pub(crate) fn first<C: Client>(address: &str, topic: &str) {
    let mut reader = C::Reader::open(address, topic, 1, Start::End);
    println!("waiting");
    let (begin, mut came) = (Instant::now(), None);
    while came.is_none() {
        reader.read(Duration::from_secs(1), |_, _, _| {
            came.get_or_insert_with(SystemTime::now);
        });
        if begin.elapsed() > PATIENCE {
            give_up("waited in vain for a first record");
        }
    }
    let since =
        came.and_then(|time| time.duration_since(UNIX_EPOCH).ok()).expect("a time after 1970");
    println!("{:.6}", since.as_secs_f64());
}

/// Writes a record now and then until one comes out, and waits for the rest of them: from then on what is between runs.
fn wait_for_pipeline(reader: &mut impl Reader, writer: &mut impl Writer) {
    const EVERY: Duration = Duration::from_millis(100);
    let (begin, mut sent, mut arrived) = (Instant::now(), 0, 0);
    let mut value = String::new();
    while arrived == 0 || arrived < sent {
        if arrived == 0 && begin.elapsed() >= EVERY * sent {
            let key = records::write_that_passes(u64::from(sent), &mut value);
            let timestamp = records::timestamp_ms(u64::from(sent));
            writer.write(0, key.as_bytes(), value.as_bytes(), timestamp);
            sent += 1;
        }
        reader.read(EVERY / 10, |_, _, _| arrived += 1);
        writer.serve();
        if begin.elapsed() > PATIENCE {
            give_up(&format!("{arrived} of {sent} probes came out"));
        }
    }
}

/// Writes `count` records to `topic`, `rate` per second, and times how long until each comes out of `output`.
pub(crate) fn measure<C: Client>(address: &str, topic: &str, count: u64, output: &str, rate: u64) {
    // What comes out keeps the order of what went in, so the oldest record under way is the next to arrive.
    let mut reader = C::Reader::open(address, output, 1, Start::End);
    let mut writer = C::Writer::open(address, topic, &[("linger.ms", "0")]);
    wait_for_pipeline(&mut reader, &mut writer);
    // The first tenth warms up both sides.
    let warm_up = count / 10;
    let mut under_way: VecDeque<Instant> = VecDeque::new();
    let mut times: Vec<Duration> = Vec::new();
    let (begin, mut sent, mut arrived) = (Instant::now(), 0, 0);
    let mut value = String::new();
    while arrived < count {
        let due = begin + Duration::from_nanos(sent * 1_000_000_000 / rate);
        let now = Instant::now();
        if sent < count && now >= due {
            let key = records::write_that_passes(sent, &mut value);
            under_way.push_back(Instant::now());
            writer.write(0, key.as_bytes(), value.as_bytes(), records::timestamp_ms(sent));
            sent += 1;
        }
        let wait = if sent < count {
            due.saturating_duration_since(now).min(Duration::from_millis(1))
        } else {
            PATIENCE
        };
        reader.read(wait, |_, _, _| {
            let since = under_way.pop_front().expect("nothing comes out that did not go in");
            arrived += 1;
            if arrived > warm_up {
                times.push(since.elapsed());
            }
        });
        writer.serve();
        if under_way.front().is_some_and(|oldest| oldest.elapsed() > PATIENCE) {
            give_up(&format!("{arrived} of {sent} records came out"));
        }
    }
    writer.finish();
    times.sort();
    let at = |part: f64| {
        times[((times.len() - 1) as f64 * part).round() as usize].as_secs_f64() * 1000.0
    };
    println!(
        "{{\"records\": {}, \"p50_ms\": {:.3}, \"p99_ms\": {:.3}, \"max_ms\": {:.3}}}",
        times.len(),
        at(0.5),
        at(0.99),
        at(1.0)
    );
}
