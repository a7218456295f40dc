//! Fetches and what disturbs them: seeks, pauses, sessions, bounds, leaders, replicas.

use std::time::Duration;

use kafka_protocol::messages::{FetchRequest, OffsetForLeaderEpochRequest};
use kafka_protocol::protocol::Request;

use super::brokers::{Fate, Partition, World, from, settings, tp, values};
use crate::consumer::{Bounds, ConsumerEvent, StartOffset};
use crate::settings::{ConnectionSettings, ConsumerSettings};

fn with_bounds(settings: ConsumerSettings, records_max: usize, partitions: i32) -> World {
    let bounds = Bounds { records_max, bytes_max: 1 << 20 };
    World::with(ConnectionSettings::default(), settings, bounds, partitions, 5)
}

fn rack() -> ConnectionSettings {
    ConnectionSettings { rack: "near".into(), ..ConnectionSettings::default() }
}

#[test]
fn what_was_fetched_before_a_seek_is_not_handed_out() {
    let mut world = with_bounds(settings(), 2, 1);
    world.state().partition(0).write(6, None);
    world.state().partition(0).write(6, None);
    world.state().fate = Box::new(|_, _| Fate::Answered(50));
    world.consumer.assign(&[from(0, StartOffset::At(0))]).unwrap();
    // Half handed out, the next one under way.
    while !world.events.iter().any(|event| matches!(event, ConsumerEvent::Records(_))) {
        world.consumer.poll(Duration::from_secs(1), &mut world.events);
    }
    assert_eq!(world.read(0), ["0@0", "1@0"]);
    world.consumer.seek(&tp(0), StartOffset::At(9)).unwrap();
    assert_eq!(world.buffered(), 0);
    world.run_ms(2000);
    assert_eq!(world.read(0), ["9@0", "10@0", "11@0", "end 12"]);
    // At the end again, which a fetch session alone would not tell of.
    world.consumer.seek(&tp(0), StartOffset::At(12)).unwrap();
    world.run_ms(2000);
    assert_eq!(world.read(0), ["end 12"]);
    world.consumer.assign(&[from(0, StartOffset::End)]).unwrap();
    world.run_ms(2000);
    assert_eq!((world.read(0), world.buffered()), (vec!["end 12".to_owned()], 0));
}

#[test]
fn a_pause_keeps_what_is_half_handed_out() {
    let mut world = with_bounds(settings(), 2, 2);
    world.state().partition(0).write(6, None);
    world.state().partition(1).write(2, None);
    world.consumer.assign(&[from(0, StartOffset::At(0)), from(1, StartOffset::At(0))]).unwrap();
    let mut first = Vec::new();
    while first.is_empty() {
        world.consumer.poll(Duration::from_secs(1), &mut world.events);
        first = world.read(0);
    }
    world.consumer.pause(&[tp(0)]).unwrap();
    world.state().partition(1).write(2, None);
    world.run_ms(3000);
    assert_eq!(world.read(0), Vec::<String>::new());
    assert_eq!(world.read(1).last().unwrap(), "end 4");
    world.consumer.resume(&[tp(0)]).unwrap();
    world.run_ms(2000);
    first.extend(world.read(0));
    assert_eq!(first, [values(0..6, 0), vec!["end 6".into()]].concat());
    assert_eq!(world.buffered(), 0);
    // Forgotten by the session meanwhile, and known again.
    world.consumer.pause(&[tp(0), tp(1)]).unwrap();
    world.run_ms(2000);
    world.state().partition(0).write(1, None);
    world.consumer.resume(&[tp(0)]).unwrap();
    world.run_ms(2000);
    assert_eq!(world.read(0), ["6@0", "end 7"]);
}

#[test]
fn what_is_ready_is_handed_out_without_waiting() {
    let mut world = World::new(settings(), 1);
    world.state().partition(0).write(3, None);
    world.consumer.assign(&[from(0, StartOffset::At(0))]).unwrap();
    world.consumer.hold_records(true);
    world.run_ms(2000);
    assert_eq!(world.events.len(), 0);
    world.consumer.hold_records(false);
    let before = world.brokers.elapsed();
    for _ in 0..2 {
        world.consumer.poll(Duration::from_secs(1), &mut world.events);
    }
    assert_eq!(world.read(0), ["0@0", "1@0", "2@0", "end 3"]);
    assert_eq!(world.brokers.elapsed(), before);
}

