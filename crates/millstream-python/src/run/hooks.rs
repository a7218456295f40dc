//! Callbacks for errors that are of no single record.

use millstream_engine::Hooks;
use millstream_kafka::{DeliveryFailure, KafkaError};
use millstream_runtime::RunHooks;
use millstream_types::TopicPartition;
use millstream_value::Failure;
use pyo3::prelude::*;

use crate::errors::{CONSUMER_EXCEPTION, DELIVERY_ERROR, to_failure};
use crate::gil::enter;
use crate::hooks::{PyHooks, ask};
use crate::kafka::PyKafkaError;

fn tell(callback: Option<&Py<PyAny>>, json: &str) -> Result<(), Failure> {
    let Some(callback) = callback else { return Ok(()) };
    enter(|py| callback.call1(py, (json,))).map(drop).map_err(to_failure)
}

impl RunHooks for PyHooks {
    fn on_poll_error(
        &mut self,
        partition: Option<&TopicPartition>,
        error: &KafkaError,
    ) -> Result<bool, Failure> {
        enter(|py| {
            let mut error = error.clone();
            if let Some(partition) = partition {
                error.description = format!("{partition}: {}", error.description);
            }
            let error = Bound::new(py, PyKafkaError::from(error)).map_err(to_failure)?;
            let exception = CONSUMER_EXCEPTION.error_of(error.as_any());
            ask(self.0.consumer_error.as_ref(), py, &exception, || Ok(py.None().into_bound(py)))
        })
    }

    fn on_delivery_failure(&mut self, failure: &DeliveryFailure) -> Result<bool, Failure> {
        enter(|py| {
            let error = KafkaError { description: failure.to_string(), ..failure.error.clone() };
            let error = Bound::new(py, PyKafkaError::from(error)).map_err(to_failure)?;
            let exception = DELIVERY_ERROR.error_of(error.as_any());
            ask(self.0.producer_error.as_ref(), py, &exception, || Ok(py.None().into_bound(py)))
        })
    }

    fn on_consumer_statistics(&mut self, json: &str) -> Result<(), Failure> {
        tell(self.0.consumer_statistics.as_ref(), json)
    }

    fn on_producer_statistics(&mut self, json: &str) -> Result<(), Failure> {
        tell(self.0.producer_statistics.as_ref(), json)
    }

    fn as_engine_hooks(&mut self) -> &mut dyn Hooks {
        self
    }
}
