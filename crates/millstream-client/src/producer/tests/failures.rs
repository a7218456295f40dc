//! Retries, order and sequence numbers under failures.

use std::time::Duration;

use kafka_protocol::messages::ApiKey;
use millstream_protocol::Compression;
use proptest::prelude::*;

use super::cluster::{Cluster, Fate, Seeded};
use super::log::OUT_OF_ORDER;
use crate::error::code;
use crate::producer::{FlushId, ProducerEvent};
use crate::random::Random;
use crate::settings::{Acks, ProducerSettings};

/// Small batches, so that there are many.
fn small() -> ProducerSettings {
    ProducerSettings { batch_records: 5, ..Default::default() }
}

fn failed(cluster: &Cluster) -> u64 {
    let count = |event: &ProducerEvent| match event {
        ProducerEvent::DeliveryFailed(failure) => failure.count,
        _ => 0,
    };
    cluster.events.iter().map(count).sum()
}

fn failure_codes(cluster: &Cluster) -> Vec<i32> {
    let code = |event: &ProducerEvent| match event {
        ProducerEvent::DeliveryFailed(failure) => Some(failure.error.code),
        _ => None,
    };
    cluster.events.iter().filter_map(code).collect()
}

fn done(cluster: &Cluster) -> Vec<(FlushId, u64)> {
    let done = |event: &ProducerEvent| match event {
        ProducerEvent::FlushDone { id, failed } => Some((*id, *failed)),
        _ => None,
    };
    cluster.events.iter().filter_map(done).collect()
}

/// Produces `count` numbered records round robin, with steps of the driver in between.
fn feed(cluster: &mut Cluster, count: u64, random: &mut Seeded) {
    let partitions = cluster.topics[0].partitions.len() as u64;
    for number in 0..count {
        cluster.produce((number % partitions) as i32, number).unwrap();
        if random.below(4) == 0 {
            cluster.run_for(Duration::from_millis(random.below(6)));
        }
    }
}