#[test]
fn an_end_is_told_after_its_records_once_and_again_when_more_came() {
    let mut world = World::new(settings(), 1);
    {
        let mut state = world.state();
        let partition = state.partition(0);
        partition.write(2, Some(7));
        partition.mark(7, true);
        partition.write(2, Some(7));
        partition.mark(7, false);
        partition.write(1, Some(8));
        partition.write(1, None);
    }
    world.consumer.assign(&[from(0, StartOffset::At(0))]).unwrap();
    world.run_ms(5000);
    // Up to the open transaction; the marker moves the position.
    assert_eq!(world.read(0), ["0@0", "1@0", "end 6"]);
    assert_eq!(world.consumer.position(&tp(0)), Some(6));
    assert_eq!(world.consumer.cached_watermarks(&tp(0)).unwrap().high, 6);
    world.state().partition(0).mark(8, false);
    world.run_ms(2000);
    assert_eq!(world.read(0), ["7@0", "end 9"]);
    world.state().partition(0).write(1, Some(9));
    world.state().partition(0).mark(9, false);
    world.run_ms(2000);
    assert_eq!(world.read(0), ["end 11"]);
    let mut world = World::new(ConsumerSettings { read_committed: false, ..settings() }, 1);
    world.state().partition(0).write(1, Some(8));
    world.consumer.assign(&[from(0, StartOffset::At(0))]).unwrap();
    world.run_ms(2000);
    assert_eq!(world.read(0), ["0@0", "end 1"]);
}

#[test]
fn sessions_that_are_lost_begin_anew() {
    let mut world = World::new(settings(), 2);
    world.consumer.assign(&[from(0, StartOffset::At(0)), from(1, StartOffset::At(0))]).unwrap();
    world.run_ms(2000);
    assert_eq!(
        (world.read(0), world.read(1)),
        (vec!["end 0".to_owned()], vec!["end 0".to_owned()])
    );
    for disturbance in 0..5 {
        match disturbance {
            0..3 => world.state().fetch_error = Some([70, 71, 106][disturbance]),
            3 => world.state().forget_sessions(),
            _ => world.cut(),
        }
        world.state().partition(0).write(1, None);
        world.run_ms(3000);
        let end = format!("end {}", disturbance + 1);
        assert_eq!(world.read(0), [format!("{disturbance}@0"), end]);
    }
    assert_eq!(world.errors(), []);
}

#[test]
fn bounds_hold_and_quiet_partitions_are_not_asked_for_all_the_time() {
    let settings =
        ConsumerSettings { queued_max_bytes: 200_000, partition_fetch_bytes: 20_000, ..settings() };
    let mut world = World::new(settings, 6);
    for index in 0..3 {
        for _ in 0..400 {
            world.state().partition(index).write(50, None);
        }
    }
    let starts: Vec<_> = (0..6).map(|n| from(n, StartOffset::At(0))).collect();
    world.consumer.assign(&starts).unwrap();
    world.consumer.hold_records(true);
    world.run_ms(1000);
    let held = world.buffered();
    assert!((60_000..400_000).contains(&held), "{held}");
    let before = world.state().count::<FetchRequest>();
    world.run_ms(20_000);
    assert!(world.state().count::<FetchRequest>() - before < 3 * 60);
    assert_eq!(world.buffered(), held);
    world.consumer.hold_records(false);
    world.run_ms(20_000);
    for partition in 0..3 {
        let read = world.read(partition);
        assert_eq!(read.len(), 20_001);
        assert_eq!(read.last().unwrap(), "end 20000");
    }
    assert_eq!(world.buffered(), 0);
}

#[test]
fn no_partition_starves() {
    // By sessions the broker takes turns, without them we do.
    for caps in [&[][..], &[(1, 6)]] {
        let settings =
            ConsumerSettings { queued_max_bytes: 4000, partition_fetch_bytes: 2000, ..settings() };
        let mut world = with_bounds(settings, 10, 1);
        world.state().caps.extend(caps.iter().copied());
        world.state().topics.get_mut("t").unwrap().partitions.clear();
        for index in 0..4 {
            world.state().topics.get_mut("t").unwrap().partitions.push(Partition::led_by(1));
            for _ in 0..400 {
                world.state().partition(index).write(10, None);
            }
        }
        let starts: Vec<_> = (0..4).map(|n| from(n, StartOffset::At(0))).collect();
        world.consumer.assign(&starts).unwrap();
        let mut counts = [0usize; 4];
        while counts.iter().sum::<usize>() < 6000 {
            world.consumer.poll(Duration::from_secs(1), &mut world.events);
            for partition in 0..4 {
                counts[partition as usize] += world.read(partition).len();
            }
        }
        let (low, high) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
        assert!(low * 3 >= *high * 2, "{counts:?}");
    }
}

#[test]
fn a_damaged_batch_is_told_once_and_read_when_it_is_whole() {
    let mut world = World::new(settings(), 1);
    world.state().partition(0).write(4, None);
    world.state().partition(0).write(4, None);
    world.state().partition(0).damage(4);
    world.consumer.assign(&[from(0, StartOffset::At(2))]).unwrap();
    world.run_ms(10_000);
    assert_eq!(world.read(0), ["2@0", "3@0"]);
    assert_eq!(world.errors(), [(0, 2)]);
    world.state().partition(0).damage(4);
    world.run_ms(3000);
    assert_eq!(world.read(0), [values(4..8, 0), vec!["end 8".into()]].concat());
    // Begun inside of it: what comes before is not handed out afterwards.
    world.state().partition(0).damage(4);
    world.consumer.seek(&tp(0), StartOffset::At(6)).unwrap();
    world.run_ms(2000);
    world.state().partition(0).damage(4);
    world.run_ms(3000);
    assert_eq!(world.read(0), ["6@0", "7@0", "end 8"]);
    assert_eq!((world.errors(), world.buffered()), (vec![(0, 2)], 0));
}

