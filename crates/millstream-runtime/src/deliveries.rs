//! What the producer reports, and how long the brokers may be away.

use std::time::Duration;

use millstream_kafka::{Error, ProducerEvent};

use crate::RuntimeError;
use crate::assignment::Stage;
use crate::restore::{RestoreReader, StoreRestore};
use crate::worker::Worker;

/// Between two requests for a sign of life while all brokers are away (E-12).
const PROBE_EVERY: Duration = Duration::from_secs(5);

impl Worker<'_> {
    pub(crate) fn handle_producer(&mut self) -> Result<(), RuntimeError> {
        self.drain_producer()?;
        match self.delivery_failure.take() {
            Some(failure) => Err(RuntimeError::Delivery(failure)),
            None => Ok(()),
        }
    }

    /// Takes what the producer has to report, and asks the callback about failed deliveries.
    pub(crate) fn drain_producer(&mut self) -> Result<Vec<ProducerEvent>, RuntimeError> {
        self.output.producer.poll(&mut self.producer_events);
        self.producer_events.append(&mut self.output.events);
        let events = std::mem::take(&mut self.producer_events);
        for event in &events {
            match event {
                ProducerEvent::DeliveryFailed(failure) => {
                    let suppressed =
                        self.hooks.on_delivery_failure(failure).map_err(RuntimeError::Hook)?;
                    // A lost changelog record would make the state wrong: nothing suppresses it.
                    if !suppressed || self.is_changelog_topic(&failure.topic) {
                        self.delivery_failure.get_or_insert_with(|| failure.clone());
                    }
                }
                ProducerEvent::Error(error) if error.fatal || error.is_authentication() => {
                    let action = "produce".to_owned();
                    return Err(Error::Kafka { action, error: error.clone() }.into());
                }
                ProducerEvent::Error(error) => tracing::warn!("{error}"),
                ProducerEvent::BrokersDown(error) => {
                    tracing::error!("no broker is reachable: {error}");
                    self.availability.all_down(self.clock.monotonic());
                }
                ProducerEvent::BrokersUp => self.availability.reached(),
                ProducerEvent::Statistics(json) => {
                    self.hooks.on_producer_statistics(json).map_err(RuntimeError::Hook)?;
                }
                _ => {}
            }
        }
        if self.restore.is_some() {
            let mut stores: Vec<&mut StoreRestore> = Vec::new();
            for slot in self.slots.values_mut() {
                if let Stage::Restoring(restoring) = &mut slot.stage {
                    stores.extend(restoring);
                }
            }
            for event in &events {
                RestoreReader::on_producer_event(&mut stores, event, &self.output)?;
            }
        }
        Ok(events)
    }

    pub(crate) fn check_availability(&mut self) -> Result<(), RuntimeError> {
        let now = self.clock.monotonic();
        if self.availability.is_running() && now.saturating_sub(self.probed) > PROBE_EVERY {
            self.probed = now;
            self.consumer.probe();
            self.output.producer.probe();
        }
        match self.availability.exhausted(now) {
            Some(away) => Err(RuntimeError::BrokersUnavailable { away }),
            None => Ok(()),
        }
    }
}
