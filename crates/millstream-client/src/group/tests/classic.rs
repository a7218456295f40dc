//! Groups that live through what a seed holds for them.

use std::time::Duration;

use proptest::prelude::*;

use super::world::{World, settings};
use crate::random::Random;
use crate::settings::{Assignor, GroupSettings};

const TOPICS: [&str; 3] = ["a", "b", "c"];
const CO: Assignor = Assignor::CoPartitioned;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A minute of joins, leaves, crashes, stalls, cuts, parted lines and a coordinator that moves;
/// then quiet, in which everything must come to rest.
fn live_through(seed: u64, make: impl Fn(&mut World, usize) -> GroupSettings) -> World {
    let mut world = World::new(&[("a", 6), ("b", 6), ("c", 3)], seed);
    let mut made = 0;
    let mut start = |world: &mut World| {
        let settings = make(world, made);
        made += 1;
        let topics = if world.random.below(4) == 0 { vec!["^[abc]$"] } else { TOPICS.to_vec() };
        let index = world.start(settings, &topics);
        world.program(index).slowness = [30, 500, 4000][world.random.below(3) as usize];
    };
    for _ in 0..=world.random.below(3) {
        start(&mut world);
    }
    for _ in 0..30 {
        let wait = world.random.below(4000);
        world.run(Duration::from_millis(wait));
        let alive: Vec<usize> =
            (0..world.programs.len()).filter(|index| world.programs[*index].is_some()).collect();
        let some = alive[world.random.below(alive.len() as u64) as usize];
        match world.random.below(12) {
            0 | 1 if alive.len() < 5 => start(&mut world),
            2 if alive.len() > 1 => world.kill(some),
            3 if alive.len() > 1 => {
                world.program(some).group.close();
                world.wake(some);
                let patience = world.random.below(10_000);
                world.run(Duration::from_millis(patience));
                world.kill(some);
            }
            4 | 5 => world.cut(some),
            6 => {
                let until = world.now + Duration::from_millis(world.random.below(12_000));
                world.program(some).stalled_until = until;
            }
            7 => {
                let until = world.now + Duration::from_millis(world.random.below(15_000));
                world.parted.insert(some, until);
            }
            8 => {
                world.cluster.away_until =
                    world.now + Duration::from_millis(world.random.below(3000));
            }
            9 => {
                *world.cluster.topics.get_mut("c").unwrap() += 1;
            }
            10 => {
                let id = world.program(some).group.member_id().map(str::to_owned);
                let now = world.now;
                if let Some(id) = id {
                    world.cluster.coordinator.evict(&id, now);
                    world.cluster.server.evict(&id);
                }
            }
            _ => world.delay = [1, 20, 300][world.random.below(3) as usize],
        }
    }
    world.parted.clear();
    world.delay = 5;
    for index in 0..world.programs.len() {
        if let Some(program) = &mut world.programs[index] {
            program.stalled_until = Duration::ZERO;
            program.slowness = 30;
            // Lines that hung are found out sooner or later.
            world.cut(index);
        }
    }
    world.run(seconds(60));
    world.check_settled(&TOPICS);
    let shares = world.shares();
    world.run(seconds(30));
    assert_eq!(world.shares(), shares, "the group does not come to rest");
    world
}

fn check(seeds: u64, make: impl Fn(&mut World, usize) -> GroupSettings) {
    let (mut takeovers, mut accepted, mut refused) = (0, 0, 0);
    for seed in 0..seeds {
        let world = live_through(seed, &make);
        takeovers += world.takeovers;
        accepted += world.cluster.coordinator.accepted;
        refused += world.cluster.coordinator.refused;
    }
    // The seeds are worth something only if all this has happened.
    assert!(takeovers > 100 && accepted > 100 && refused > 0, "{takeovers} {accepted} {refused}");
}

#[test]
fn eager_groups() {
    check(6, |_, _| settings(&[Assignor::RoundRobin]));
    check(6, |_, _| settings(&[Assignor::Range, Assignor::RoundRobin]));
}

#[test]
fn cooperative_groups() {
    check(6, |_, _| settings(&[Assignor::CooperativeSticky]));
}

#[test]
fn co_partitioned_groups() {
    check(6, |_, _| settings(&[CO]));
}

#[test]
fn groups_on_their_way_from_range() {
    check(6, |world, _| {
        settings(if world.random.below(2) == 0 { &[CO, Assignor::Range] } else { &[CO] })
    });
}

#[test]
fn groups_with_static_members() {
    check(6, |_, index| GroupSettings {
        instance_id: (index % 2 == 0).then(|| format!("i{index}")),
        ..settings(&[CO])
    });
}

#[test]
fn groups_that_the_broker_assigns() {
    check(6, |_, _| GroupSettings { broker_assigns: true, ..settings(&[]) });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, ..ProptestConfig::default() })]

    #[test]
    fn any_seed(seed: u64, by_broker: bool) {
        live_through(seed, |_, _| GroupSettings { broker_assigns: by_broker, ..settings(&[CO]) });
    }
}
