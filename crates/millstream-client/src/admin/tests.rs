//! The admin client against scripted brokers: ways, retries, order, time limits.

mod families;
mod old_brokers;
mod ways;

use std::sync::Arc;
use std::time::Duration;

use millstream_types::{Clock, TopicPartition};

use super::{Admin, NewTopic};
use crate::error::Error;
use crate::testing::{Seeded, World};

const LIMIT: Duration = Duration::from_secs(30);

fn admin(world: &Arc<World>) -> Admin {
    let admin =
        Admin::by_hand(&World::settings(), world.clock.clone(), Box::new(Seeded(7)), world.clone())
            .unwrap();
    world.drive(admin.machine());
    admin
}

fn tp(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition::new(topic, partition)
}

fn new_topic(name: &str) -> NewTopic {
    NewTopic {
        name: name.into(),
        partitions: Some(1),
        replication_factor: Some(1),
        ..NewTopic::default()
    }
}

fn code(error: &Error) -> i32 {
    match error {
        Error::Kafka { error, .. } => error.code,
        other => panic!("no error of Kafka: {other}"),
    }
}

/// How long `call` took by the world's clock.
fn taking<T>(world: &World, call: impl FnOnce() -> T) -> (T, Duration) {
    let start = world.clock.monotonic();
    let done = call();
    (done, world.clock.monotonic() - start)
}