#[test]
fn leaders_move_with_and_without_being_named() {
    for names in [true, false] {
        let mut world = World::new(settings(), 1);
        world.state().names_leaders = names;
        world.consumer.assign(&[from(0, StartOffset::At(0))]).unwrap();
        for round in 0..4 {
            world.state().partition(0).write(1, None);
            world.run_ms(2000);
            let epoch = round;
            assert_eq!(world.read(0), [format!("{round}@{epoch}"), format!("end {}", round + 1)]);
            world.state().move_leader(0);
        }
        let refused =
            [(OffsetForLeaderEpochRequest::KEY, 74), (OffsetForLeaderEpochRequest::KEY, 75)];
        world.state().refusals.extend(refused);
        world.state().partition(0).write(1, None);
        world.run_ms(3000);
        assert_eq!(world.read(0), ["4@4", "end 5"]);
        assert_eq!(world.errors(), []);
    }
}

#[test]
fn a_leader_that_dies_is_replaced_however_late_it_is_known() {
    for is_noticed in [true, false] {
        let mut world = World::new(settings(), 1);
        world.state().partition(0).write(1, None);
        world.consumer.assign(&[from(0, StartOffset::At(0))]).unwrap();
        world.run_ms(1000);
        world.state().alive.remove(&1);
        if is_noticed {
            world.state().listed.remove(&1);
        }
        world.cut();
        // For a while nobody else leads.
        world.run_ms(20_000);
        world.state().move_leader(0);
        world.state().partition(0).write(1, None);
        world.run_ms(25_000);
        assert_eq!(world.read(0), ["0@0", "end 1", "1@1", "end 2"]);
    }
}

#[test]
fn a_log_that_was_cut_is_reported_and_nothing_before_the_cut_is_lost() {
    for caps in [&[][..], &[(1, 11)]] {
        let mut world = with_bounds(settings(), 2, 1);
        world.state().caps.extend(caps.iter().copied());
        for _ in 0..4 {
            world.state().partition(0).write(2, None);
        }
        world.consumer.assign(&[from(0, StartOffset::At(0))]).unwrap();
        world.consumer.poll(Duration::from_secs(1), &mut world.events);
        world.consumer.hold_records(true);
        world.run_ms(1000);
        let mut read = world.read(0);
        assert!(read.len() <= 2);
        world.state().partition(0).truncate(4);
        world.state().move_leader(0);
        world.state().partition(0).write(3, None);
        world.run_ms(3000);
        assert_eq!(world.errors(), [(0, -139)]);
        world.consumer.hold_records(false);
        world.run_ms(3000);
        read.extend(world.read(0));
        assert_eq!(read, [values(0..4, 0), values(4..7, 1), vec!["end 7".into()]].concat());
        assert_eq!(world.buffered(), 0);
    }
}

#[test]
fn a_replica_nearby_is_followed_and_left_when_it_is_of_no_use() {
    let mut world = World::with(rack(), settings(), Bounds::default(), 1, 9);
    world.state().preferred = Some(3);
    world.state().partition(0).write(2, None);
    world.consumer.assign(&[from(0, StartOffset::At(0))]).unwrap();
    world.run_ms(3000);
    assert_eq!(world.read(0), ["0@0", "1@0", "end 2"]);
    let to = |world: &World, node| world.state().fetches.iter().filter(|(n, _)| *n == node).count();
    assert!(to(&world, 3) > to(&world, 1));
    // Gone, while the leader goes on naming it.
    world.state().alive.remove(&3);
    world.state().listed.remove(&3);
    world.cut();
    let before = world.state().fetches.len();
    world.state().partition(0).write(2, None);
    world.run_ms(5000);
    assert_eq!(world.read(0), ["2@0", "3@0", "end 4"]);
    assert!(world.state().fetches.len() - before < 100);
    // Back, and it refuses: the leader is asked.
    world.state().alive.insert(3);
    world.state().listed.insert(3);
    world.run_ms(30_000);
    assert!(world.state().fetches.iter().rev().take(5).all(|(node, _)| *node == 3));
    world.state().refusals.push_back((FetchRequest::KEY, 1));
    world.state().partition(0).write(1, None);
    world.run_ms(5000);
    assert_eq!(world.read(0), ["4@0", "end 5"]);
    assert_eq!(world.errors(), []);
}

#[test]
fn a_silent_broker_is_given_up_in_time() {
    let mut world = World::new(settings(), 1);
    world.state().partition(0).write(1, None);
    world.consumer.assign(&[from(0, StartOffset::At(0))]).unwrap();
    world.run_ms(1000);
    assert_eq!(world.read(0), ["0@0", "end 1"]);
    let mut silent = 1;
    world.state().fate = Box::new(move |key, _| match key {
        FetchRequest::KEY if std::mem::take(&mut silent) == 1 => Fate::Silence,
        _ => Fate::Answered(1),
    });
    world.state().partition(0).write(1, None);
    world.run_ms(70_000);
    assert_eq!(world.read(0), ["1@0", "end 2"]);
    assert_eq!(world.errors(), []);
}
