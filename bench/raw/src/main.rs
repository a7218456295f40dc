//! A Kafka client and nothing else: what any pipeline on it pays at least. The same work by our own
//! client or by librdkafka.
//!
//! ```text
//! bench-raw CLIENT fill    ADDRESS TOPIC COUNT            write COUNT records of 151 bytes
//! bench-raw CLIENT produce ADDRESS TOPIC COUNT PARTITIONS CODEC
//!                                                         write COUNT records of 100 bytes
//! bench-raw CLIENT consume ADDRESS TOPIC COUNT PARTITIONS read COUNT records
//! bench-raw CLIENT copy    ADDRESS TOPIC COUNT OUTPUT     read them, and write each to OUTPUT
//! bench-raw CLIENT first   ADDRESS TOPIC                  say "waiting", wait for the first record, say when it came
//! bench-raw CLIENT latency ADDRESS TOPIC COUNT OUTPUT RATE
//!                                                         write RATE per second, and time how long until each comes out of OUTPUT
//! ```
//!
//! CLIENT is `--client millstream` or `--client librdkafka`. Topics have one partition where
//! PARTITIONS is not asked for. The bytes of each record are touched, for a checksum that is said
//! at the end, with the number of records and the peak of memory. Nothing here is hardened: it measures.
#![expect(clippy::disallowed_methods, reason = "a program that measures reads the clock")]

mod client;
mod latency;
mod librdkafka;
mod millstream;
mod records;

use std::time::{Duration, Instant};

use client::{Client, PATIENCE, Reader, Start, Writer, give_up};
use records::{Ring, Sum};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["--client", "millstream", ref rest @ ..] => run::<millstream::Millstream>(rest),
        ["--client", "librdkafka", ref rest @ ..] => run::<librdkafka::Librdkafka>(rest),
        _ => wrong_arguments(),
    }
}

fn wrong_arguments() -> ! {
    eprintln!("bench-raw: wrong arguments; the head of bench/raw/src/main.rs lists them");
    std::process::exit(2);
}

fn number<N: std::str::FromStr>(text: &str) -> N {
    text.parse().unwrap_or_else(|_| give_up(&format!("{text:?} is not a number")))
}

fn run<C: Client>(words: &[&str]) {
    match *words {
        ["fill", address, topic, count] => fill::<C>(address, topic, number(count)),
        ["produce", address, topic, count, partitions, codec] => {
            produce::<C>(address, topic, number(count), number(partitions), codec);
        }
        ["consume", address, topic, count, partitions] => {
            consume::<C>(address, topic, number(count), number(partitions));
        }
        ["copy", address, topic, count, output] => copy::<C>(address, topic, number(count), output),
        ["first", address, topic] => latency::first::<C>(address, topic),
        ["latency", address, topic, count, output, rate] => {
            latency::measure::<C>(address, topic, number(count), output, number(rate));
        }
        _ => wrong_arguments(),
    }
}

fn fill<C: Client>(address: &str, topic: &str, count: u64) {
    let settings = [("linger.ms", "50"), ("batch.size", "500000")];
    let mut writer = C::Writer::open(address, topic, &settings);
    let mut value = String::new();
    let mut sum = Sum::default();
    for index in 0..count {
        let key = records::write(index, &mut value);
        sum.add(key.as_bytes(), value.as_bytes());
        writer.write(0, key.as_bytes(), value.as_bytes(), records::timestamp_ms(index));
    }
    writer.finish();
    say(&sum);
}

fn produce<C: Client>(address: &str, topic: &str, count: u64, partitions: u64, codec: &str) {
    let mut writer = C::Writer::open(address, topic, &[("compression.type", codec)]);
    let ring = Ring::new();
    let mut sum = Sum::default();
    for index in 0..count {
        let (key, value) = ring.get(index);
        // A run of records for each, or a thousand partitions would get batches of a few.
        let partition = (index / 100 % partitions) as i32;
        sum.add(key, value);
        writer.write(partition, key, value, records::timestamp_ms(index));
    }
    writer.finish();
    say(&sum);
}

fn consume<C: Client>(address: &str, topic: &str, count: u64, partitions: i32) {
    let mut reader = C::Reader::open(address, topic, partitions, Start::Beginning);
    say(&read(&mut reader, count, |_, _, _| {}));
}

fn copy<C: Client>(address: &str, topic: &str, count: u64, output: &str) {
    let mut reader = C::Reader::open(address, topic, 1, Start::Beginning);
    let mut writer = C::Writer::open(address, output, &[]);
    let sum = read(&mut reader, count, |key, value, timestamp_ms| {
        writer.write(0, key, value, timestamp_ms);
    });
    writer.finish();
    say(&sum);
}

/// Reads `count` records and hands each on.
fn read(reader: &mut impl Reader, count: u64, mut take: impl FnMut(&[u8], &[u8], i64)) -> Sum {
    let (mut sum, mut last) = (Sum::default(), Instant::now());
    while sum.records < count {
        let before = sum.records;
        reader.read(Duration::from_secs(10), |key, value, timestamp_ms| {
            sum.add(key, value);
            take(key, value, timestamp_ms);
        });
        if sum.records > before {
            last = Instant::now();
        } else if last.elapsed() > PATIENCE {
            give_up(&format!("{before} of {count} records came, then nothing more"));
        }
    }
    sum
}

fn say(sum: &Sum) {
    println!(
        "{{\"records\": {}, \"checksum\": {}, \"peak_mb\": {:.1}}}",
        sum.records,
        sum.checksum,
        peak_mb()
    );
}

/// The greatest resident size so far. What the kernel tells the parent process counts the parent's own size, too.
fn peak_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes: Option<f64> =
        peak.and_then(|text| text.trim().strip_suffix(" kB")?.parse().ok());
    kilobytes.unwrap_or_else(|| give_up("/proc/self/status has no VmHWM")) / 1024.0
}
