//! What one step of the machine has to tell, gathered so that the queue is locked once for it.

use super::batch::Batch;
use super::queue::Queue;
use super::tracked::{Tracked, Written};
use super::transaction::{Command, Phase};
use super::{NO_OFFSET, ProducerEvent};
use crate::error::KafkaError;

struct Done {
    topic: u32,
    partition: u32,
    records: u32,
    flush: u64,
    size: usize,
    tracked: Vec<Tracked>,
    outcome: Result<Written, KafkaError>,
}

#[derive(Default)]
pub(super) struct Reports {
    done: Vec<Done>,
    buffers: Vec<Vec<u8>>,
    events: Vec<ProducerEvent>,
    phase: Option<Phase>,
}

impl Reports {
    /// The batch is written.
    pub(super) fn delivered(
        &mut self,
        topic: u32,
        partition: u32,
        mut batch: Batch,
        written: Written,
    ) {
        self.count(topic, partition, &mut batch, Ok(written));
        self.buffers.push(batch.into_buffer());
    }

    /// The batch is given up.
    pub(super) fn failed(
        &mut self,
        topic: u32,
        partition: u32,
        batch: &mut Batch,
        error: KafkaError,
    ) {
        self.count(topic, partition, batch, Err(error));
    }

    fn count(
        &mut self,
        topic: u32,
        partition: u32,
        batch: &mut Batch,
        outcome: Result<Written, KafkaError>,
    ) {
        let Batch { records, flush, size, .. } = *batch;
        let tracked = std::mem::take(&mut batch.tracked);
        self.done.push(Done { topic, partition, records, flush, size, tracked, outcome });
    }

    pub(super) fn buffer(&mut self, buffer: Vec<u8>) {
        self.buffers.push(buffer);
    }

    pub(super) fn event(&mut self, event: ProducerEvent) {
        self.events.push(event);
    }

    pub(super) fn phase(&mut self, phase: Phase) {
        self.phase = Some(phase);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.done.is_empty()
            && self.buffers.is_empty()
            && self.events.is_empty()
            && self.phase.is_none()
    }

    pub(super) fn apply(&mut self, queue: &mut Queue) {
        for Done { topic, partition, records, flush, size, tracked, outcome } in self.done.drain(..)
        {
            let count = u64::from(records);
            match outcome {
                Ok(written) => {
                    queue.release(count, flush, size, false);
                    if written.last > NO_OFFSET {
                        queue.delivered(topic, partition, written.last);
                    }
                    let report = |record: Tracked| record.delivered(partition, records, written);
                    queue.reports.extend(tracked.into_iter().map(report));
                }
                Err(error) => {
                    queue.fail(topic, Some(partition), count, flush, size, tracked, &error);
                }
            }
        }
        for buffer in self.buffers.drain(..) {
            queue.recycle(buffer);
        }
        // Failures come before the flush that they belong to.
        queue.finish_flushes();
        // The front end may have ended the transaction in the moment that it failed: then the
        // machine's answer to that decides.
        let ending = queue.commands.iter().any(Command::is_end);
        match self.phase.take() {
            Some(Phase::Failed(_)) if ending => {}
            Some(phase) => queue.set_phase(phase),
            None => {}
        }
        for event in self.events.drain(..) {
            queue.push_event(event);
        }
    }
}
