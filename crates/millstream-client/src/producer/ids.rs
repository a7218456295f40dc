//! The producer's id and epoch without transactions (KIP-98, KIP-360).

use std::time::Duration;

use kafka_protocol::messages::{InitProducerIdRequest, ProducerId as WireId};

use super::batch::ProducerId;
use super::machine::{ProducerCore, ProducerTag};
use crate::error::{KafkaError, Remedy};
use crate::network::Completion;
use crate::random::Backoff;
use crate::settings::ConnectionSettings;
use crate::tag::Tag;
use crate::time::Now;

const CLUSTER_AUTHORIZATION_FAILED: i32 = 31;
const TRANSACTIONAL_ID_AUTHORIZATION_FAILED: i32 = 53;

pub(super) struct Ids {
    pub(super) current: Option<ProducerId>,
    asking: bool,
    ask_at: Duration,
    backoff: Backoff,
}

impl Ids {
    pub(super) fn new(settings: &ConnectionSettings) -> Self {
        Self {
            current: None,
            asking: false,
            ask_at: Duration::ZERO,
            backoff: Backoff::new(settings.retry_backoff, settings.retry_backoff_max),
        }
    }

    /// Raises the epoch; brokers take it without having been told. After the last epoch a new id
    /// is asked for.
    pub(super) fn raise(&mut self) {
        self.current = self.current.and_then(|ProducerId { id, epoch }| {
            Some(ProducerId { id, epoch: epoch.checked_add(1)? })
        });
    }

    pub(super) fn next_deadline(&self, now: Now) -> Option<Duration> {
        (self.current.is_none() && !self.asking && self.ask_at > now.mono).then_some(self.ask_at)
    }
}

/// The id in a response, if it can be one.
pub(super) fn id_of(id: WireId, epoch: i16) -> Option<ProducerId> {
    (id.0 >= 0 && epoch >= 0).then_some(ProducerId { id: id.0, epoch })
}

impl ProducerCore {
    /// Asks any broker for an id, if one is needed and nothing else gives it.
    pub(super) fn advance_ids(&mut self, now: Now) {
        if !self.settings.idempotent
            || self.transaction.is_some()
            || self.ids.current.is_some()
            || self.ids.asking
            || self.ids.ask_at > now.mono
            || self.topics.is_empty()
            || self.fatal.is_some()
        {
            return;
        }
        let net = &mut self.base.net;
        let Some(node) = net.least_loaded(now) else { return };
        let Some(version) = net.version::<InitProducerIdRequest>(node, (0, 5)) else { return };
        let mut request = InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_transaction_timeout_ms(i32::MAX);
        if version >= 3 {
            request = request.with_producer_id(WireId(-1)).with_producer_epoch(-1);
        }
        self.ids.asking = true;
        let timeout = self.base.settings.request_timeout;
        net.send(node, &request, version, timeout, Tag::Producer(ProducerTag::Id), now);
    }

    pub(super) fn id_answered(&mut self, completion: Completion, now: Now) {
        self.ids.asking = false;
        let net = &mut self.base.net;
        let answer = completion
            .result
            .and_then(|body| body.decode_from::<InitProducerIdRequest>(completion.node, net, now))
            .map_err(KafkaError::from);
        let error = match answer {
            Ok(response) => {
                net.throttle(completion.node, response.throttle_time_ms, now);
                match (response.error_code, id_of(response.producer_id, response.producer_epoch)) {
                    (0, Some(id)) => {
                        self.ids.current = Some(id);
                        self.ids.backoff.succeeded();
                        return;
                    }
                    (0, None) => KafkaError::of(crate::error::code::BAD_MESSAGE),
                    (code, _) => KafkaError::of(code),
                }
            }
            Err(error) => error,
        };
        let not_allowed = matches!(
            error.code,
            CLUSTER_AUTHORIZATION_FAILED | TRANSACTIONAL_ID_AUTHORIZATION_FAILED
        );
        if not_allowed || error.remedy() == Remedy::Fatal {
            self.fail_for_good(error);
        } else {
            let net = &mut self.base.net;
            self.ids.ask_at = now.after(self.ids.backoff.failed(net.random()));
        }
    }
}