/// A kind of trouble by chance.
fn trouble(random: &mut Seeded, key: ApiKey, written_but: bool) -> Fate {
    if key != ApiKey::Produce {
        return match random.below(12) {
            0 => Fate::Lost,
            1 => Fate::AnswerLost,
            _ => Fate::Answered(random.below(20)),
        };
    }
    match random.below(14) {
        0 => Fate::Lost,
        1 => Fate::AnswerLost,
        2 => Fate::Refused(6),
        3 => Fate::Refused(19),
        4 if written_but => Fate::WrittenBut(7),
        5 if written_but => Fate::WrittenBut(20),
        6 => Fate::Moved,
        7 if random.below(10) == 0 => Fate::Silence,
        _ => Fate::Answered(random.below(40)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Whatever goes wrong: every record once, in order.
    #[test]
    fn exactly_once_and_in_order(seed: u64, old: bool, name_leaders: bool) {
        let mut cluster = Cluster::new(&small(), 4, seed);
        cluster.name_leaders = name_leaders;
        if old {
            // As Kafka 2.4.
            cluster.versions.insert(ApiKey::Produce as i16, 8);
            cluster.versions.insert(ApiKey::Metadata as i16, 9);
            cluster.versions.insert(ApiKey::InitProducerId as i16, 1);
        }
        cluster.rule = Box::new(|asked, random| trouble(random, asked.key, true));
        let mut random = Seeded(seed ^ 1);
        feed(&mut cluster, 400, &mut random);
        cluster.rule = Box::new(|_, _| Fate::Answered(1));
        cluster.settle();
        prop_assert_eq!(failed(&cluster), 0, "{:?}", cluster.events);
        for partition in 0..4u64 {
            let expected: Vec<u64> = (0..400).filter(|n| n % 4 == partition).collect();
            prop_assert_eq!(cluster.log(partition as usize).numbers(), expected);
        }
        prop_assert!(cluster.most_out <= 6, "{} requests out", cluster.most_out);
    }

    /// With records that run out of time: nothing twice, nothing out of order, and what was not
    /// reported as failed is there.
    #[test]
    fn what_expires_leaves_no_trace_of_disorder(seed: u64) {
        let settings = ProducerSettings {
            delivery_timeout: Some(Duration::from_millis(150)),
            request_timeout: Duration::from_millis(300),
            ..small()
        };
        let mut cluster = Cluster::new(&settings, 2, seed);
        cluster.rule = Box::new(|asked, random| match random.below(5) {
            0 if asked.key == ApiKey::Produce => Fate::Answered(random.below(300)),
            _ => trouble(random, asked.key, true),
        });
        feed(&mut cluster, 300, &mut Seeded(seed ^ 2));
        cluster.rule = Box::new(|_, _| Fate::Answered(1));
        cluster.run_for(Duration::from_secs(3));
        // Life goes on afterwards, in whatever epoch.
        for number in 1000..1020 {
            cluster.produce((number % 2) as i32, number).unwrap();
        }
        let before = failed(&cluster);
        cluster.run_for(Duration::from_secs(3));
        prop_assert_eq!(cluster.producer.in_flight(), 0);
        prop_assert_eq!(failed(&cluster), before, "{:?}", cluster.events);
        let mut written = 0;
        for partition in 0..2 {
            let numbers = cluster.log(partition).numbers();
            prop_assert!(numbers.is_sorted_by(|a, b| a < b), "{:?}", numbers);
            written += numbers.len() as u64;
            let last: Vec<u64> = (1000..1020).filter(|n| n % 2 == partition as u64).collect();
            prop_assert!(numbers.ends_with(&last), "{:?}", numbers);
        }
        prop_assert!(written + failed(&cluster) >= 320, "{written} {}", failed(&cluster));
    }
}

#[test]
fn one_request_takes_a_batch_of_each_partition() {
    let mut cluster = Cluster::new(&ProducerSettings::default(), 6, 1);
    for number in 0..60 {
        cluster.produce((number % 6) as i32, number).unwrap();
    }
    cluster.settle();
    // Six partitions on three brokers.
    assert_eq!(cluster.count(ApiKey::Produce), 3);
    for partition in 0..6 {
        assert_eq!(cluster.log(partition).batches, 1);
        assert_eq!(cluster.log(partition).records.len(), 10);
        let topic = cluster.topic();
        assert_eq!(cluster.producer.last_delivered(topic, partition as i32), Some(9));
    }
}

#[test]
fn a_gap_raises_the_epoch_and_numbers_begin_anew() {
    let mut cluster = Cluster::new(&small(), 1, 2);
    cluster.produce(0, 0).unwrap();
    cluster.settle();
    assert_eq!(cluster.log(0).epochs, [(4000, 0)]);
    // The broker loses what it knew: the next number is out of order for it.
    cluster.topics[0].partitions[0].log.forget_writers();
    for number in 1..20 {
        cluster.produce(0, number).unwrap();
    }
    cluster.settle();
    assert_eq!(failed(&cluster), 0);
    assert_eq!(cluster.log(0).numbers(), (0..20).collect::<Vec<_>>());
    assert_eq!(cluster.log(0).epochs, [(4000, 0), (4000, 1)]);
    // Nobody has to be asked for it.
    assert_eq!(cluster.count(ApiKey::InitProducerId), 1);
}

#[test]
fn after_the_last_epoch_a_new_id_is_asked_for() {
    let mut cluster = Cluster::new(&small(), 2, 20);
    cluster.producer_id.1 = i16::MAX - 1;
    cluster.produce(0, 0).unwrap();
    cluster.settle();
    cluster.topics[0].partitions[0].log.forget_writers();
    for number in 1..20 {
        cluster.produce((number % 2) as i32, number).unwrap();
    }
    cluster.settle();
    assert_eq!(failed(&cluster), 0);
    assert_eq!(cluster.log(0).numbers(), (0..20).step_by(2).collect::<Vec<_>>());
    assert_eq!(cluster.log(1).numbers(), (1..20).step_by(2).collect::<Vec<_>>());
    assert_eq!(cluster.log(0).epochs, [(4000, i16::MAX), (4001, 0)]);
    assert_eq!(cluster.count(ApiKey::InitProducerId), 2);
}

#[test]
fn a_refused_batch_does_not_hold_up_those_behind_it() {
    let mut cluster = Cluster::new(&small(), 1, 3);
    cluster.rule = Box::new(|asked, _| match asked.key {
        // INVALID_RECORD for the first of several that are out together.
        ApiKey::Produce if asked.nth == 0 => Fate::Refused(87),
        _ => Fate::Answered(10),
    });
    for number in 0..25 {
        cluster.produce(0, number).unwrap();
    }
    cluster.settle();
    assert_eq!((failed(&cluster), failure_codes(&cluster)), (5, vec![87]));
    assert_eq!(cluster.log(0).numbers(), (5..25).collect::<Vec<_>>());
    assert_eq!(cluster.log(0).epochs, [(4000, 1)]);
}

#[test]
fn an_expired_batch_that_was_written_needs_no_new_epoch() {
    let timeout = Some(Duration::from_millis(100));
    let settings = ProducerSettings { delivery_timeout: timeout, ..small() };
    let mut cluster = Cluster::new(&settings, 1, 4);
    cluster.rule = Box::new(|asked, _| match asked.key {
        ApiKey::Produce if asked.nth == 0 => Fate::Answered(400),
        _ => Fate::Answered(1),
    });
    cluster.produce(0, 0).unwrap();
    cluster.run_for(Duration::from_millis(200));
    assert_eq!(failure_codes(&cluster), [code::MESSAGE_TIMED_OUT]);
    assert_eq!(cluster.producer.in_flight(), 0);
    cluster.run_for(Duration::from_millis(300));
    cluster.produce(0, 1).unwrap();
    cluster.settle();
    assert_eq!(cluster.log(0).numbers(), [0, 1]);
    assert_eq!(cluster.log(0).epochs, [(4000, 0)]);
}

#[test]
fn nothing_new_is_sent_while_the_fate_of_an_expired_batch_is_open() {
    let timeout = Some(Duration::from_millis(100));
    let settings = ProducerSettings {
        delivery_timeout: timeout,
        request_timeout: Duration::from_secs(2),
        ..small()
    };
    let mut cluster = Cluster::new(&settings, 1, 5);
    cluster.rule = Box::new(|asked, _| match asked.key {
        ApiKey::Produce if asked.nth == 0 => Fate::Silence,
        _ => Fate::Answered(1),
    });
    cluster.produce(0, 0).unwrap();
    cluster.run_for(Duration::from_millis(200));
    assert_eq!(failure_codes(&cluster), [code::MESSAGE_TIMED_OUT]);
    cluster.produce(0, 1).unwrap();
    cluster.run_for(Duration::from_millis(50));
    assert_eq!(cluster.count(ApiKey::Produce), 1);
    // The time-out of the request resolves it; by then record 1 has expired as well.
    cluster.run_for(Duration::from_secs(4));
    cluster.produce(0, 2).unwrap();
    cluster.settle();
    assert_eq!(cluster.log(0).numbers(), [0, 2]);
    assert_eq!(cluster.log(0).epochs, [(4000, 0), (4000, 1)]);
}

#[test]
fn too_large_batches_are_split_until_they_fit() {
    for compression in [Compression::None, Compression::Lz4] {
        let settings = ProducerSettings { compression, ..Default::default() };
        let mut cluster = Cluster::new(&settings, 1, 6);
        // The second batch, and the halves of it that are larger than 3 records.
        cluster.rule = Box::new(|asked, _| match asked.key {
            ApiKey::Produce if asked.records > 3 => Fate::Refused(10),
            _ => Fate::Answered(1),
        });
        for number in 0..10 {
            cluster.produce(0, number).unwrap();
        }
        cluster.producer.begin_flush();
        for number in 10..13 {
            cluster.produce(0, number).unwrap();
        }
        cluster.settle();
        assert_eq!(failed(&cluster), 0, "{:?}", cluster.events);
        let log = cluster.log(0);
        assert_eq!(log.numbers(), (0..13).collect::<Vec<_>>());
        assert!(log.records.iter().enumerate().all(|(n, record)| record.timestamp == n as i64));
        // The parts keep the numbers of the whole.
        assert_eq!(log.epochs, [(4000, 0)]);
    }
}

#[test]
fn a_record_that_is_too_large_for_the_broker_is_given_up() {
    let mut cluster = Cluster::new(&ProducerSettings::default(), 1, 7);
    cluster.rule = Box::new(|asked, _| match asked.key {
        ApiKey::Produce if asked.nth == 0 => Fate::Refused(10),
        _ => Fate::Answered(1),
    });
    cluster.produce(0, 0).unwrap();
    cluster.settle();
    cluster.produce(0, 1).unwrap();
    cluster.settle();
    assert_eq!((failed(&cluster), failure_codes(&cluster)), (1, vec![10]));
    assert_eq!(cluster.log(0).numbers(), [1]);
}

#[test]
fn duplicates_count_as_delivered() {
    let mut cluster = Cluster::new(&small(), 1, 8);
    cluster.rule = Box::new(|asked, _| match asked.key {
        ApiKey::Produce if asked.nth == 0 => Fate::WrittenBut(46),
        _ => Fate::Answered(1),
    });
    cluster.produce(0, 0).unwrap();
    cluster.settle();
    assert_eq!((failed(&cluster), cluster.count(ApiKey::Produce)), (0, 1));
}

#[test]
fn a_new_leader_in_the_answer_is_tried_at_once() {
    let mut cluster = Cluster::new(&small(), 1, 9);
    cluster.produce(0, 0).unwrap();
    cluster.settle();
    let metadata = cluster.count(ApiKey::Metadata);
    let start = cluster.now().mono;
    cluster.topics[0].partitions[0].leader = 2;
    cluster.topics[0].partitions[0].epoch = 5;
    // Whoever asks for metadata waits.
    cluster.rule = Box::new(|asked, _| match asked.key {
        ApiKey::Metadata => Fate::Answered(5_000),
        _ => Fate::Answered(1),
    });
    cluster.produce(0, 1).unwrap();
    cluster.settle();
    assert_eq!(cluster.log(0).numbers(), [0, 1]);
    assert!(cluster.now().mono - start < Duration::from_millis(50));
    assert!(cluster.count(ApiKey::Metadata) <= metadata + 1);
}

#[test]
fn without_idempotence_records_are_tried_again_and_may_come_twice() {
    for acks in [Acks::Leader, Acks::All] {
        let settings = ProducerSettings { idempotent: false, acks, ..small() };
        let mut cluster = Cluster::new(&settings, 1, 10);
        cluster.rule = Box::new(|asked, _| match asked.key {
            ApiKey::Produce if asked.nth == 0 => Fate::AnswerLost,
            _ => Fate::Answered(1),
        });
        cluster.produce(0, 7).unwrap();
        cluster.settle();
        assert_eq!(cluster.log(0).numbers(), [7, 7]);
        assert!(cluster.log(0).epochs.is_empty());
        assert_eq!(cluster.count(ApiKey::InitProducerId), 0);
    }
}

#[test]
fn retries_are_counted_without_idempotence() {
    let settings =
        ProducerSettings { idempotent: false, acks: Acks::Leader, retries: 2, ..small() };
    let mut cluster = Cluster::new(&settings, 1, 11);
    cluster.rule = Box::new(|asked, _| match asked.key {
        ApiKey::Produce => Fate::Refused(19),
        _ => Fate::Answered(1),
    });
    cluster.produce(0, 0).unwrap();
    cluster.settle();
    assert_eq!(cluster.count(ApiKey::Produce), 3);
    assert_eq!(failure_codes(&cluster), [19]);
}

#[test]
fn acks_0_is_done_when_the_broker_has_read_it() {
    let settings = ProducerSettings { idempotent: false, acks: Acks::None, ..small() };
    let mut cluster = Cluster::new(&settings, 1, 12);
    for number in 0..12 {
        cluster.produce(0, number).unwrap();
    }
    cluster.producer.begin_flush();
    cluster.settle();
    assert_eq!(cluster.log(0).numbers(), (0..12).collect::<Vec<_>>());
    assert_eq!(done(&cluster), [(FlushId(1), 0)]);
    let topic = cluster.topic();
    assert_eq!(cluster.producer.last_delivered(topic, 0), None);
    // A connection that ends before the broker has read the request.
    cluster.rule = Box::new(|asked, _| match asked.key {
        ApiKey::Produce if asked.nth == 3 => Fate::Lost,
        _ => Fate::Answered(1),
    });
    cluster.produce(0, 12).unwrap();
    cluster.settle();
    assert_eq!(cluster.log(0).numbers().last(), Some(&12));
}

#[test]
fn a_flush_ends_when_its_records_have_and_counts_its_failures() {
    let settings = ProducerSettings { linger: Duration::from_secs(3600), ..Default::default() };
    let mut cluster = Cluster::new(&settings, 2, 13);
    cluster.rule = Box::new(|asked, _| match asked.key {
        ApiKey::Produce if asked.partitions.contains(&1) => Fate::Refused(87),
        _ => Fate::Answered(1),
    });
    for number in 0..3 {
        cluster.produce(0, number).unwrap();
        cluster.produce(1, number).unwrap();
    }
    cluster.run_for(Duration::from_secs(1));
    assert_eq!(cluster.count(ApiKey::Produce), 0, "it lingers");
    let first = cluster.producer.begin_flush();
    cluster.produce(0, 3).unwrap();
    cluster.run_for(Duration::from_secs(1));
    assert_eq!(done(&cluster), [(first, 3)]);
    let failures =
        cluster.events.iter().position(|e| matches!(e, ProducerEvent::DeliveryFailed(_)));
    let flush = cluster.events.iter().position(|e| matches!(e, ProducerEvent::FlushDone { .. }));
    assert!(failures < flush, "{:?}", cluster.events);
    assert_eq!(cluster.producer.in_flight(), 1, "what came after it lingers on");
    let second = cluster.producer.begin_flush();
    let third = cluster.producer.begin_flush();
    cluster.run_for(Duration::from_secs(1));
    assert_eq!(done(&cluster), [(first, 3), (second, 0), (third, 0)]);
    assert_eq!(cluster.log(0).numbers(), [0, 1, 2, 3]);
}

#[test]
fn a_purge_gives_up_everything_and_life_goes_on() {
    let mut cluster = Cluster::new(&small(), 1, 14);
    cluster.produce(0, 0).unwrap();
    cluster.settle();
    cluster.rule = Box::new(|asked, _| match asked.key {
        ApiKey::Produce => Fate::Answered(100),
        _ => Fate::Answered(1),
    });
    for number in 1..40 {
        cluster.produce(0, number).unwrap();
    }
    cluster.step();
    cluster.produce(0, 40).unwrap();
    let flush = cluster.producer.begin_flush();
    cluster.producer.purge();
    cluster.produce(0, 41).unwrap();
    cluster.run_until(|cluster| cluster.producer.in_flight() <= 1);
    assert_eq!(failed(&cluster), 40);
    let codes = failure_codes(&cluster);
    assert!(codes.contains(&code::PURGED_FROM_QUEUE) && codes.contains(&code::PURGED_IN_FLIGHT));
    assert_eq!(done(&cluster), [(flush, 40)]);
    cluster.settle();
    // 25 were on their way in five requests.
    assert_eq!(cluster.log(0).numbers(), (0..26).chain([41]).collect::<Vec<_>>());
    assert_eq!(cluster.log(0).epochs, [(4000, 0)]);
}

#[test]
fn brokers_down_and_up_are_told_once() {
    let mut cluster = Cluster::new(&small(), 1, 15);
    cluster.produce(0, 0).unwrap();
    cluster.settle();
    cluster.down = true;
    cluster.cut();
    cluster.produce(0, 1).unwrap();
    cluster.run_for(Duration::from_secs(60));
    let down = |event: &&ProducerEvent| matches!(event, ProducerEvent::BrokersDown(_));
    let up = |event: &&ProducerEvent| matches!(event, ProducerEvent::BrokersUp);
    assert_eq!(cluster.events.iter().filter(down).count(), 1);
    assert_eq!(cluster.events.iter().filter(up).count(), 0);
    cluster.down = false;
    cluster.settle();
    cluster.run_for(Duration::from_secs(60));
    assert_eq!(cluster.events.iter().filter(down).count(), 1);
    assert_eq!(cluster.events.iter().filter(up).count(), 1);
    assert_eq!(cluster.log(0).numbers(), [0, 1]);
}

#[test]
fn a_probe_tells_that_brokers_are_up() {
    let mut cluster = Cluster::new(&small(), 1, 16);
    cluster.down = true;
    cluster.topic();
    cluster.run_for(Duration::from_secs(30));
    assert!(matches!(cluster.events[..], [ProducerEvent::BrokersDown(_)]), "{:?}", cluster.events);
    cluster.down = false;
    cluster.producer.probe();
    cluster.run_for(Duration::from_secs(30));
    assert_eq!(cluster.events.last(), Some(&ProducerEvent::BrokersUp));
}

#[test]
fn throttled_brokers_are_left_alone() {
    let mut cluster = Cluster::new(&small(), 1, 17);
    cluster.produce(0, 0).unwrap();
    cluster.settle();
    cluster.throttle_ms = 700;
    cluster.produce(0, 1).unwrap();
    cluster.settle();
    let start = cluster.now().mono;
    cluster.throttle_ms = 0;
    cluster.produce(0, 2).unwrap();
    cluster.settle();
    let waited = cluster.now().mono - start;
    assert!((650..800).contains(&waited.as_millis()), "{waited:?}");
}

#[test]
fn not_being_allowed_to_write_idempotently_is_fatal() {
    let mut cluster = Cluster::new(&small(), 1, 18);
    cluster.refusals.push_back((ApiKey::InitProducerId, 31));
    cluster.produce(0, 0).unwrap();
    cluster.settle();
    assert!(failed(&cluster) == 1 && failure_codes(&cluster) == [31]);
    let fatal = |event: &ProducerEvent| matches!(event, ProducerEvent::Fatal(e) if e.code == 31);
    assert!(cluster.events.iter().any(fatal), "{:?}", cluster.events);
    let refused = cluster.produce(0, 1).unwrap_err().to_string();
    assert!(refused.contains("failed for good"), "{refused}");
}

#[test]
fn out_of_order_is_no_end_without_an_end() {
    // A broker that says so for ever: the record fails in time, and the client does not spin.
    let settings = ProducerSettings { delivery_timeout: Some(Duration::from_secs(5)), ..small() };
    let mut cluster = Cluster::new(&settings, 1, 19);
    cluster.rule = Box::new(|asked, _| match asked.key {
        ApiKey::Produce => Fate::Refused(OUT_OF_ORDER),
        _ => Fate::Answered(1),
    });
    cluster.produce(0, 0).unwrap();
    cluster.settle();
    assert_eq!(failure_codes(&cluster), [code::MESSAGE_TIMED_OUT]);
    assert!(cluster.count(ApiKey::Produce) < 50, "{}", cluster.count(ApiKey::Produce));
}
