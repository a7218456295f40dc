//! Reads a topic's partition to its end and says what that cost.
//!
//! ```text
//! cargo run --release --example consume -- 127.0.0.1:9092 TOPIC [PARTITION]
//! ```

use std::time::Duration;

use millstream_client::consumer::{Bounds, Consumer, ConsumerEvent, PartitionStart, StartOffset};
use millstream_client::settings::{ConnectionSettings, ConsumerSettings};
use millstream_types::{Clock, SystemClock, TopicPartition};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let usage = "consume HOST:PORT TOPIC [PARTITION]";
    let address = args.next().ok_or(usage)?;
    let topic = args.next().ok_or(usage)?;
    let partition = args.next().map_or(Ok(0), |text| text.parse())?;
    let (host, port) = address.rsplit_once(':').ok_or(usage)?;
    let connection = ConnectionSettings {
        bootstrap: vec![(host.to_owned(), port.parse()?)],
        ..ConnectionSettings::default()
    };
    let settings = ConsumerSettings { partition_end: true, ..ConsumerSettings::default() };
    let mut consumer = Consumer::new(connection, settings, Bounds::default())?;
    let start = SystemClock.monotonic();
    consumer.assign(&[PartitionStart {
        partition: TopicPartition::new(topic, partition),
        offset: StartOffset::Beginning,
        paused: false,
    }])?;
    let (mut records, mut bytes) = (0u64, 0usize);
    let mut events = Vec::new();
    'reading: loop {
        consumer.poll(Duration::from_secs(1), &mut events);
        for event in events.drain(..) {
            match event {
                ConsumerEvent::Records(batch) => {
                    records += batch.len() as u64;
                    bytes += batch.iter().map(|record| record.size()).sum::<usize>();
                }
                ConsumerEvent::PartitionEnd(_, end) => {
                    println!("end at offset {end}");
                    break 'reading;
                }
                other => println!("{other:?}"),
            }
        }
    }
    let seconds = (SystemClock.monotonic() - start).as_secs_f64();
    println!("{records} records, {bytes} bytes, {seconds:.3} s");
    Ok(())
}
