//! Whatever happens between consumer and brokers: what is handed out of a partition is its log.

use std::time::Duration;

use proptest::prelude::*;

use super::brokers::{Fate, World, from, settings, tp};
use crate::consumer::{Bounds, ConsumerEvent, StartOffset};
use crate::random::Random;
use crate::settings::{ConnectionSettings, ConsumerSettings};
use crate::testing::frames::Seeded;

const PARTITIONS: usize = 4;

/// What a reader of either kind must see, from each offset on.
#[derive(Default)]
struct Twin {
    /// Offset, producer of an open transaction, whether it counts.
    records: Vec<(i64, Option<i64>, bool)>,
}

impl Twin {
    fn end(&mut self, producer: i64, commit: bool) {
        for record in self.records.iter_mut().filter(|record| record.1 == Some(producer)) {
            (record.1, record.2) = (None, commit);
        }
    }

    fn visible(&self, from: i64, committed: bool) -> Vec<i64> {
        let seen = self.records.iter().filter(|record| record.0 >= from);
        seen.filter(|record| record.2 || !committed).map(|record| record.0).collect()
    }
}

fn run(seed: u64, read_committed: bool, old: bool) {
    let mut random = Seeded(seed);
    let settings = ConsumerSettings {
        read_committed,
        queued_max_bytes: 4000,
        partition_fetch_bytes: 600,
        ..settings()
    };
    let bounds = Bounds { records_max: 1 + random.below(20) as usize, bytes_max: 1 << 20 };
    let partitions = PARTITIONS as i32;
    let mut world = World::with(ConnectionSettings::default(), settings, bounds, partitions, seed);
    if old {
        world.state().caps.extend([(1, 6), (2, 3), (3, 8), (23, 2)]);
    }
    let mut twins: Vec<Twin> = (0..PARTITIONS).map(|_| Twin::default()).collect();
    let mut starts = [0i64; PARTITIONS];
    let mut seen: Vec<Vec<i64>> = vec![Vec::new(); PARTITIONS];
    let all: Vec<_> = (0..partitions).map(|n| from(n, StartOffset::At(0))).collect();
    world.consumer.assign(&all).unwrap();
    world.state().fate = Box::new(|_, random| match random.below(60) {
        0 => Fate::Lost,
        1 => Fate::AnswerLost,
        n => Fate::Answered(n % 40),
    });
    for _ in 0..300 {
        let index = random.below(PARTITIONS as u64) as usize;
        let partition = tp(index as i32);
        match random.below(14) {
            0..5 => {
                let producer = random.below(4).checked_sub(1).map(|p| p as i64);
                let count = 1 + random.below(8) as i64;
                let mut state = world.state();
                let base = state.partition(index).end();
                state.partition(index).write(count, producer);
                let record = |offset| (offset, producer, producer.is_none());
                twins[index].records.extend((base..base + count).map(record));
            }
            5 => {
                let (producer, commit) = (random.below(3) as i64, random.below(2) == 0);
                world.state().partition(index).mark(producer, commit);
                twins[index].end(producer, commit);
            }
            6 => world.state().move_leader(index),
            7 => world.cut(),
            8 => world.state().forget_sessions(),
            9 => world.consumer.pause(&[partition]).unwrap(),
            10 => world.consumer.resume(&[partition]).unwrap(),
            11 => {
                let end = world.state().partition(index).end();
                let to = random.below(end as u64 + 1) as i64;
                world.consumer.seek(&partition, StartOffset::At(to)).unwrap();
                (starts[index], seen[index]) = (to, Vec::new());
            }
            12 => world.consumer.hold_records(random.below(2) == 0),
            _ => {}
        }
        world.run(Duration::from_millis(random.below(80)));
        take(&mut world, &mut seen);
    }
    world.state().fate = Box::new(|_, _| Fate::Answered(1));
    for (index, twin) in twins.iter_mut().enumerate() {
        for producer in 0..3 {
            let commit = producer == 1;
            world.state().partition(index).mark(producer, commit);
            twin.end(producer, commit);
        }
    }
    world.consumer.hold_records(false);
    world.consumer.resume(&(0..partitions).map(tp).collect::<Vec<_>>()).unwrap();
    world.run_ms(60_000);
    take(&mut world, &mut seen);
    for (index, twin) in twins.iter().enumerate() {
        assert_eq!(seen[index], twin.visible(starts[index], read_committed), "partition {index}");
        let end = world.state().partition(index).end();
        assert_eq!(world.consumer.position(&tp(index as i32)), Some(end));
    }
    assert_eq!(world.errors(), []);
    assert_eq!(world.buffered(), 0);
}

fn take(world: &mut World, seen: &mut [Vec<i64>]) {
    for event in &world.events {
        if let ConsumerEvent::Records(batch) = event {
            let partition = batch.topic_partition().partition as usize;
            seen[partition].extend(batch.iter().map(|record| record.offset()));
        }
    }
    world.events.retain(|event| matches!(event, ConsumerEvent::PartitionError(..)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn what_is_handed_out_is_the_log(seed in any::<u64>(), committed in any::<bool>(), old in any::<bool>()) {
        run(seed, committed, old);
    }
}
