//! Our own producer behind the trait.

use std::sync::Arc;
use std::time::Duration;

use millstream_client::producer as own;
use millstream_types::Offset;

use super::errors::{error, kafka_error};
use super::settings;
use super::wake::Wakes;
use crate::{
    ClientConfig, DeliveryFailure, Error, FlushId, OAuthToken, ProduceError, ProduceRecord,
    Producer, ProducerEvent, TokenSource, TopicHandle, Wake,
};

pub(super) struct NativeProducer {
    pub(super) producer: own::Producer,
    /// The client's handles by ours, which are their places.
    topics: Vec<own::TopicHandle>,
    tokens: Option<Arc<dyn TokenSource>>,
    token_config: String,
    events: Vec<own::ProducerEvent>,
}

impl NativeProducer {
    pub(super) fn new(config: &ClientConfig) -> Result<Self, Error> {
        let (connection, producer) = settings::of_producer(&config.properties)?;
        Ok(Self {
            producer: own::Producer::start(&connection, &producer).map_err(error)?,
            topics: Vec::new(),
            tokens: config.token_source.clone(),
            token_config: settings::token_config(&config.properties),
            events: Vec::new(),
        })
    }

    fn take_events(&mut self, events: &mut Vec<ProducerEvent>) {
        let mut own_events = std::mem::take(&mut self.events);
        events.extend(own_events.drain(..).filter_map(|event| self.event(event)));
        // The allocation is used again.
        self.events = own_events;
    }

    fn event(&mut self, event: own::ProducerEvent) -> Option<ProducerEvent> {
        Some(match event {
            own::ProducerEvent::DeliveryFailed(failure) => {
                ProducerEvent::DeliveryFailed(DeliveryFailure {
                    topic: failure.topic,
                    partition: failure.partition,
                    count: failure.count,
                    error: kafka_error(failure.error, false),
                })
            }
            own::ProducerEvent::FlushDone { id, failed } => {
                ProducerEvent::FlushDone { id: FlushId(id.0), failed }
            }
            own::ProducerEvent::Error(e) => ProducerEvent::Error(kafka_error(e, false)),
            own::ProducerEvent::Fatal(e) => ProducerEvent::Error(kafka_error(e, true)),
            own::ProducerEvent::BrokersDown(e) => ProducerEvent::BrokersDown(kafka_error(e, false)),
            own::ProducerEvent::BrokersUp => ProducerEvent::BrokersUp,
            own::ProducerEvent::Statistics(json) => ProducerEvent::Statistics(json),
            own::ProducerEvent::OAuthTokenNeeded { .. } => match self.tokens.clone() {
                Some(tokens) => {
                    let token = tokens.token(&self.token_config);
                    let done = self.set_oauth_token(token.as_ref().map_err(String::as_str));
                    if let Err(error) = done {
                        tracing::warn!(target: "millstream::kafka", "OAuth token: {error}");
                    }
                    return None;
                }
                None => ProducerEvent::OAuthTokenNeeded { config: self.token_config.clone() },
            },
            // The trait has no transactions yet, and what this adapter does not know it does not
            // report.
            _ => return None,
        })
    }
}

pub(super) fn produce_error(refused: own::ProduceError) -> ProduceError {
    match refused {
        own::ProduceError::QueueFull => ProduceError::QueueFull,
        own::ProduceError::Refused { topic, partition, error } => {
            ProduceError::Refused { topic, partition, error: kafka_error(error, false) }
        }
    }
}

impl Producer for NativeProducer {
    fn topic(&mut self, name: &str) -> Result<TopicHandle, Error> {
        let handle = self.producer.topic(name).map_err(error)?;
        let place = self.topics.iter().position(|known| *known == handle).unwrap_or_else(|| {
            self.topics.push(handle);
            self.topics.len() - 1
        });
        Ok(TopicHandle(place as u32))
    }

    fn produce(&mut self, record: &ProduceRecord<'_>) -> Result<(), ProduceError> {
        let record = own::ProduceRecord {
            topic: self.topics[record.topic.0 as usize],
            partition: record.partition,
            key: record.key,
            value: record.value,
            headers: record.headers,
            timestamp: record.timestamp,
        };
        self.producer.produce(&record).map_err(produce_error)
    }

    fn poll(&mut self, events: &mut Vec<ProducerEvent>) {
        self.producer.poll(&mut self.events);
        if !self.events.is_empty() {
            self.take_events(events);
        }
    }

    fn set_waker(&mut self, waker: Arc<dyn Wake>) {
        self.producer.set_waker(Arc::new(Wakes(waker)));
    }

    fn begin_flush(&mut self) -> FlushId {
        FlushId(self.producer.begin_flush().0)
    }

    fn in_flight(&self) -> u64 {
        self.producer.in_flight()
    }

    fn last_delivered(&self, topic: TopicHandle, partition: i32) -> Option<Offset> {
        self.producer.last_delivered(self.topics[topic.0 as usize], partition)
    }

    fn purge(&mut self) {
        self.producer.purge();
    }

    fn probe(&mut self) {
        self.producer.probe();
    }

    fn set_oauth_token(&mut self, token: Result<&OAuthToken, &str>) -> Result<(), Error> {
        self.producer.set_oauth_token(settings::token(token)).map_err(error)
    }

    fn flush(&mut self, timeout: Duration, events: &mut Vec<ProducerEvent>) -> u64 {
        let left = self.producer.flush(timeout, &mut self.events);
        self.take_events(events);
        left
    }
}
