//! Batches that will not be delivered.

use super::{InFlight, ProducerCore};
use crate::error::{KafkaError, Remedy, code};
use crate::producer::ProducerEvent;
use crate::producer::batch::Batch;
use crate::producer::transaction::Phase;
use crate::time::Now;

impl ProducerCore {
    /// Gives up what has taken too long.
    pub(super) fn expire(&mut self, now: Now) {
        let Some(timeout) = self.settings.delivery_timeout else { return };
        let mut idle = Vec::new();
        let busy: Vec<(u32, u32)> = self.busy.iter().copied().collect();
        for (topic, partition) in busy {
            let late = |batch: &Batch| batch.created + timeout <= now.mono;
            while self.lane(topic, partition).pending.front().is_some_and(late)
                && let Some(batch) = self.lane(topic, partition).pending.pop_front()
            {
                self.give_up(topic, partition, batch, None);
            }
            if self.lane(topic, partition).pending.is_empty() {
                idle.push((topic, partition));
            }
        }
        if !idle.is_empty() {
            // What lingers there was left to grow behind what has just gone.
            self.linger_until = Some(now.mono);
        }
        for lane in idle {
            self.busy.remove(&lane);
        }
        if self.requests.values().any(|sent| sent.expires.is_some_and(|at| at <= now.mono)) {
            let error = KafkaError::of(code::MESSAGE_TIMED_OUT);
            self.abandon(&error, |batch| batch.created + timeout <= now.mono);
        }
    }

    /// Gives a batch up that is not out. Without an error, it has taken too long.
    pub(in crate::producer) fn give_up(
        &mut self,
        topic: u32,
        partition: u32,
        mut batch: Batch,
        error: Option<KafkaError>,
    ) {
        let known = self.base.metadata.topic(&self.topics[topic as usize].name).is_some();
        let error = error.unwrap_or_else(|| {
            if !known {
                return KafkaError::of(code::UNKNOWN_TOPIC);
            }
            match &batch.error {
                // What the last attempt met tells more than that time has passed.
                Some(last) => KafkaError {
                    code: code::MESSAGE_TIMED_OUT,
                    text: format!("not delivered in time; the last attempt: {last}"),
                },
                None => KafkaError::of(code::MESSAGE_TIMED_OUT),
            }
        });
        self.lane(topic, partition).gave_up(&batch);
        self.reports.failed(topic, partition, &mut batch, error);
        self.reports.buffer(batch.into_buffer());
    }

    /// Gives up everything that waits to be sent.
    pub(in crate::producer) fn give_up_pending(&mut self, error: &KafkaError) {
        for (topic, partition) in std::mem::take(&mut self.busy) {
            while let Some(batch) = self.lane(topic, partition).pending.pop_front() {
                self.give_up(topic, partition, batch, Some(error.clone()));
            }
        }
    }

    /// Reports batches in requests that are out as failed. Their answers still tell about the
    /// sequence numbers.
    pub(in crate::producer) fn abandon(
        &mut self,
        error: &KafkaError,
        which: impl Fn(&Batch) -> bool,
    ) {
        for sent in self.requests.values_mut() {
            for in_flight in &mut sent.batches {
                let InFlight { topic, partition, batch, abandoned } = in_flight;
                if !*abandoned && which(batch) {
                    *abandoned = true;
                    self.topics[*topic as usize].lanes[*partition as usize].gave_up(batch);
                    self.reports.failed(*topic, *partition, batch, error.clone());
                }
            }
            let open = sent.batches.iter().filter(|in_flight| !in_flight.abandoned);
            sent.expires = self
                .settings
                .delivery_timeout
                .and_then(|timeout| open.map(|open| open.batch.created + timeout).min());
        }
    }

    /// The producer is of no more use.
    pub(in crate::producer) fn fail_for_good(&mut self, error: KafkaError) {
        if self.fatal.is_some() {
            return;
        }
        self.fatal = Some(error.clone());
        self.give_up_pending(&error);
        self.abandon(&error, |_| true);
        self.fail_requests(&error, Remedy::Fatal);
        self.reports.phase(Phase::Fatal(error.clone()));
        self.reports.event(ProducerEvent::Fatal(error));
    }
}
