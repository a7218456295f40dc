//! Topics: their partitions, and the records that wait until these are known.

use std::sync::Arc;
use std::time::Duration;

use millstream_types::Clock;

use super::{NotTaken, Queue, Slot, Topic, no_such_partition};
use crate::error::{KafkaError, code};
use crate::producer::waiting::{Waited, Waiting};
use crate::producer::{Partition, ProduceRecord};
use crate::time::earlier;

impl Queue {
    pub(in crate::producer) fn add_topic(&mut self, name: Arc<str>) -> u32 {
        self.topics.push(Topic {
            name,
            slots: Vec::new(),
            available: Vec::new(),
            sticky: None,
            waiting: Waiting::default(),
            refusal: None,
        });
        self.topics.len() as u32 - 1
    }

    /// Takes over what metadata says about a topic. Its waiting records find their partitions.
    pub(in crate::producer) fn set_partitions(
        &mut self,
        index: u32,
        count: usize,
        available: Vec<u32>,
        clock: &dyn Clock,
    ) {
        let topic = &mut self.topics[index as usize];
        topic.available = available;
        topic.refusal = None;
        // A topic that was made anew with fewer partitions: those that are gone keep their slot,
        // what is in it runs into its time limit.
        if count > topic.slots.len() {
            topic.slots.resize_with(count, Slot::default);
        }
        if count == 0 || topic.waiting.is_empty() {
            return;
        }
        let mut waiting = std::mem::take(&mut topic.waiting);
        while waiting
            .pop(|waited| {
                let (record, size) = (&waited.record, waited.size);
                let partition = match record.partition {
                    Partition::At(at) if (at as usize) < count => at as u32,
                    Partition::At(at) => {
                        let error = KafkaError::of(code::UNKNOWN_PARTITION);
                        self.fail(
                            index,
                            Some(at as u32),
                            1,
                            waited.flush,
                            size,
                            waited.tracked,
                            &error,
                        );
                        return;
                    }
                    Partition::ByKey => self.choose(index, record.key, size, clock),
                };
                let Waited { timestamp, flush, tracked, .. } = waited;
                let created = Some(waited.created);
                self.put(index, partition, record, timestamp, size, flush, created, tracked, clock);
            })
            .is_some()
        {}
        // A flush that was begun before is not to linger now.
        let before = self.flush.number;
        for (topic, partition, serial) in std::mem::take(&mut self.opened) {
            match self.is_open(topic, partition, serial) {
                Some(open) if open.flush < before => {
                    self.close(topic, partition);
                }
                Some(_) => self.opened.push_back((topic, partition, serial)),
                None => {}
            }
        }
    }

    /// The brokers will not have this topic: what waits for it is given up.
    pub(in crate::producer) fn refuse_topic(&mut self, index: u32, error: &KafkaError) {
        self.topics[index as usize].refusal = Some(error.clone());
        self.fail_waiting(index as usize, |_| Some(error.clone()));
    }

    /// Gives up records that have waited for their topic for too long. `absent`: since when brokers
    /// say that a topic is not there. Returns when the next one will have.
    pub(in crate::producer) fn expire_waiting(
        &mut self,
        now: Duration,
        absent: impl Fn(usize) -> Option<Duration>,
    ) -> Option<Duration> {
        let timeout = self.settings.delivery_timeout;
        let propagation = self.settings.topic_propagation;
        let mut next: Option<Duration> = None;
        for index in 0..self.topics.len() {
            let absent = absent(index);
            // Records are told to be late in the order of their coming.
            let ends = |created: Duration| {
                let gone = absent.map(|since| created.max(since) + propagation);
                earlier(gone, timeout.map(|timeout| created + timeout))
            };
            self.fail_waiting(index, |created| {
                let late = ends(created).is_some_and(|end| end <= now);
                late.then(|| KafkaError::of(code::UNKNOWN_TOPIC))
            });
            next = earlier(next, self.topics[index].waiting.oldest().and_then(ends));
        }
        next
    }

    /// Fails all records that wait for their topic.
    pub(in crate::producer) fn fail_all_waiting(&mut self, error: &KafkaError) {
        for index in 0..self.topics.len() {
            self.fail_waiting(index, |_| Some(error.clone()));
        }
    }

    /// Fails waiting records from the front for as long as `why` has a reason.
    pub(super) fn fail_waiting(
        &mut self,
        index: usize,
        why: impl Fn(Duration) -> Option<KafkaError>,
    ) {
        while let Some(error) = self.topics[index].waiting.oldest().and_then(&why) {
            let about = self.topics[index].waiting.pop(|waited| {
                let partition = match waited.record.partition {
                    Partition::At(partition) => u32::try_from(partition).ok(),
                    Partition::ByKey => None,
                };
                (partition, waited.flush, waited.size, waited.tracked)
            });
            let Some((partition, flush, size, tracked)) = about else { return };
            self.fail(index as u32, partition, 1, flush, size, tracked, &error);
        }
    }

    /// Keeps a record of a topic whose partitions are not known.
    #[cold]
    pub(super) fn wait(
        &mut self,
        record: &ProduceRecord<'_>,
        size: usize,
        token: Option<u64>,
        clock: &dyn Clock,
    ) -> Result<bool, NotTaken> {
        let topic = &mut self.topics[record.topic.0 as usize];
        if let Some(error) = &topic.refusal {
            return Err(NotTaken::Refused(error.clone()));
        }
        if matches!(record.partition, Partition::At(partition) if partition < 0) {
            return Err(no_such_partition());
        }
        let first = topic.waiting.is_empty();
        let timestamp = record.timestamp.unwrap_or_else(|| clock.wall());
        let (now, flush) = (clock.monotonic(), self.flush.number);
        topic.waiting.push(record, timestamp, now, flush, size, token);
        self.records += 1;
        self.bytes += size;
        self.flush.open += 1;
        // The driver has a time limit to watch.
        Ok(first)
    }
}
