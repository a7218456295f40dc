//! A consumer of the client, whose every record is noted as it is handed out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use millstream_client::consumer::{Bounds, Consumer, ConsumerEvent};
use millstream_client::settings::ConsumerSettings;
use millstream_types::{RecordBatch, TopicPartition};

use super::connection;
use crate::actor::{Driven, Me};
use crate::ledger::{Partition, ReadingId, RecordId};
use crate::workload::Shared;
use crate::workload::record::{NAME_HEADER, name_of};

pub(super) struct Reader {
    pub(super) consumer: Consumer,
    pub(super) readings: BTreeMap<Partition, ReadingId>,
    /// What was handed out and nobody has taken, with who it is.
    pub(super) records: Vec<(Partition, RecordId)>,
    /// `isolation.level`.
    pub(super) committed: bool,
    driven: Driven,
    /// All that it may have fetched is of this era or later.
    fetched_in: u32,
    /// These hold what they have.
    paused: Vec<TopicPartition>,
}

impl Reader {
    pub(super) fn open(me: &Me, shared: &Shared, settings: ConsumerSettings) -> Self {
        let bounds = Bounds {
            records_max: me.between(1, 200) as usize,
            bytes_max: me.between(1, 1 << 14) as usize,
        };
        let committed = settings.read_committed;
        let (clock, random) = (me.host().clock(), Box::new(me.fork()));
        let (consumer, machine) =
            Consumer::by_hand_waiting(connection(), settings, bounds, clock, random, me.bell());
        Self {
            consumer,
            readings: BTreeMap::new(),
            records: Vec::new(),
            committed,
            driven: me.drive(machine),
            fetched_in: shared.era(),
            paused: Vec::new(),
        }
    }

    /// Settings that make much happen in a run.
    pub(super) fn settings(me: &Me, read_committed: bool) -> ConsumerSettings {
        ConsumerSettings {
            read_committed,
            offset_reset: millstream_client::settings::OffsetReset::Earliest,
            fetch_wait: Duration::from_millis(me.between(0, 500)),
            fetch_max_bytes: me.between(200, 1 << 15) as i32,
            partition_fetch_bytes: me.between(100, 1 << 13) as i32,
            queued_max_bytes: me.between(1, 1 << 16) as usize,
            partition_end: true,
            ..ConsumerSettings::default()
        }
    }

    /// Takes over all that there is: records are noted, the rest is returned.
    pub(super) fn poll(&mut self, me: &Me, shared: &Shared) -> Vec<ConsumerEvent> {
        let mut others = Vec::new();
        let mut events = Vec::new();
        loop {
            self.consumer.poll(Duration::ZERO, &mut events);
            if events.is_empty() {
                break;
            }
            for event in events.drain(..) {
                match event {
                    ConsumerEvent::Records(batch) => self.note(me, shared, &batch),
                    ConsumerEvent::PartitionEnd(ref partition, offset) => {
                        if let Some(reading) = self.reading(shared, partition) {
                            shared.ledger.borrow_mut().handed_all(reading, offset);
                        }
                        others.push(event);
                    }
                    event => others.push(event),
                }
            }
        }
        // Nothing is left of what was fetched before, unless it is still under way.
        if self.paused.is_empty() && self.is_of_this_era(shared) {
            self.fetched_in = shared.era();
        }
        others
    }

    /// Asks for no more of these; what was fetched of them stays with the consumer.
    pub(super) fn pause(&mut self, partitions: Vec<TopicPartition>) {
        self.consumer.pause(&partitions).expect("they are assigned");
        self.paused = partitions;
    }

    pub(super) fn resume(&mut self) {
        self.consumer.resume(&self.paused).expect("they are assigned");
        self.paused.clear();
    }

    pub(super) fn is_paused(&self) -> bool {
        !self.paused.is_empty()
    }

    /// Waits for something to report, up to a while.
    pub(super) async fn wait(
        &mut self,
        me: &Me,
        shared: &Shared,
        low: u64,
        high: u64,
    ) -> Vec<ConsumerEvent> {
        let until = Some(me.now() + Duration::from_millis(me.between(low, high)));
        let look = || {
            let events = self.poll(me, shared);
            (!events.is_empty()).then_some(events)
        };
        me.look(until, look).await.unwrap_or_default()
    }

    /// Whether all of its connections are of this era.
    pub(super) fn is_of_this_era(&self, shared: &Shared) -> bool {
        self.driven.oldest_era().is_none_or(|era| era >= shared.era())
    }

    /// How many connections it has closed so far.
    pub(super) fn hung_up(&self) -> u64 {
        self.driven.hung_up()
    }

    fn reading(&self, shared: &Shared, partition: &TopicPartition) -> Option<ReadingId> {
        self.readings.get(&shared.find(partition)?).copied()
    }

    fn note(&mut self, me: &Me, shared: &Shared, batch: &RecordBatch) {
        let Some(partition) = shared.find(batch.topic_partition()) else {
            let what = format!("{} was handed out, and is unknown", batch.topic_partition());
            me.host().violation(what);
            return;
        };
        let Some(reading) = self.readings.get(&partition).copied() else {
            me.host().violation(format!("{partition:?} is not read, and records are handed out"));
            return;
        };
        let era = shared.era();
        let mut ledger = shared.ledger.borrow_mut();
        let is_certain = ledger.is_strict() || self.fetched_in == era;
        let first = batch.iter().next().map(|record| record.offset());
        for record in batch.iter() {
            let name = record.headers().last(NAME_HEADER).flatten();
            let id = name_of(record.value(), name);
            self.records.extend(id.clone().map(|id| (partition, id)));
            ledger.handed(reading, record.offset(), is_certain);
            if is_certain {
                let timestamp = record.timestamp();
                ledger.saw(partition, record.offset(), id, self.committed, timestamp, era);
            }
        }
        let ((topic, number), count) = (partition, batch.len());
        me.host().trace(format_args!("is handed {count} of {topic}-{number} at {first:?}"));
    }
}

/// A partition as the client names it.
pub(super) fn named((topic, number): Partition) -> TopicPartition {
    TopicPartition::new(Arc::from(topic), number)
}
