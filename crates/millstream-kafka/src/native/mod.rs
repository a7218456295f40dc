//! The clients on `millstream-client`, which is ours: the same traits, without C.

mod admin;
mod consumer;
mod errors;
mod producer;
mod reporting;
mod settings;
mod wake;

pub use admin::NativeAdmin;
#[cfg(not(feature = "librdkafka"))]
pub(crate) use errors::error_of_code;

use crate::{
    Admin, ClientConfig, ClientFactory, Consumer, ConsumerConfig, Error, Producer,
    ReportingProducer,
};

/// Makes clients that are ours (`client="millstream"`).
#[derive(Clone, Copy, Debug, Default)]
pub struct Native;

impl ClientFactory for Native {
    fn consumer(&self, config: &ConsumerConfig) -> Result<Box<dyn Consumer>, Error> {
        Ok(Box::new(consumer::NativeConsumer::new(config)?))
    }

    fn producer(&self, config: &ClientConfig) -> Result<Box<dyn Producer>, Error> {
        Ok(Box::new(producer::NativeProducer::new(config)?))
    }

    fn reporting_producer(
        &self,
        config: &ClientConfig,
    ) -> Result<Box<dyn ReportingProducer>, Error> {
        Ok(Box::new(reporting::NativeReportingProducer::new(config)?))
    }

    fn admin(&self, config: &ClientConfig) -> Result<Box<dyn Admin>, Error> {
        Ok(Box::new(NativeAdmin::new(config)?))
    }
}
