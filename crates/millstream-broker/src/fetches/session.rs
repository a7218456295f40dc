//! One fetch session (KIP-227): what a client has said about its partitions, and what it has been
//! told, so that requests and answers name only what has changed.
//!
//! A session knows which of its partitions may have something to say. A partition that was looked
//! at and had nothing is left alone until its log changes or the client asks for another place, so
//! a request costs what has changed, not what the session holds.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::messages::FetchRequest;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use uuid::Uuid;

use crate::group::Ticket;

/// How a request names a topic: by its id from version 13 on, by its name before.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum TopicKey {
    Id(Uuid),
    Name(Arc<str>),
}

impl TopicKey {
    /// The topic of a request. The name is copied: what is kept must not keep the request.
    pub(crate) fn of(topic: &FetchTopic) -> Self {
        Self::new(topic.topic_id, topic.topic.as_str())
    }

    fn new(id: Uuid, name: &str) -> Self {
        if id.is_nil() { Self::Name(name.into()) } else { Self::Id(id) }
    }
}

/// What a client asks of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    /// -1 if the client does not say.
    pub(crate) leader_epoch: i32,
    /// Bytes.
    pub(crate) max_bytes: i32,
}

impl Wanted {
    pub(crate) fn of(partition: &FetchPartition) -> Self {
        Self {
            partition: partition.partition,
            offset: partition.fetch_offset,
            leader_epoch: partition.current_leader_epoch,
            max_bytes: partition.partition_max_bytes,
        }
    }
}

/// Names a partition within its session.
pub(crate) type Slot = u64;

/// What a look at a partition's log has found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    /// The topic, if there is such a partition.
    pub(crate) topic: Option<Uuid>,
    pub(crate) high_watermark: i64,
    pub(crate) log_start: i64,
    /// Whether there are records in the answer.
    pub(crate) has_records: bool,
    /// Whether there are more than the limits have let through.
    pub(crate) has_more: bool,
    pub(crate) failed: bool,
}

impl Found {
    pub(crate) fn new(
        data: &PartitionData,
        has_records: bool,
        topic: Option<Uuid>,
        has_more: bool,
    ) -> Self {
        Self {
            topic,
            high_watermark: data.high_watermark,
            log_start: data.log_start_offset,
            has_records,
            has_more,
            failed: data.error_code != 0,
        }
    }

    /// The next request must look again, even if nothing happens until then.
    fn is_unfinished(&self) -> bool {
        self.failed || self.has_records || self.has_more
    }
}

#[derive(Debug)]
struct Cached {
    topic: TopicKey,
    wanted: Wanted,
    /// What the client was told last; -1 after an error, so that its end is told.
    high_watermark: i64,
    log_start: i64,
    /// Its place in the order of the session: partitions that gave records go to the end, so that
    /// none starves when the limits let only some through.
    place: u64,
    /// The topic whose log tells the session of changes.
    watched: Option<Uuid>,
}

/// A session.
#[derive(Debug)]
pub(crate) struct Session {
    /// The epoch that the next request must have.
    pub(super) epoch: i32,
    pub(super) uses_topic_ids: bool,
    pub(super) created: Duration,
    pub(super) last_used: Duration,
    /// Its size when it was last used: what the cache sorts by.
    pub(super) size: usize,
    /// Requests that wait for records.
    pub(super) waiting: Vec<Ticket>,
    slots: HashMap<Slot, Cached>,
    by_key: HashMap<(TopicKey, i32), Slot>,
    /// Partitions to look at, by their places.
    stirred: BTreeMap<u64, Slot>,
    next: u64,
}

impl Session {
    pub(super) fn new(uses_topic_ids: bool, now: Duration) -> Self {
        Self {
            epoch: 1,
            uses_topic_ids,
            created: now,
            last_used: now,
            size: 0,
            waiting: Vec::new(),
            slots: HashMap::new(),
            by_key: HashMap::new(),
            stirred: BTreeMap::new(),
            next: 0,
        }
    }

