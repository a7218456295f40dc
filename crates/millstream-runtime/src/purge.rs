//! Deletes what was read of repartition topics (parity row T-23): they keep records for ever, so
//! that a replay of old data is not lost to retention, and are purged behind the commits instead.

use std::collections::HashMap;
use std::time::Duration;

use millstream_kafka::Admin;
use millstream_types::{Offset, TopicPartition};

/// Between two purges. A request to every broker; once in a while is enough.
const EVERY: Duration = Duration::from_secs(30);
/// A cluster that does not answer at once is asked again at the next purge.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What is committed of repartition topics and not deleted yet.
#[derive(Debug, Default)]
pub(crate) struct Purge {
    due: HashMap<TopicPartition, Offset>,
    last: Option<Duration>,
}

impl Purge {
    /// Everything below `offset` was processed and committed.
    pub(crate) fn committed(&mut self, partition: &TopicPartition, offset: Offset) {
        self.due.insert(partition.clone(), offset);
    }

    /// A partition went to another member, which purges it from now on.
    pub(crate) fn forget(&mut self, partition: &TopicPartition) {
        self.due.remove(partition);
    }

    /// Deletes what is due, if it is time or `now` is the end of the run. A failure costs disk
    /// space, no correctness: it is logged.
    pub(crate) fn run(&mut self, admin: &mut dyn Admin, now: Duration, last_chance: bool) {
        let since = *self.last.get_or_insert(now);
        if self.due.is_empty() || (!last_chance && now.saturating_sub(since) < EVERY) {
            return;
        }
        self.last = Some(now);
        let before: Vec<(TopicPartition, Offset)> = self.due.drain().collect();
        match admin.delete_records(&before, TIMEOUT) {
            Ok(answers) => {
                for ((partition, _), answer) in before.iter().zip(answers) {
                    if let Err(error) = answer {
                        tracing::warn!("{partition}: what was read is not deleted: {error}");
                    }
                }
            }
            Err(error) => tracing::warn!("repartition topics are not purged: {error}"),
        }
    }
}
