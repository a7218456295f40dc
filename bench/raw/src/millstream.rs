//! Our own client, as a Rust program uses it.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use millstream_client::consumer::{Bounds, Consumer, ConsumerEvent, PartitionStart, StartOffset};
use millstream_client::driver::Signal;
use millstream_client::producer::{
    Partition, ProduceError, ProduceRecord, Producer, ProducerEvent, TopicHandle,
};
use millstream_client::settings;
use millstream_types::{HeadersView, TopicPartition};

use crate::client::{self, Client, PATIENCE, Start, give_up};

pub(crate) struct Millstream;

impl Client for Millstream {
    type Reader = Reader;
    type Writer = Writer;
}

/// The value, or the end of the program with what went wrong.
fn must<T, E: Display>(result: Result<T, E>) -> T {
    result.unwrap_or_else(|error| give_up(&error.to_string()))
}

pub(crate) struct Reader {
    consumer: Consumer,
    events: Vec<ConsumerEvent>,
}

impl client::Reader for Reader {
    fn open(address: &str, topic: &str, partitions: i32, start: Start) -> Self {
        let read = must(settings::consumer([("bootstrap.servers", address)]));
        let mut consumer = must(Consumer::new(read.connection, read.own, Bounds::default()));
        let mut starts = Vec::new();
        for number in 0..partitions {
            let partition = TopicPartition::new(topic, number);
            let offset = match start {
                Start::Beginning => StartOffset::Beginning,
                Start::End => StartOffset::At(must(consumer.watermarks(&partition, PATIENCE)).high),
            };
            starts.push(PartitionStart::new(partition, offset));
        }
        must(consumer.assign(&starts));
        Reader { consumer, events: Vec::new() }
    }

    fn read(&mut self, wait: Duration, mut take: impl FnMut(&[u8], &[u8], i64)) {
        self.consumer.poll(wait, &mut self.events);
        for event in self.events.drain(..) {
            match event {
                ConsumerEvent::Records(batch) => {
                    for record in batch.iter() {
                        let (key, value) = (record.key(), record.value());
                        take(
                            key.unwrap_or_default(),
                            value.unwrap_or_default(),
                            record.timestamp(),
                        );
                    }
                }
                ConsumerEvent::PartitionError(partition, error) => {
                    eprintln!("bench-raw: {partition}: {error}");
                }
                ConsumerEvent::Error { error, fatal: true } => give_up(&error.to_string()),
                _ => {}
            }
        }
    }
}

pub(crate) struct Writer {
    producer: Producer,
    topic: TopicHandle,
    room: Arc<Signal>,
    events: Vec<ProducerEvent>,
}

impl client::Writer for Writer {
    fn open(address: &str, topic: &str, extra: &[(&str, &str)]) -> Self {
        let mut given = vec![("bootstrap.servers", address), ("enable.idempotence", "true")];
        given.extend_from_slice(extra);
        let read = must(settings::producer(given));
        let mut producer = must(Producer::start(&read.connection, &read.own));
        let room = Arc::new(Signal::default());
        producer.set_waker(room.clone());
        let topic = must(producer.topic(topic));
        Writer { producer, topic, room, events: Vec::new() }
    }

    fn write(&mut self, partition: i32, key: &[u8], value: &[u8], timestamp_ms: i64) {
        let record = ProduceRecord {
            topic: self.topic,
            partition: Partition::At(partition),
            key: Some(key),
            value: Some(value),
            headers: HeadersView::default(),
            timestamp: Some(timestamp_ms),
        };
        loop {
            match self.producer.produce(&record) {
                Ok(()) => return,
                Err(ProduceError::QueueFull) => {
                    self.serve();
                    self.room.wait(PATIENCE);
                }
                Err(refused) => give_up(&refused.to_string()),
            }
        }
    }

    fn serve(&mut self) {
        self.producer.poll(&mut self.events);
        for event in self.events.drain(..) {
            match event {
                ProducerEvent::DeliveryFailed(failure) => give_up(&failure.to_string()),
                ProducerEvent::Fatal(error) => give_up(&error.to_string()),
                _ => {}
            }
        }
    }

    fn finish(mut self) {
        let left = self.producer.flush(2 * PATIENCE, &mut self.events);
        self.serve();
        if left > 0 {
            give_up(&format!("{left} records were not acknowledged"));
        }
    }
}
