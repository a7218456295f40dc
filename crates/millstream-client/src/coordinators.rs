//! Which broker coordinates a group or a transactional id (FindCoordinator, KIP-699).

use std::collections::BTreeMap;
use std::time::Duration;

use kafka_protocol::messages::FindCoordinatorRequest;
use kafka_protocol::protocol::StrBytes;

use crate::error::{KafkaError, Remedy};
use crate::network::{Completion, Network, NodeId};
use crate::random::Backoff;
use crate::settings::ConnectionSettings;
use crate::tag::Tag;
use crate::time::{Now, earlier};

/// What is coordinated.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum CoordinatorKey {
    Group(String),
    Transaction(String),
}

impl CoordinatorKey {
    fn kind(&self) -> i8 {
        match self {
            Self::Group(_) => 0,
            Self::Transaction(_) => 1,
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::Group(name) | Self::Transaction(name) => name,
        }
    }
}

struct Entry {
    node: Option<NodeId>,
    asking: bool,
    ask_at: Duration,
    backoff: Backoff,
    /// How soon it is looked for again that was found.
    pause: Duration,
    /// An error that no waiting mends, such as a missing right.
    refused: Option<KafkaError>,
}

#[derive(Default)]
pub(crate) struct Coordinators {
    /// In order, so that the same seed asks in the same order.
    entries: BTreeMap<CoordinatorKey, Entry>,
}

impl Coordinators {
    /// The coordinator, if it is known. If not, it is looked for from here on; when it is found,
    /// the owner's next step sees it.
    pub(crate) fn node(
        &mut self,
        key: &CoordinatorKey,
        settings: &ConnectionSettings,
    ) -> Option<NodeId> {
        match self.entries.get(key) {
            Some(entry) => entry.node,
            None => {
                self.entries.insert(
                    key.clone(),
                    Entry {
                        node: None,
                        asking: false,
                        ask_at: Duration::ZERO,
                        backoff: Backoff::new(settings.retry_backoff, settings.retry_backoff_max),
                        pause: settings.retry_backoff,
                        refused: None,
                    },
                );
                None
            }
        }
    }

    /// The coordinator has moved or is gone: it is looked for again.
    pub(crate) fn forget(&mut self, key: &CoordinatorKey) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.node = None;
        }
    }

    /// Nobody needs it any more: one that was not found yet is not looked for further.
    pub(crate) fn stop_looking(&mut self, key: &CoordinatorKey) {
        if self.entries.get(key).is_some_and(|entry| entry.node.is_none()) {
            self.entries.remove(key);
        }
    }

    /// Why looking fails for good (a missing right), once per failure. Looking goes on.
    pub(crate) fn take_refusal(&mut self, key: &CoordinatorKey) -> Option<KafkaError> {
        self.entries.get_mut(key)?.refused.take()
    }

    pub(crate) fn tick(&mut self, network: &mut Network, settings: &ConnectionSettings, now: Now) {
        for (key, entry) in &mut self.entries {
            if entry.node.is_some() || entry.asking || entry.ask_at > now.mono {
                continue;
            }
            let Some(node) = network.least_loaded(now) else { continue };
            let Some(version) = network.version::<FindCoordinatorRequest>(node, (0, 5)) else {
                continue;
            };
            let name = StrBytes::from_string(key.name().to_owned());
            let mut request = FindCoordinatorRequest::default();
            if version >= 1 {
                request = request.with_key_type(key.kind());
            }
            request = match version {
                0..=3 => request.with_key(name),
                _ => request.with_coordinator_keys(vec![name]),
            };
            entry.asking = true;
            let tag = Tag::Coordinator(key.clone());
            network.send(node, &request, version, settings.request_timeout, tag, now);
        }
    }

    pub(crate) fn completed(
        &mut self,
        key: &CoordinatorKey,
        completion: Completion,
        network: &mut Network,
        now: Now,
    ) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        entry.asking = false;
        let answer = completion.result.map_err(KafkaError::from).and_then(|body| {
            let batched = body.version() >= 4;
            let response = body
                .decode_from::<FindCoordinatorRequest>(completion.node, network, now)
                .map_err(KafkaError::from)?;
            let (code, text, node, host, port) = match response.coordinators.into_iter().next() {
                Some(c) if batched => (c.error_code, c.error_message, c.node_id, c.host, c.port),
                _ => (
                    response.error_code,
                    response.error_message,
                    response.node_id,
                    response.host,
                    response.port,
                ),
            };
            match (code, u16::try_from(port)) {
                (0, Ok(port)) if node.0 >= 0 => Ok((node.0, host, port)),
                (0, _) => Err(KafkaError::of(crate::error::code::BAD_MESSAGE)),
                _ => Err(KafkaError::with(code, text.as_deref())),
            }
        });
        match answer {
            Ok((node, host, port)) => {
                network.learn_node(node, &host, port);
                entry.node = Some(node);
                entry.backoff.succeeded();
                entry.ask_at = now.after(entry.pause);
            }
            Err(error) => {
                entry.ask_at = now.after(entry.backoff.failed(network.random()));
                if matches!(error.remedy(), Remedy::Fatal | Remedy::Refused | Remedy::Abort) {
                    entry.refused = Some(error);
                }
            }
        }
    }

    pub(crate) fn next_deadline(&self, now: Now) -> Option<Duration> {
        self.entries
            .values()
            .filter(|entry| entry.node.is_none() && !entry.asking && entry.ask_at > now.mono)
            .map(|entry| Some(entry.ask_at))
            .fold(None, earlier)
    }
}
