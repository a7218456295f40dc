//! The way to the coordinator: which connection takes what, and when to look for another one.

use super::codes::coordinator_has_moved;
use crate::base::Base;
use crate::coordinators::CoordinatorKey;
use crate::error::KafkaError;
use crate::network::{Line, Network, NodeId};
use crate::time::Now;

#[derive(Debug)]
pub(super) struct Link {
    key: CoordinatorKey,
    /// Whether a request is out that the coordinator holds back until all members are there.
    pub(super) is_held: bool,
}

impl Link {
    pub(super) fn new(group_id: &str) -> Self {
        Self { key: CoordinatorKey::Group(group_id.to_owned()), is_held: false }
    }

    /// The connection for everything of the group. While a JoinGroup or SyncGroup is held back on
    /// it, another one, so that commits go on.
    pub(super) fn node(&self, base: &mut Base, now: Now) -> Option<NodeId> {
        let line = if self.is_held { Line::Aside } else { Line::Coordinator };
        base.coordinator(&self.key, line, now)
    }

    /// `node` is the coordinator no more, or has gone away.
    pub(super) fn lost(&self, node: NodeId, base: &mut Base) {
        let known = base.coordinators.node(&self.key, &base.settings);
        if known == Some(Network::broker_of(node)) {
            base.coordinators.forget(&self.key);
        }
    }

    /// Why the coordinator cannot be asked for, once.
    pub(super) fn refusal(&self, base: &mut Base) -> Option<KafkaError> {
        let refusal = base.coordinators.take_refusal(&self.key)?;
        // Of a broker that has gone away another one knows better.
        (!coordinator_has_moved(refusal.code)).then_some(refusal)
    }
}
