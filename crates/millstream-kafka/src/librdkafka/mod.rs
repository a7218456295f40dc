//! The clients on librdkafka, through its C interface.
//!
//! Why not the `rdkafka` crate: it polls record by record and serves rebalances by callback, and
//! its per-record cost is two to three times that of a batch call on a forwarded queue.

mod admin;
mod batches;
mod client;
mod consumer;
mod delivery;
mod errors;
mod list;
mod producer;
mod reporting;
mod sys;
mod wake;

use crate::{
    Admin, ClientConfig, ClientFactory, Consumer, ConsumerConfig, Error, Producer,
    ReportingProducer,
};

/// Makes clients on librdkafka.
#[derive(Clone, Copy, Debug, Default)]
pub struct Librdkafka;

impl Librdkafka {
    /// librdkafka's version, such as `2.12.1`.
    pub fn version() -> String {
        // SAFETY: returns a static string.
        errors::text_of(unsafe { sys::rd_kafka_version_str() })
    }
}

/// The error that a code stands for.
pub(crate) fn error_of_code(code: i32) -> crate::KafkaError {
    errors::kafka_error(code, None)
}

impl ClientFactory for Librdkafka {
    fn consumer(&self, config: &ConsumerConfig) -> Result<Box<dyn Consumer>, Error> {
        Ok(Box::new(consumer::RdConsumer::new(config)?))
    }

    fn producer(&self, config: &ClientConfig) -> Result<Box<dyn Producer>, Error> {
        Ok(Box::new(producer::RdProducer::new(config)?))
    }

    fn reporting_producer(
        &self,
        config: &ClientConfig,
    ) -> Result<Box<dyn ReportingProducer>, Error> {
        Ok(Box::new(reporting::RdReportingProducer::new(config)?))
    }

    fn admin(&self, config: &ClientConfig) -> Result<Box<dyn Admin>, Error> {
        Ok(Box::new(admin::RdAdmin::new(config)?))
    }
}
