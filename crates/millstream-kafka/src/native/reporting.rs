//! Our own producer with a report for each record.

use std::time::Duration;

use millstream_client::producer as own;

use super::errors::kafka_error;
use super::producer::{NativeProducer, produce_error};
use crate::{
    ClientConfig, DeliveryReport, Error, KafkaError, ProduceError, Producer, ProducerEvent,
    ReportedRecord, ReportingProducer,
};

pub(super) struct NativeReportingProducer {
    inner: NativeProducer,
    reports: Vec<own::DeliveryReport>,
    events: Vec<ProducerEvent>,
}

impl NativeReportingProducer {
    pub(super) fn new(config: &ClientConfig) -> Result<Self, Error> {
        let inner = NativeProducer::new(config)?;
        Ok(Self { inner, reports: Vec::new(), events: Vec::new() })
    }

    /// The statistics that have come. Logs errors of the client as a whole, which nobody else does.
    fn statistics(&mut self) -> Vec<String> {
        self.inner.poll(&mut self.events);
        let told = |event| match event {
            ProducerEvent::Error(error) | ProducerEvent::BrokersDown(error) => {
                tracing::error!(target: "millstream::kafka", "{error}");
                None
            }
            ProducerEvent::Statistics(json) => Some(json),
            _ => None,
        };
        self.events.drain(..).filter_map(told).collect()
    }
}

impl ReportingProducer for NativeReportingProducer {
    fn produce(&mut self, record: &ReportedRecord<'_>) -> Result<(), ProduceError> {
        let topic = self.inner.producer.topic(record.topic).map_err(|error| {
            let error = match super::errors::error(error) {
                Error::Kafka { error, .. } => error,
                other => KafkaError {
                    description: other.to_string(),
                    ..KafkaError::of_code(crate::code::INVALID_TOPIC)
                },
            };
            let partition = record.partition.named();
            ProduceError::Refused { topic: record.topic.into(), partition, error }
        })?;
        let own_record = own::ProduceRecord {
            topic,
            partition: record.partition,
            key: record.key,
            value: record.value,
            headers: record.headers,
            timestamp: record.timestamp,
        };
        self.inner.producer.produce_reported(&own_record, record.token).map_err(produce_error)
    }

    fn poll(
        &mut self,
        wait: Duration,
        reports: &mut Vec<DeliveryReport>,
    ) -> Result<Vec<String>, Error> {
        let alive = self.inner.producer.poll_reports(wait, &mut self.reports);
        reports.extend(self.reports.drain(..).map(|report| DeliveryReport {
            token: report.token,
            partition: report.partition,
            result: report.result.map_err(|error| kafka_error(error, false)),
            timestamp: report.timestamp,
            latency: report.latency,
        }));
        let statistics = self.statistics();
        match alive {
            Ok(()) => Ok(statistics),
            Err(error) => {
                let action = "wait for deliveries".to_owned();
                Err(Error::Kafka { action, error: kafka_error(error, true) })
            }
        }
    }

    fn hurry(&mut self) {
        self.inner.producer.hurry();
    }

    fn in_flight(&self) -> usize {
        usize::try_from(self.inner.producer.unreported()).unwrap_or(usize::MAX)
    }

    fn purge(&mut self) {
        self.inner.purge();
    }
}
