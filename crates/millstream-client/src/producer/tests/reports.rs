//! What is told of single records.

use std::time::Duration;

use kafka_protocol::messages::ApiKey;

use super::cluster::{Cluster, Fate};
use crate::error::code;
use crate::producer::{DeliveryReport, Partition, ProduceError, ProduceRecord};
use crate::settings::{Acks, ProducerSettings};

fn produce(cluster: &mut Cluster, partition: i32, number: u64) -> Result<(), ProduceError> {
    let topic = cluster.topic();
    let record = ProduceRecord {
        topic,
        partition: Partition::At(partition),
        key: None,
        value: Some(b"value"),
        headers: Default::default(),
        timestamp: Some(number as i64),
    };
    cluster.producer.produce_reported(&record, number)
}

fn reports(cluster: &mut Cluster) -> Vec<DeliveryReport> {
    let mut reports = Vec::new();
    cluster.producer.poll_reports(Duration::ZERO, &mut reports).unwrap();
    reports.sort_by_key(|report| report.token);
    reports
}

/// Token, offset or code of each.
fn told(cluster: &mut Cluster) -> Vec<(u64, Result<Option<i64>, i32>)> {
    let told = |report: DeliveryReport| {
        assert_eq!(report.latency.is_some(), report.result.is_ok());
        (report.token, report.result.map_err(|error| error.code))
    };
    reports(cluster).into_iter().map(told).collect()
}

#[test]
fn every_record_is_told_with_its_own_offset() {
    let mut cluster = Cluster::new(&ProducerSettings::default(), 2, 1);
    // The first ones wait for their topic, and some are not to be told.
    for round in 0..2 {
        for number in 10 * round..10 * round + 10 {
            match number % 5 {
                3 => cluster.produce(1, number).unwrap(),
                _ => produce(&mut cluster, (number % 2) as i32, number).unwrap(),
            }
        }
        cluster.settle();
    }
    assert_eq!(cluster.producer.unreported(), 16);
    let all = reports(&mut cluster);
    assert_eq!(cluster.producer.unreported(), 0);
    assert_eq!(all.len(), 16);
    for report in all {
        let partition = report.partition.unwrap();
        let offset = usize::try_from(report.result.unwrap().unwrap()).unwrap();
        let written = &cluster.log(partition as usize).records[offset];
        assert_eq!((written.timestamp, report.timestamp), (report.token as i64, written.timestamp));
        assert!(report.latency.unwrap() > Duration::ZERO);
    }
}

#[test]
fn the_parts_of_a_split_batch_keep_their_records() {
    let mut cluster = Cluster::new(&ProducerSettings::default(), 1, 2);
    cluster.rule = Box::new(|asked, _| match asked.key {
        ApiKey::Produce if asked.records > 3 => Fate::Refused(10),
        _ => Fate::Answered(1),
    });
    for number in 0..10 {
        produce(&mut cluster, 0, number).unwrap();
    }
    cluster.settle();
    let expected: Vec<_> = (0..10).map(|number| (number, Ok(Some(number as i64)))).collect();
    assert_eq!(told(&mut cluster), expected);
}

#[test]
fn what_is_given_up_is_told_once_with_the_reason() {
    let mut cluster = Cluster::new(&ProducerSettings::default(), 2, 3);
    // Purged while it waits for its topic.
    produce(&mut cluster, 0, 0).unwrap();
    cluster.producer.purge();
    assert_eq!(told(&mut cluster), [(0, Err(code::PURGED_FROM_QUEUE))]);
    cluster.run_for(Duration::from_secs(1));
    // No such partition, refused by the broker, purged on the way: its answer tells nothing more.
    assert!(matches!(produce(&mut cluster, 2, 1), Err(ProduceError::Refused { .. })));
    cluster.rule = Box::new(|asked, _| match asked.key {
        ApiKey::Produce if asked.partitions == [0] => Fate::Refused(87),
        ApiKey::Produce => Fate::Answered(100),
        _ => Fate::Answered(1),
    });
    produce(&mut cluster, 0, 2).unwrap();
    cluster.settle();
    produce(&mut cluster, 1, 3).unwrap();
    cluster.producer.hurry();
    cluster.run_for(Duration::from_millis(50));
    cluster.producer.purge();
    cluster.run_for(Duration::from_secs(1));
    let expected = [(2, Err(87)), (3, Err(code::PURGED_IN_FLIGHT))];
    assert_eq!(told(&mut cluster), expected);
    assert_eq!(cluster.log(1).records.len(), 1);
    // Too late, and no topic of that name.
    cluster.down = true;
    cluster.cut();
    produce(&mut cluster, 1, 4).unwrap();
    cluster.settle();
    assert_eq!(told(&mut cluster), [(4, Err(code::MESSAGE_TIMED_OUT))]);
}

#[test]
fn brokers_tell_no_offset_without_acks_and_their_time_where_it_counts() {
    let settings =
        ProducerSettings { idempotent: false, acks: Acks::None, ..ProducerSettings::default() };
    let mut cluster = Cluster::new(&settings, 1, 4);
    produce(&mut cluster, 0, 0).unwrap();
    cluster.settle();
    assert_eq!(told(&mut cluster), [(0, Ok(None))]);
    let mut cluster = Cluster::new(&ProducerSettings::default(), 1, 5);
    cluster.append_time = Some(123);
    produce(&mut cluster, 0, 0).unwrap();
    cluster.settle();
    assert_eq!(reports(&mut cluster)[0].timestamp, 123);
}

#[test]
fn reports_that_nobody_fetches_take_room() {
    let settings = ProducerSettings { queue_max_records: 3, ..Default::default() };
    let mut cluster = Cluster::new(&settings, 1, 6);
    for number in 0..3 {
        produce(&mut cluster, 0, number).unwrap();
    }
    cluster.settle();
    assert_eq!(cluster.producer.in_flight(), 0);
    assert_eq!(produce(&mut cluster, 0, 3), Err(ProduceError::QueueFull));
    assert_eq!(told(&mut cluster).len(), 3);
    produce(&mut cluster, 0, 3).unwrap();
}
