//! Flushes, failures and counts: what becomes of the records that were taken.

use std::sync::Arc;

use millstream_types::Offset;

use super::{Closed, Flush, Queue};
use crate::driver::Wake;
use crate::error::{KafkaError, code};
use crate::producer::tracked::{DeliveryReport, Tracked};
use crate::producer::{DeliveryFailure, FlushId, NO_OFFSET, ProducerEvent};

/// Idle buffers that are kept for the next batches, together.
const POOL_BYTES_MAX: usize = 16 << 20;

impl Queue {
    /// Sends everything without lingering. Returns the flush, and whether there is anything.
    pub(in crate::producer) fn begin_flush(&mut self) -> (FlushId, bool) {
        let id = FlushId(self.flush.number);
        self.close_all();
        let next = Flush { number: self.flush.number + 1, open: 0, failed: 0 };
        self.flushes.push_back(std::mem::replace(&mut self.flush, next));
        self.finish_flushes();
        (id, self.records > 0)
    }

    /// Sends everything without lingering. Returns how many records there are.
    pub(in crate::producer) fn nudge(&mut self) -> u64 {
        self.close_all();
        self.records
    }

    /// Gives up everything that the machine has not taken over.
    pub(in crate::producer) fn purge(&mut self) {
        self.close_all();
        let purged = KafkaError::of(code::PURGED_FROM_QUEUE);
        for closed in std::mem::take(&mut self.closed) {
            let Closed { topic, partition, mut batch } = closed;
            let (count, flush, size) = (u64::from(batch.records), batch.flush, batch.size);
            let tracked = std::mem::take(&mut batch.tracked);
            self.fail(topic, Some(partition), count, flush, size, tracked, &purged);
            self.recycle(batch.into_buffer());
        }
        for index in 0..self.topics.len() {
            self.fail_waiting(index, |_| Some(purged.clone()));
        }
        self.finish_flushes();
    }

    /// Reports records as given up. [`finish_flushes`](Self::finish_flushes) comes after it.
    #[expect(clippy::too_many_arguments, reason = "what a batch leaves behind when it is gone")]
    pub(in crate::producer) fn fail(
        &mut self,
        topic: u32,
        partition: Option<u32>,
        count: u64,
        flush: u64,
        size: usize,
        tracked: impl IntoIterator<Item = Tracked>,
        error: &KafkaError,
    ) {
        self.release(count, flush, size, true);
        self.lost.get_or_insert_with(|| error.clone());
        let name = &self.topics[topic as usize].name;
        let partition = partition.map(|partition| partition as i32);
        let report = |record: Tracked| record.failed(partition, error);
        self.reports.extend(tracked.into_iter().map(report));
        // Those of another flush are told apart.
        let since = |event: &&mut ProducerEvent| !matches!(event, ProducerEvent::FlushDone { .. });
        let same = self.events.iter_mut().rev().take_while(since).find_map(|event| match event {
            ProducerEvent::DeliveryFailed(failure)
                if failure.partition == partition
                    && failure.error.code == error.code
                    && failure.topic == *name =>
            {
                Some(failure)
            }
            _ => None,
        });
        match same {
            Some(failure) => failure.count += count,
            None => self.events.push(ProducerEvent::DeliveryFailed(DeliveryFailure {
                topic: name.clone(),
                partition,
                count,
                error: error.clone(),
            })),
        }
    }

    /// Records are done: there is room for others.
    pub(in crate::producer) fn release(
        &mut self,
        count: u64,
        flush: u64,
        size: usize,
        failed: bool,
    ) {
        self.records -= count;
        self.bytes -= size;
        let first = self.flushes.front().map_or(self.flush.number, |flush| flush.number);
        let flush = match self.flushes.get_mut((flush - first) as usize) {
            Some(flush) => flush,
            None => &mut self.flush,
        };
        flush.open -= count;
        flush.failed += if failed { count } else { 0 };
    }

    pub(in crate::producer) fn finish_flushes(&mut self) {
        while let Some(flush) = self.flushes.front()
            && flush.open == 0
        {
            let (id, failed) = (FlushId(flush.number), flush.failed);
            self.events.push(ProducerEvent::FlushDone { id, failed });
            self.flushes.pop_front();
        }
    }

    pub(in crate::producer) fn delivered(&mut self, topic: u32, partition: u32, last: Offset) {
        let slot = self.topics[topic as usize].slots.get_mut(partition as usize);
        if let Some(slot) = slot
            && last > slot.last_delivered.unwrap_or(NO_OFFSET)
        {
            slot.last_delivered = Some(last);
        }
    }

    pub(in crate::producer) fn last_delivered(&self, topic: u32, partition: i32) -> Option<Offset> {
        let slot = self.topics[topic as usize].slots.get(usize::try_from(partition).ok()?)?;
        slot.last_delivered
    }

    pub(in crate::producer) fn take_lost(&mut self) -> Option<KafkaError> {
        self.lost.take()
    }

    pub(in crate::producer) fn push_event(&mut self, event: ProducerEvent) {
        let is_statistics = |event: &ProducerEvent| matches!(event, ProducerEvent::Statistics(_));
        if is_statistics(&event) {
            self.events.retain(|event| !is_statistics(event));
        }
        self.events.push(event);
    }

    pub(in crate::producer) fn take_events(&mut self, events: &mut Vec<ProducerEvent>) {
        self.told = false;
        events.append(&mut self.events);
    }

    pub(in crate::producer) fn take_reports(&mut self, reports: &mut Vec<DeliveryReport>) {
        self.told = false;
        reports.append(&mut self.reports);
    }

    pub(in crate::producer) fn set_waker(&mut self, waker: Arc<dyn Wake>) {
        self.waker = Some(waker);
        self.told = false;
    }

    /// Whether there is news, and who is to be woken for it: once per news, not once per step.
    pub(in crate::producer) fn take_wake(&mut self) -> (bool, Option<Arc<dyn Wake>>) {
        let room = self.full
            && self.records < self.settings.queue_max_records as u64
            && self.bytes < self.settings.queue_max_bytes;
        let idle = self.events.is_empty() && self.reports.is_empty();
        let news = !idle && !self.told;
        if !room && !news {
            return (false, None);
        }
        self.full &= !room;
        self.told |= news;
        (true, self.waker.clone())
    }

    pub(in crate::producer) fn recycle(&mut self, buffer: Vec<u8>) {
        if buffer.capacity() > 0 && self.pool_bytes + buffer.capacity() <= POOL_BYTES_MAX {
            self.pool_bytes += buffer.capacity();
            self.pool.push(buffer);
        }
    }

    pub(in crate::producer) fn records(&self) -> u64 {
        self.records
    }

    /// Records and bytes in the queue, and events and reports that were not fetched.
    pub(in crate::producer) fn amounts(&self) -> (u64, usize, usize) {
        (self.records, self.bytes, self.events.len() + self.reports.len())
    }

    /// Records and bytes of the batch of a partition that still grows.
    pub(in crate::producer) fn open_in(&self, topic: u32, partition: u32) -> (usize, usize) {
        let slot = self.topics[topic as usize].slots.get(partition as usize);
        let open = slot.and_then(|slot| slot.open.as_ref());
        open.map_or((0, 0), |open| (open.builder.len(), open.builder.byte_size()))
    }

    /// Records that wait for their topic.
    pub(in crate::producer) fn waiting_in(&self, topic: u32) -> usize {
        self.topics[topic as usize].waiting.len()
    }

    /// Records that are not done, or whose report was not fetched.
    #[inline]
    pub(in crate::producer) fn unreported(&self) -> u64 {
        self.records + self.reports.len() as u64
    }
}
