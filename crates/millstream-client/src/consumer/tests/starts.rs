//! Where reading starts, and partitions that are not there, or not the same any more.

use std::time::Duration;

use kafka_protocol::messages::{FetchRequest, ListOffsetsRequest, MetadataRequest};
use kafka_protocol::protocol::Request;

use super::brokers::{World, from, settings, tp, values};
use crate::consumer::{Bounds, ConsumerEvent, StartOffset, Watermarks};
use crate::error::Error;
use crate::settings::{ConnectionSettings, ConsumerSettings, OffsetReset};

#[test]
fn every_start_with_every_age_of_brokers() {
    // Fetch, ListOffsets, Metadata as of Kafka 4.x, 2.4, and without fetch sessions.
    for caps in [
        &[][..],
        &[(1, 12), (2, 5), (3, 9)],
        &[(1, 11), (3, 8)],
        &[(1, 4), (2, 1), (3, 5), (23, 1)],
    ] {
        let mut world = World::new(settings(), 3);
        for index in 0..3 {
            world.state().partition(index).write(4, None);
            world.state().partition(index).start = if index == 1 { 2 } else { 0 };
        }
        world.state().caps.extend(caps.iter().copied());
        let starts = [
            from(0, StartOffset::At(1)),
            from(1, StartOffset::Beginning),
            from(2, StartOffset::End),
        ];
        world.consumer.assign(&starts).unwrap();
        world.run_ms(2000);
        assert_eq!(world.read(0), ["1@0", "2@0", "3@0", "end 4"]);
        assert_eq!(world.read(1).last().unwrap(), "end 4");
        assert_eq!(world.read(2), ["end 4"]);
        for index in 0..3 {
            world.state().partition(index).write(1, None);
        }
        world.run_ms(2000);
        for partition in 0..3 {
            assert_eq!(world.read(partition), ["4@0", "end 5"]);
            assert_eq!(world.consumer.position(&tp(partition)), Some(5));
        }
        assert_eq!(world.errors(), []);
        assert_eq!(world.buffered(), 0);
        let found = world.consumer.watermarks(&tp(1), Duration::from_secs(5)).unwrap();
        assert_eq!(found, Watermarks { low: 2, high: 5 });
    }
}

#[test]
fn an_offset_out_of_range_is_reset_by_the_setting() {
    for (reset, wanted, code) in [
        (OffsetReset::Earliest, vec!["2@0", "3@0", "end 4"], None),
        (OffsetReset::Latest, vec!["end 4"], None),
        (OffsetReset::Error, vec![], Some((0, -140))),
    ] {
        let mut world = World::new(ConsumerSettings { offset_reset: reset, ..settings() }, 1);
        for _ in 0..4 {
            world.state().partition(0).write(1, None);
        }
        world.state().partition(0).start = 2;
        world.consumer.assign(&[from(0, StartOffset::At(9))]).unwrap();
        world.run_ms(2000);
        assert_eq!(world.read(0), wanted);
        assert_eq!(world.errors(), Vec::from_iter(code));
    }
}

#[test]
fn a_topic_that_is_not_there_is_reported_once_asked_for_seldom_and_read_when_it_appears() {
    let mut world = World::new(settings(), 0);
    world.consumer.assign(&[from(0, StartOffset::Beginning), from(1, StartOffset::At(0))]).unwrap();
    world.run_ms(8_000);
    assert_eq!(world.errors(), []);
    world.run_ms(60_000);
    assert_eq!(world.errors(), [(0, 3), (1, 3)]);
    assert!(world.state().count::<MetadataRequest>() < 130);
    // One partition only: the other one is still missing.
    world.state().add_topic("t", 5, 1);
    world.state().partition(0).write(2, None);
    world.run_ms(5000);
    assert_eq!(world.read(0), ["0@0", "1@0", "end 2"]);
    let before = world.state().count::<MetadataRequest>();
    world.run_ms(60_000);
    assert!(world.state().count::<MetadataRequest>() - before < 90);
    assert_eq!(world.errors(), []);
}

