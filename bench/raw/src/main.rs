//! librdkafka and nothing else: what any pipeline on it pays at least.
//!
//! ```text
//! bench-raw fill    ADDRESS TOPIC COUNT           write COUNT records of 151 bytes
//! bench-raw consume ADDRESS TOPIC COUNT           read them and look at none
//! bench-raw copy    ADDRESS TOPIC COUNT OUTPUT    read them and write each to OUTPUT
//! bench-raw first   ADDRESS TOPIC                 say "waiting", wait for the first record, say when it came
//! bench-raw latency ADDRESS TOPIC COUNT OUTPUT RATE
//!                                                 write RATE per second, and time how long until each comes out of OUTPUT
//! ```
//!
//! All topics have one partition. Reading is by the batch call on a partition's queue, the fastest way librdkafka has;
//! the settings are those of Millstream's clients. Nothing here is hardened: it measures.
#![expect(clippy::disallowed_methods, reason = "a program that measures reads the clock")]

mod client;
mod records;

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use client::{Reader, Writer};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["fill", address, topic, count] => fill(address, topic, number(count)),
        ["consume", address, topic, count] => consume(address, topic, number(count)),
        ["copy", address, topic, count, output] => copy(address, topic, number(count), output),
        ["first", address, topic] => first(address, topic),
        ["latency", address, topic, count, output, rate] => {
            latency(address, topic, number(count), output, number(rate));
        }
        _ => {
            eprintln!("bench-raw: wrong arguments; the head of bench/raw/src/main.rs lists them");
            std::process::exit(2);
        }
    }
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| panic!("{text:?} is not a number"))
}

fn fill(address: &str, topic: &str, count: u64) {
    let mut writer = Writer::new(address, topic, &[("linger.ms", "50"), ("batch.size", "500000")]);
    let mut value = String::new();
    for index in 0..count {
        let key = records::write(index, &mut value);
        writer.write(key.as_bytes(), value.as_bytes(), records::timestamp_ms(index));
    }
    writer.finish();
}

fn consume(address: &str, topic: &str, count: u64) {
    let mut reader = Reader::new(address, topic, Start::Beginning);
    let (mut seen, mut bytes) = (0, 0);
    while seen < count {
        reader.read(Duration::from_secs(10), |_, value, _| {
            seen += 1;
            bytes += value.len();
        });
    }
    println!("{{\"records\": {seen}, \"bytes\": {bytes}}}");
}

fn copy(address: &str, topic: &str, count: u64, output: &str) {
    let mut reader = Reader::new(address, topic, Start::Beginning);
    let mut writer = Writer::new(address, output, &[]);
    let mut seen = 0;
    while seen < count {
        reader.read(Duration::from_secs(10), |key, value, timestamp| {
            seen += 1;
            writer.write(key, value, timestamp);
        });
    }
    writer.finish();
    println!("{{\"records\": {seen}}}");
}

/// Where to begin reading.
pub(crate) enum Start {
    Beginning,
    End,
}

/// How long nothing may come before something must be wrong.
const PATIENCE: Duration = Duration::from_secs(60);

fn give_up(why: &str) -> ! {
    eprintln!("bench-raw: {why}, then nothing for {} s", PATIENCE.as_secs());
    std::process::exit(1);
}

fn first(address: &str, topic: &str) {
    let mut reader = Reader::new(address, topic, Start::End);
    println!("waiting");
    let (begin, mut came) = (Instant::now(), None);
    while came.is_none() {
        reader.read(Duration::from_secs(1), |_, _, _| {
            came.get_or_insert_with(SystemTime::now);
        });
        if begin.elapsed() > PATIENCE {
            give_up("waited for a first record");
        }
    }
    let since =
        came.and_then(|time| time.duration_since(UNIX_EPOCH).ok()).expect("a time after 1970");
    println!("{:.6}", since.as_secs_f64());
}

/// Writes a record now and then until one comes out, and waits for the rest of them: from then on the pipeline runs.
fn wait_for_pipeline(reader: &mut Reader, writer: &mut Writer) {
    const EVERY: Duration = Duration::from_millis(100);
    let (begin, mut sent, mut arrived) = (Instant::now(), 0, 0);
    let mut value = String::new();
    while arrived == 0 || arrived < sent {
        if arrived == 0 && begin.elapsed() >= EVERY * sent {
            let key = records::write_that_passes(u64::from(sent), &mut value);
            writer.write(key.as_bytes(), value.as_bytes(), records::timestamp_ms(u64::from(sent)));
            sent += 1;
        }
        reader.read(EVERY / 10, |_, _, _| arrived += 1);
        writer.serve();
        if begin.elapsed() > PATIENCE {
            give_up(&format!("{arrived} of {sent} probes came out"));
        }
    }
}

fn latency(address: &str, topic: &str, count: u64, output: &str, rate: u64) {
    // What comes out keeps the order of what went in, so the oldest record under way is the next to arrive.
    let mut reader = Reader::new(address, output, Start::End);
    let mut writer = Writer::new(address, topic, &[("linger.ms", "0")]);
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
            writer.write(key.as_bytes(), value.as_bytes(), records::timestamp_ms(sent));
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
