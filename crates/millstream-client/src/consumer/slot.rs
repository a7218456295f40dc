//! A partition that is being read: where, and what was fetched of it and not handed out yet.

use std::collections::VecDeque;
use std::time::Duration;

use millstream_types::{Offset, TopicPartition};

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
    AsksEpoch,
    /// Records are fetched at the position.
    Fetching,
    /// There is no offset to read at until someone seeks.
    Nowhere,
}

/// What waits to be handed out.
#[derive(Debug)]
pub(super) enum Delivery {
    Chunk(Chunk),
    /// One that was half handed out when its partition was paused, and the bytes it counts for.
    Open(Box<OpenChunk>, usize),
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
    /// The end that was last reported.
    pub(super) reported_end: Option<Offset>,
    /// A replica nearby that the leader named (KIP-392), and until when that counts.
    pub(super) preferred: Option<(NodeId, Duration)>,
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
            offset_epoch: -1,
            agreed_epoch: -1,
            paused,
            revoking: false,
            deliveries: VecDeque::new(),
            buffered: 0,
            log_start: -1,
            high_watermark: -1,
            last_stable: -1,
            reported_end: None,
            preferred: None,
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
        self.offset_epoch = -1;
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
        self.phase = Phase::Fetching;
        self.reported_error = None;
        self.backoff.succeeded();
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
