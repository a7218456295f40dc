//! The smallest client: keeps an eye on some topics and does nothing else.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use millstream_types::TopicPartition;

use crate::base::{Base, Machine};
use crate::driver::Wake;
use crate::network::{Action, Health, Input};
use crate::random::Random;
use crate::settings::ConnectionSettings;
use crate::time::Now;

/// Keeps the metadata of some topics up to date, as every client does below what else it is. For
/// whoever drives machines by hand and wants to see connections and metadata alone.
pub struct Watcher {
    base: Base,
}

impl Watcher {
    /// A watcher of these topics. Connections are plain: nothing is authenticated.
    pub fn new(
        settings: Arc<ConnectionSettings>,
        topics: impl IntoIterator<Item = Arc<str>>,
        random: Box<dyn Random>,
    ) -> Self {
        let mut base = Base::new(settings, None, random);
        base.metadata.want_exactly(topics.into_iter().collect::<BTreeSet<_>>(), false);
        Self { base }
    }

    /// Asks again, as soon as the back-off allows.
    pub fn refresh(&mut self) {
        self.base.metadata.refresh();
    }

    /// How many answers have come.
    pub fn rounds(&self) -> u64 {
        self.base.metadata.rounds()
    }

    /// Whether a connection is ready.
    pub fn is_up(&self, now: Now) -> bool {
        self.base.health(now) == Health::Up
    }

    /// Node and epoch of a partition's leader, as far as is known.
    pub fn leader(&self, partition: &TopicPartition) -> Option<(i32, i32)> {
        self.base.metadata.leader(partition)
    }
}

impl Machine for Watcher {
    fn input(&mut self, input: Input, now: Now) {
        self.base.net.input(input, now);
    }

    fn advance(&mut self, now: Now) {
        self.base.begin(now);
        // Whatever comes here was asked for by nobody.
        while self.base.completion(now).is_some() {}
        self.base.finish(now);
    }

    fn take_wake(&mut self) -> Option<Arc<dyn Wake>> {
        None
    }

    fn action(&mut self) -> Option<Action> {
        self.base.net.action()
    }

    fn next_deadline(&self, now: Now) -> Option<Duration> {
        self.base.next_deadline(now)
    }
}