#[test]
fn no_storm_while_a_partition_has_no_leader_or_is_refused() {
    let mut world = World::new(settings(), 1);
    world.state().partition(0).leader = -1;
    world.consumer.assign(&[from(0, StartOffset::Beginning)]).unwrap();
    world.run_ms(60_000);
    assert!(world.state().count::<MetadataRequest>() < 90);
    world.state().partition(0).leader = 2;
    // No right: told once, and tried again.
    world.state().refusals.extend([(ListOffsetsRequest::KEY, 29); 20]);
    world.run_ms(10_000);
    assert_eq!(world.errors(), [(0, 29)]);
    assert!(world.state().count::<ListOffsetsRequest>() > 3);
    world.state().refusals.clear();
    world.state().refusals.extend([(FetchRequest::KEY, 29); 10]);
    world.run_ms(20_000);
    assert_eq!(world.errors(), [(0, 29)]);
    world.state().partition(0).write(1, None);
    world.run_ms(3000);
    assert_eq!(world.read(0), ["0@0", "end 1"]);
}

#[test]
fn a_topic_made_anew_is_read_as_the_setting_says() {
    for reset in [OffsetReset::Earliest, OffsetReset::Latest] {
        let mut world = World::new(ConsumerSettings { offset_reset: reset, ..settings() }, 1);
        world.state().partition(0).write(3, None);
        world.consumer.assign(&[from(0, StartOffset::Beginning)]).unwrap();
        world.run_ms(1000);
        assert_eq!(world.read(0), ["0@0", "1@0", "2@0", "end 3"]);
        world.state().topics.clear();
        world.run_ms(3000);
        world.state().add_topic("t", 78, 1);
        world.state().partition(0).write(5, None);
        world.run_ms(5000);
        let wanted = match reset {
            OffsetReset::Earliest => vec!["0@0", "1@0", "2@0", "3@0", "4@0", "end 5"],
            _ => vec!["end 5"],
        };
        assert_eq!(world.read(0), wanted);
        assert_eq!((world.errors(), world.buffered()), (vec![], 0));
    }
}

#[test]
fn calls_end_with_an_answer_an_error_or_the_time() {
    let mut world = World::new(settings(), 2);
    let second = Duration::from_secs(1);
    let missing = millstream_types::TopicPartition::new("none", 0);
    let refused = |result: Result<Watermarks, Error>| match result {
        Err(Error::Kafka { error, .. }) => error.code,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(world.consumer.watermarks(&missing, second)), 3);
    assert_eq!(refused(world.consumer.watermarks(&tp(7), second)), -190);
    world.state().alive.remove(&2);
    world.cut();
    let late = world.consumer.watermarks(&tp(1), second);
    assert!(matches!(late, Err(Error::TimedOut { .. })));
    // What came meanwhile is not forgotten.
    world.state().partition(0).write(1, None);
    world.consumer.assign(&[from(0, StartOffset::Beginning)]).unwrap();
    world.consumer.watermarks(&tp(1), second).unwrap_err();
    let before = world.brokers.elapsed();
    world.consumer.poll(second, &mut world.events);
    assert_eq!(world.read(0)[..1], values(0..1, 0)[..]);
    assert_eq!(world.brokers.elapsed(), before);
    assert_eq!(world.consumer.offsets_for_times(&[(tp(0), 5)], second).unwrap(), [None]);
}

#[test]
fn brokers_down_is_told_once_and_up_once() {
    let mut world = World::with(ConnectionSettings::default(), settings(), Bounds::default(), 1, 3);
    world.state().partition(0).write(1, None);
    world.consumer.assign(&[from(0, StartOffset::Beginning)]).unwrap();
    world.run_ms(1000);
    world.state().alive.clear();
    world.cut();
    world.run_ms(60_000);
    let downs = |world: &World| {
        let down = world.events.iter().filter(|e| matches!(e, ConsumerEvent::BrokersDown(_)));
        let up = world.events.iter().filter(|e| matches!(e, ConsumerEvent::BrokersUp));
        (down.count(), up.count())
    };
    assert_eq!(downs(&world), (1, 0));
    // Only one of the first addresses is back, under another leader.
    world.state().alive.insert(2);
    world.state().move_leader(0);
    world.state().partition(0).write(1, None);
    world.run_ms(30_000);
    assert_eq!(downs(&world), (1, 1));
    assert_eq!(world.read(0), ["0@0", "end 1", "1@1", "end 2"]);
}
