//! A partition that is being read: where, and what was fetched of it and not handed out yet.

use std::collections::VecDeque;
use std::time::Duration;

use millstream_types::{Offset, TopicPartition};
use uuid::Uuid;

use super::StartOffset;
use super::open::{Chunk, OpenChunk};
use crate::network::NodeId;
use crate::random::Backoff;

/// Where a partition stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The group's committed offset is wanted, then asked for.
    WantsCommitted,
    AsksCommitted,
    /// The offset of this timestamp (-1: end, -2: beginning) is wanted, then asked for.
    WantsOffset(i64),
    AsksOffset(i64),
    /// The leader has changed: whether its log agrees is wanted, then asked for (KIP-320).
    WantsEpoch,
    /// Of a leader of this epoch.
    AsksEpoch(i32),
    /// Records are fetched at the position.
    Fetching,
    /// There is no offset to read at until someone seeks.
    Nowhere,
}

/// What waits to be handed out.
#[derive(Debug)]
pub(super) enum Delivery {
    Chunk(Chunk),
    /// One that was half handed out when its partition was paused.
    Open(Box<OpenChunk>),
    /// All before this offset is handed out, and there is no more for now.
    End(Offset),
}

pub(super) struct Slot {
    pub(super) partition: TopicPartition,
    /// Names this reading; a seek begins another, and what belongs to the old one is dropped.
    pub(super) reading: u64,
    pub(super) phase: Phase,
    /// Where the next fetch begins.
    pub(super) offset: Offset,
    /// Counts the jumps of `offset`: what is asked for from elsewhere than where the last fetch
    /// ended is new to a fetch session.
    pub(super) jumps: u32,
    /// The topic as it was when reading began; nil where brokers do not tell.
    pub(super) topic_id: Uuid,
    /// Leader epoch of the last batch before `offset`, -1 if unknown.
    pub(super) offset_epoch: i32,
    /// Leader epoch that `offset` was found to agree with.
    pub(super) agreed_epoch: i32,
    pub(super) paused: bool,
    /// Asked back by the group: nothing of it is handed out any more.
    pub(super) revoking: bool,
    pub(super) deliveries: VecDeque<Delivery>,
    /// Bytes of the chunks in `deliveries`, and of the one that is being handed out.
    pub(super) buffered: usize,
    pub(super) log_start: Offset,
    pub(super) high_watermark: Offset,
    pub(super) last_stable: Offset,
    /// The offset that the group remembers, as far as it was seen here.
    pub(super) committed: Option<Offset>,
    /// The end that was last reported.
    pub(super) reported_end: Option<Offset>,
    /// A replica nearby that the leader named (KIP-392), and until when that counts.
    pub(super) preferred: Option<(NodeId, Duration)>,
    /// Until when only the leader is asked, for a replica that it named was of no use.
    pub(super) leader_only_until: Duration,
    /// When it was last served, counted in responses: who has waited longest is asked for first.
    pub(super) served: u64,
    /// Where a batch lies that could not be read.
    pub(super) unreadable: Option<Offset>,
    /// When it is reported that metadata does not know the partition.
    pub(super) absent_at: Option<Duration>,
    pub(super) retry_at: Duration,
    pub(super) backoff: Backoff,
    /// The error that was last reported, so that one that lasts is told once.
    pub(super) reported_error: Option<i32>,
}

impl Slot {
    pub(super) fn new(
        partition: TopicPartition,
        reading: u64,
        start: StartOffset,
        paused: bool,
        backoff: Backoff,
    ) -> Self {
        let mut slot = Self {
            partition,
            reading,
            phase: Phase::Nowhere,
            offset: 0,
            jumps: 0,
            topic_id: Uuid::nil(),
            offset_epoch: -1,
            agreed_epoch: -1,
            paused,
            revoking: false,
            deliveries: VecDeque::new(),
            buffered: 0,
            log_start: -1,
            high_watermark: -1,
            last_stable: -1,
            committed: None,
            reported_end: None,
            preferred: None,
            leader_only_until: Duration::ZERO,
            served: 0,
            unreadable: None,
            absent_at: None,
            retry_at: Duration::ZERO,
            backoff,
            reported_error: None,
        };
        slot.start(reading, start);
        slot
    }

    /// Begins another reading.
    pub(super) fn start(&mut self, reading: u64, start: StartOffset) {
        self.reading = reading;
        self.deliveries.clear();
        self.buffered = 0;
        self.reported_end = None;
        self.reported_error = None;
        self.retry_at = Duration::ZERO;
        self.unreadable = None;
        self.offset_epoch = -1;
        self.jumps += 1;
        self.phase = match start {
            StartOffset::Committed => Phase::WantsCommitted,
            StartOffset::Beginning => Phase::WantsOffset(-2),
            StartOffset::End => Phase::WantsOffset(-1),
            StartOffset::At(offset) => {
                self.offset = offset;
                Phase::Fetching
            }
        };
    }

    /// The place to fetch at is known.
    pub(super) fn found(&mut self, offset: Offset, epoch: i32) {
        self.offset = offset;
        self.offset_epoch = epoch;
        self.jumps += 1;
        self.phase = Phase::Fetching;
        self.reported_end = None;
        self.reported_error = None;
        self.backoff.succeeded();
    }

    /// Drops what is of another topic of the same name. Where to go on is for the caller.
    pub(super) fn topic_made_anew(&mut self, reading: u64) {
        let phase = self.phase;
        self.start(reading, StartOffset::At(0));
        self.phase = match phase {
            Phase::WantsOffset(timestamp) | Phase::AsksOffset(timestamp) => {
                Phase::WantsOffset(timestamp)
            }
            Phase::WantsCommitted | Phase::AsksCommitted => Phase::WantsCommitted,
            Phase::WantsEpoch | Phase::AsksEpoch(_) => Phase::Fetching,
            phase => phase,
        };
        self.agreed_epoch = -1;
        self.preferred = None;
        (self.log_start, self.high_watermark, self.last_stable) = (-1, -1, -1);
    }

    /// The log ends at `offset`, before where the next fetch would begin: what is fetched beyond
    /// is not handed out, and reading goes on there.
    pub(super) fn cut(&mut self, offset: Offset, epoch: i32) {
        self.offset = offset;
        self.offset_epoch = epoch;
        self.jumps += 1;
        self.reported_end = None;
        self.deliveries.retain_mut(|delivery| match delivery {
            Delivery::Chunk(chunk) => {
                chunk.until = chunk.until.min(offset);
                true
            }
            Delivery::Open(chunk) => {
                chunk.cut(offset);
                true
            }
            Delivery::End(end) => *end <= offset,
        });
    }

    /// Whether records of it can be asked for now.
    pub(super) fn wants_records(&self, now: Duration) -> bool {
        self.phase == Phase::Fetching && !self.paused && !self.revoking && self.retry_at <= now
    }

    /// Where this reader's log ends: the last stable offset for one that reads what is committed.
    pub(super) fn end(&self, read_committed: bool) -> Offset {
        if read_committed && self.last_stable >= 0 { self.last_stable } else { self.high_watermark }
    }
}
