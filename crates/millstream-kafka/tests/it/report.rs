//! The producer that tells what became of each record (parity row M-20).

use std::time::Duration;

use millstream_kafka::{
    ClientConfig, DeliveryReport, Partition, ProduceError, Properties, ReportedRecord,
    ReportingProducer, code, producer_properties,
};
use millstream_types::HeadersView;

use crate::support::*;

fn reporting(brokers: &str, extra: &[(&str, &str)]) -> Box<dyn ReportingProducer> {
    let extra: Properties = extra.iter().copied().collect();
    let properties = producer_properties(&extra, &connection(brokers));
    clients().reporting_producer(&ClientConfig::new(properties)).unwrap()
}

fn numbered(topic: &str, token: u64, partition: Partition) -> ReportedRecord<'_> {
    ReportedRecord {
        topic,
        partition,
        key: None,
        value: Some(b"value"),
        headers: HeadersView::default(),
        timestamp: Some(1_700_000_000_000 + token as i64),
        token,
    }
}

/// Polls until `count` reports came; sorted by token.
fn reports(producer: &mut dyn ReportingProducer, count: usize) -> Vec<DeliveryReport> {
    let mut reports = Vec::new();
    until("reports", || {
        producer.poll(Duration::from_millis(100), &mut reports).unwrap();
        (reports.len() >= count).then_some(())
    });
    reports.sort_by_key(|report| report.token);
    reports
}

#[test]
fn each_record_is_reported_with_partition_offset_and_timestamp() {
    let brokers = brokers!();
    let name = topic(&brokers, "reported", 2);
    let mut producer = reporting(&brokers, &[]);
    for token in 0..100 {
        let partition = Partition::At((token % 2) as i32);
        producer.produce(&numbered(&name, token, partition)).unwrap();
    }
    // 0 is a time, not "now".
    let zero = ReportedRecord { timestamp: Some(0), ..numbered(&name, 100, Partition::At(0)) };
    producer.produce(&zero).unwrap();
    producer.hurry();
    let all = reports(&mut *producer, 101);
    assert_eq!((all.len(), producer.in_flight()), (101, 0));
    for report in &all[..100] {
        let token = report.token as i64;
        assert_eq!(report.partition, Some((token % 2) as i32));
        assert_eq!(report.result, Ok(Some(token / 2)));
        assert_eq!(report.timestamp, 1_700_000_000_000 + token);
        assert!(report.latency.is_some());
    }
    assert_eq!((&all[100].result, all[100].timestamp), (&Ok(Some(50)), 0));
}

#[test]
fn what_cannot_be_delivered_is_reported_with_the_reason() {
    let mut producer = reporting("127.0.0.1:1", &[("queue.buffering.max.messages", "2")]);
    for token in 1..3 {
        producer.produce(&numbered("t", token, Partition::ByKey)).unwrap();
    }
    let full = producer.produce(&numbered("t", 3, Partition::ByKey));
    assert_eq!(full, Err(ProduceError::QueueFull));
    producer.purge();
    // librdkafka counts its own events among them.
    assert!(producer.in_flight() >= 2);
    let all = reports(&mut *producer, 2);
    let told: Vec<_> = all.iter().map(|report| (report.token, report.partition)).collect();
    assert_eq!(told, [(1, None), (2, None)]);
    for report in &all {
        let error = report.result.as_ref().unwrap_err();
        assert_eq!((error.code, report.latency), (code::PURGED_FROM_QUEUE, None));
    }
    producer.produce(&numbered("t", 3, Partition::ByKey)).unwrap();
}

#[test]
fn a_record_that_is_too_late_is_reported() {
    let mut producer =
        reporting("127.0.0.1:1", &[("message.timeout.ms", "300"), ("linger.ms", "1")]);
    producer.produce(&numbered("t", 1, Partition::At(4))).unwrap();
    let report = reports(&mut *producer, 1).remove(0);
    let error = report.result.unwrap_err();
    // Ours tells what it has waited for; librdkafka that it has waited.
    assert!(matches!(error.name.as_str(), "_UNKNOWN_TOPIC" | "_MSG_TIMED_OUT"), "{error}");
}
