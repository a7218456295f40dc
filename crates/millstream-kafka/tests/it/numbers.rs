//! Numbers in a partition, produced and read in a way in which order is easily lost.

use millstream_kafka::{Consumer, PartitionStart, Producer, Properties, StartOffset, TopicHandle};

use crate::support::*;

/// Time-outs and waits before retries that a test can wait for.
pub(crate) fn quick() -> Properties {
    Properties::from([
        ("reconnect.backoff.ms", "10"),
        ("reconnect.backoff.max.ms", "100"),
        ("retry.backoff.ms", "20"),
        ("socket.timeout.ms", "1600"),
        ("fetch.wait.max.ms", "200"),
    ])
}

/// With all that makes order hard to keep: five requests in flight, a batch a few records.
pub(crate) fn busy_producer(brokers: &str) -> Box<dyn Producer> {
    let mut extra = quick();
    extra.remove("fetch.wait.max.ms");
    for (name, value) in [
        ("acks", "all"),
        ("max.in.flight.requests.per.connection", "5"),
        ("batch.num.messages", "10"),
        ("linger.ms", "1"),
        ("request.timeout.ms", "1500"),
    ] {
        extra.set(name, value);
    }
    producer(brokers, extra)
}

pub(crate) fn busy_consumer(brokers: &str, group: Option<&str>) -> Box<dyn Consumer> {
    let mut extra = quick();
    extra.set("max.partition.fetch.bytes", "3000");
    clients().consumer(&consumer_config(brokers, group, &extra)).unwrap()
}

/// Produces numbers to partition 0, from `next` on.
pub(crate) fn produce(producer: &mut dyn Producer, topic: TopicHandle, next: &mut u32, count: u32) {
    for number in *next..*next + count {
        let text = number.to_string();
        producer.produce(&record(topic, 0, None, Some(text.as_bytes()))).unwrap();
    }
    *next += count;
}

/// Reads partition 0 from its start, each of these numbers once and in order.
pub(crate) fn assert_numbers(consumer: &mut dyn Consumer, topic: &str, count: u32) {
    consumer.assign(&[PartitionStart::new(tp(topic, 0), StartOffset::Beginning)]).unwrap();
    expect_numbers(consumer, topic, 0..count);
}

pub(crate) fn expect_numbers(
    consumer: &mut dyn Consumer,
    topic: &str,
    numbers: std::ops::Range<u32>,
) {
    let values = read(consumer, numbers.len());
    let texts = values.texts(&tp(topic, 0));
    let expected: Vec<_> = numbers.map(|number| number.to_string()).collect();
    let wrong = texts.iter().zip(&expected).position(|(got, expected)| got != expected);
    assert_eq!(wrong.map(|at| (&texts[at..][..1], &expected[at])), None);
    assert_eq!(texts.len(), expected.len());
}