    /// How many partitions it holds.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Takes what a request says. Returns the logs that need not be watched any more.
    pub(super) fn update(&mut self, request: &FetchRequest) -> Vec<(Uuid, i32, Slot)> {
        for topic in &request.topics {
            let key = TopicKey::of(topic);
            for partition in &topic.partitions {
                self.want(key.clone(), Wanted::of(partition));
            }
        }
        let mut unwatched = Vec::new();
        for topic in &request.forgotten_topics_data {
            let key = TopicKey::new(topic.topic_id, topic.topic.as_str());
            for partition in &topic.partitions {
                let Some(slot) = self.by_key.remove(&(key.clone(), *partition)) else { continue };
                let cached = self.slots.remove(&slot).expect("both maps name the same slots");
                self.stirred.remove(&cached.place);
                unwatched.extend(cached.watched.map(|topic| (topic, *partition, slot)));
            }
        }
        unwatched
    }

    /// Adds a partition, or says what is asked of it now.
    pub(super) fn want(&mut self, topic: TopicKey, wanted: Wanted) -> Slot {
        let key = (topic, wanted.partition);
        let slot = match self.by_key.get(&key) {
            Some(slot) => *slot,
            None => {
                let slot = self.next;
                self.next += 1;
                let cached = Cached {
                    topic: key.0.clone(),
                    wanted,
                    high_watermark: -1,
                    log_start: -1,
                    place: slot,
                    watched: None,
                };
                self.slots.insert(slot, cached);
                self.by_key.insert(key, slot);
                slot
            }
        };
        let cached = self.slots.get_mut(&slot).expect("both maps name the same slots");
        cached.wanted = wanted;
        self.stirred.insert(cached.place, slot);
        slot
    }

    /// Something has changed in a partition's log.
    pub(super) fn stir(&mut self, slot: Slot) {
        if let Some(cached) = self.slots.get(&slot) {
            self.stirred.insert(cached.place, slot);
        }
    }

    /// All partitions may have something to say.
    pub(super) fn stir_all(&mut self) {
        self.stirred = self.slots.iter().map(|(slot, cached)| (cached.place, *slot)).collect();
    }

    /// The partitions that may have something to say, in order.
    pub(super) fn to_look_at(&self) -> Vec<(Slot, TopicKey, Wanted)> {
        let row = |slot: &Slot| {
            let cached = &self.slots[slot];
            (*slot, cached.topic.clone(), cached.wanted)
        };
        self.stirred.values().map(row).collect()
    }

    /// Takes note of a look at a partition. Returns whether the client must be told of it, and
    /// which topic is to be watched instead of which.
    pub(super) fn looked_at(&mut self, slot: Slot, found: &Found) -> (bool, Watch) {
        let Some(cached) = self.slots.get_mut(&slot) else { return (false, Watch::default()) };
        let news = found.has_records
            || found.failed
            || found.high_watermark != cached.high_watermark
            || found.log_start != cached.log_start;
        if !news && !found.is_unfinished() {
            self.stirred.remove(&cached.place);
        }
        let watch = match found.topic == cached.watched {
            true => Watch::default(),
            false => Watch { start: found.topic, stop: cached.watched },
        };
        cached.watched = found.topic;
        (news, watch)
    }

    /// The client is told what was found.
    pub(super) fn told(&mut self, slot: Slot, found: &Found) {
        let Some(cached) = self.slots.get_mut(&slot) else { return };
        cached.high_watermark = if found.failed { -1 } else { found.high_watermark };
        cached.log_start = found.log_start;
        self.stirred.remove(&cached.place);
        if found.has_records {
            cached.place = self.next;
            self.next += 1;
        }
        if found.is_unfinished() {
            self.stirred.insert(cached.place, slot);
        }
    }

    /// All logs that it watches.
    pub(super) fn watched(&self) -> impl Iterator<Item = (Uuid, i32, Slot)> + '_ {
        self.slots.iter().filter_map(|(slot, cached)| {
            cached.watched.map(|topic| (topic, cached.wanted.partition, *slot))
        })
    }
}

/// Which topic's log to watch from now on, and which no more.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Watch {
    pub(super) start: Option<Uuid>,
    pub(super) stop: Option<Uuid>,
}
