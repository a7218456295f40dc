//! When logs are compacted: the dirtiest first, one after the other, a step at a time; when none
//! needs it, a look every `log.cleaner.backoff.ms`.

use std::time::Duration;

use uuid::Uuid;

use super::Broker;

/// Least memory of the map of keys, as in Kafka. A map that has room for no key would be full at
/// once, and the same log would be begun with for ever.
const MAP_BYTES_MIN: i64 = 1 << 20;
/// Logs are not looked through more often than this, in milliseconds, whatever the back-off.
const BACKOFF_MS_MIN: i64 = 10;

/// What the cleaner is about.
#[derive(Debug)]
pub(super) struct Cleaner {
    /// When it goes on; `None` if `log.cleaner.enable` is false.
    next: Option<Duration>,
    /// Topic and partition that it has begun with.
    running: Option<(Uuid, i32)>,
}

impl Cleaner {
    /// Looks for work at once.
    pub(super) fn new(enabled: bool, now: Duration) -> Self {
        Self { next: enabled.then_some(now), running: None }
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        self.next
    }
}

impl Broker {
    /// Does one step of compaction if it is time.
    pub(super) fn tick_cleaner(&mut self, now: Duration) {
        if self.cleaner.next.is_none_or(|next| now < next) {
            return;
        }
        let more = match self.cleaner.running {
            Some((topic, partition)) => {
                if !self.clean_some(topic, partition) {
                    self.cleaner.running = None;
                }
                // Another log may need it, too.
                true
            }
            None => {
                self.cleaner.running = self.begin_with_the_dirtiest();
                self.cleaner.running.is_some()
            }
        };
        let backoff = self.settings.number("log.cleaner.backoff.ms").max(BACKOFF_MS_MIN);
        let wait = if more { Duration::ZERO } else { Duration::from_millis(backoff as u64) };
        self.cleaner.next = Some(now + wait);
    }

    fn begin_with_the_dirtiest(&mut self) -> Option<(Uuid, i32)> {
        let now_ms = self.clock.wall();
        let map_bytes = self.settings.number("log.cleaner.dedupe.buffer.size").max(MAP_BYTES_MIN);
        let map_bytes = map_bytes as usize;
        let mut dirtiest = None;
        for topic in self.topics.iter().filter(|topic| topic.config.compact) {
            for (partition, log) in topic.partitions.iter().enumerate() {
                let Some(dirty) = log.dirty(&topic.config, now_ms) else { continue };
                if dirtiest.as_ref().is_none_or(|(_, _, most)| dirty.is_more_than(most)) {
                    dirtiest = Some((topic.id, partition as i32, dirty));
                }
            }
        }
        let (topic, partition, dirty) = dirtiest?;
        let name = self.topics.name_of(topic)?;
        let (log, _) = self.topics.get_mut(&name)?.log_mut(partition)?;
        if let Err(error) = log.begin_cleaning(&dirty, now_ms, map_bytes) {
            tracing::error!(topic = %name, partition, %error, "cannot compact a log");
            return None;
        }
        Some((topic, partition))
    }

    /// Returns whether there is more to do in that partition.
    fn clean_some(&mut self, topic: Uuid, partition: i32) -> bool {
        // A topic may be deleted at any time, or its policy changed.
        let Some(name) = self.topics.name_of(topic) else { return false };
        let Some((log, config)) =
            self.topics.get_mut(&name).and_then(|topic| topic.log_mut(partition))
        else {
            return false;
        };
        if !config.compact {
            log.abandon_cleaning();
            return false;
        }
        log.clean_some(config).unwrap_or_else(|error| {
            tracing::error!(topic = %name, partition, %error, "the compaction of a log has failed");
            false
        })
    }
}
