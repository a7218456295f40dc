//! Our own consumer behind the trait. The two have the same shape; what differs is whose words an
//! error is in.

use std::sync::Arc;
use std::time::Duration;

use millstream_client::consumer as own;
use millstream_types::{Offset, Timestamp, TopicPartition};

use super::errors::{error, kafka_error};
use super::settings;
use super::wake::Woken;
use crate::{
    Consumer, ConsumerConfig, ConsumerEvent, Error, OAuthToken, PartitionStart, RequestId,
    StartOffset, TokenSource, Wake, Watermarks,
};

pub(super) struct NativeConsumer {
    consumer: own::Consumer,
    tokens: Option<Arc<dyn TokenSource>>,
    token_config: String,
    events: Vec<own::ConsumerEvent>,
}

impl NativeConsumer {
    pub(super) fn new(config: &ConsumerConfig) -> Result<Self, Error> {
        let (connection, consumer) = settings::of_consumer(&config.client.properties)?;
        let bounds = own::Bounds {
            records_max: config.poll_records_max,
            bytes_max: config.poll_bytes_max.min(config.batch_bytes_max),
        };
        Ok(Self {
            consumer: own::Consumer::new(connection, consumer, bounds).map_err(error)?,
            tokens: config.client.token_source.clone(),
            token_config: settings::token_config(&config.client.properties),
            events: Vec::new(),
        })
    }

    fn event(&mut self, event: own::ConsumerEvent) -> Option<ConsumerEvent> {
        Some(match event {
            own::ConsumerEvent::Assigned(partitions) => ConsumerEvent::Assigned(partitions),
            own::ConsumerEvent::Revoked(partitions) => ConsumerEvent::Revoked(partitions),
            own::ConsumerEvent::Lost(partitions) => ConsumerEvent::Lost(partitions),
            own::ConsumerEvent::Records(batch) => ConsumerEvent::Records(batch),
            own::ConsumerEvent::PartitionEnd(partition, offset) => {
                ConsumerEvent::PartitionEnd(partition, offset)
            }
            own::ConsumerEvent::PartitionError(partition, e) => {
                ConsumerEvent::PartitionError(partition, kafka_error(e, false))
            }
            own::ConsumerEvent::CommitDone { id, partitions } => ConsumerEvent::CommitDone {
                id: RequestId(id),
                partitions: partitions
                    .into_iter()
                    .map(|(tp, offset, done)| (tp, offset, done.map_err(|e| kafka_error(e, false))))
                    .collect(),
            },
            own::ConsumerEvent::Error { error, fatal } => {
                ConsumerEvent::Error(kafka_error(error, fatal))
            }
            own::ConsumerEvent::BrokersDown(e) => ConsumerEvent::BrokersDown(kafka_error(e, false)),
            own::ConsumerEvent::BrokersUp => ConsumerEvent::BrokersUp,
            own::ConsumerEvent::OAuthTokenNeeded => match self.tokens.clone() {
                Some(tokens) => {
                    let token = tokens.token(&self.token_config);
                    let done = self.set_oauth_token(token.as_ref().map_err(String::as_str));
                    if let Err(error) = done {
                        tracing::warn!(target: "millstream::kafka", "OAuth token: {error}");
                    }
                    return None;
                }
                None => ConsumerEvent::OAuthTokenNeeded { config: self.token_config.clone() },
            },
            own::ConsumerEvent::Statistics(json) => ConsumerEvent::Statistics(json),
            own::ConsumerEvent::Closed => ConsumerEvent::Closed,
            // The enum may grow; what this adapter does not know it does not report.
            _ => return None,
        })
    }
}

impl Consumer for NativeConsumer {
    fn subscribe(&mut self, topics: &[String]) -> Result<(), Error> {
        self.consumer.subscribe(topics).map_err(error)
    }

    fn unsubscribe(&mut self) -> Result<(), Error> {
        self.consumer.unsubscribe();
        Ok(())
    }

    fn poll(&mut self, wait: Duration, events: &mut Vec<ConsumerEvent>) {
        let mut own_events = std::mem::take(&mut self.events);
        self.consumer.poll(wait, &mut own_events);
        events.extend(own_events.drain(..).filter_map(|event| self.event(event)));
        // The allocation is used again.
        self.events = own_events;
    }

    fn hold_records(&mut self, hold: bool) {
        self.consumer.hold_records(hold);
    }

    fn waker(&self) -> Arc<dyn Wake> {
        Arc::new(Woken(self.consumer.waker()))
    }

    fn ack_assigned(&mut self, given: &[PartitionStart]) -> Result<(), Error> {
        self.consumer.ack_assigned(given).map_err(error)
    }

    fn ack_revoked(&mut self) -> Result<(), Error> {
        self.consumer.ack_revoked().map_err(error)
    }

    fn assign(&mut self, given: &[PartitionStart]) -> Result<(), Error> {
        self.consumer.assign(given).map_err(error)
    }

    fn is_eager(&self) -> bool {
        self.consumer.is_eager()
    }

    fn assignment(&self) -> Vec<TopicPartition> {
        self.consumer.assignment()
    }

    fn pause(&mut self, partitions: &[TopicPartition]) -> Result<(), Error> {
        self.consumer.pause(partitions).map_err(error)
    }

    fn resume(&mut self, partitions: &[TopicPartition]) -> Result<(), Error> {
        self.consumer.resume(partitions).map_err(error)
    }

    fn seek(&mut self, partition: &TopicPartition, offset: StartOffset) -> Result<(), Error> {
        self.consumer.seek(partition, offset).map_err(error)
    }

    fn commit(&mut self, offsets: &[(TopicPartition, Offset)]) -> Result<RequestId, Error> {
        self.consumer.commit(offsets).map(RequestId).map_err(error)
    }

    fn committed(
        &mut self,
        partitions: &[TopicPartition],
        timeout: Duration,
    ) -> Result<Vec<Option<Offset>>, Error> {
        self.consumer.committed(partitions, timeout).map_err(error)
    }

    fn watermarks(
        &mut self,
        partition: &TopicPartition,
        timeout: Duration,
    ) -> Result<Watermarks, Error> {
        self.consumer.watermarks(partition, timeout).map_err(error)
    }

    fn cached_watermarks(&self, partition: &TopicPartition) -> Option<Watermarks> {
        self.consumer.cached_watermarks(partition)
    }

    fn offsets_for_times(
        &mut self,
        times: &[(TopicPartition, Timestamp)],
        timeout: Duration,
    ) -> Result<Vec<Option<Offset>>, Error> {
        self.consumer.offsets_for_times(times, timeout).map_err(error)
    }

    fn position(&self, partition: &TopicPartition) -> Option<Offset> {
        self.consumer.position(partition)
    }

    fn member_id(&self) -> Option<String> {
        self.consumer.member_id()
    }

    fn probe(&mut self) {
        self.consumer.probe();
    }

    fn set_oauth_token(&mut self, token: Result<&OAuthToken, &str>) -> Result<(), Error> {
        self.consumer.set_oauth_token(settings::token(token)).map_err(error)
    }

    fn begin_close(&mut self) {
        self.consumer.begin_close();
    }

    fn is_closed(&self) -> bool {
        self.consumer.is_closed()
    }

    fn close(&mut self, timeout: Duration) -> bool {
        self.consumer.close(timeout)
    }
}
