//! Where a request has to go, and what tells that it went to the wrong place.

use millstream_types::TopicPartition;

use crate::base::Base;
use crate::coordinators::CoordinatorKey;
use crate::error::{KafkaError, code};
use crate::network::{Line, NodeId};
use crate::time::Now;

/// Kafka's numbers that decide about where to go next.
pub(super) const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const LEADER_NOT_AVAILABLE: i16 = 5;
const NOT_LEADER_OR_FOLLOWER: i16 = 6;
const BROKER_NOT_AVAILABLE: i16 = 8;
const REPLICA_NOT_AVAILABLE: i16 = 9;
const NETWORK_EXCEPTION: i16 = 13;
const COORDINATOR_LOAD_IN_PROGRESS: i16 = 14;
const COORDINATOR_NOT_AVAILABLE: i16 = 15;
const NOT_COORDINATOR: i16 = 16;
const NOT_CONTROLLER: i16 = 41;
const CONCURRENT_TRANSACTIONS: i16 = 51;
const KAFKA_STORAGE_ERROR: i16 = 56;
const FENCED_LEADER_EPOCH: i16 = 74;
const UNKNOWN_LEADER_EPOCH: i16 = 75;
const OFFSET_NOT_AVAILABLE: i16 = 78;
const THROTTLING_QUOTA_EXCEEDED: i16 = 89;

/// Answers about topics that have to say "there is none" before it is believed: a topic that was
/// just made is not known to every broker at once.
const ROUNDS_TO_BELIEVE: u64 = 3;

/// Which broker can answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// Any.
    Any,
    /// The controller, or with KRaft any that passes the request on to it (KIP-590).
    Controller,
    /// The one that leads this partition.
    Leader(TopicPartition),
    /// The one that coordinates this group or transactional id.
    Coordinator(CoordinatorKey),
    /// This one, because it answers for itself only.
    Node(NodeId),
}

/// Where a route leads at the moment.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Leads {
    /// To this node, which is ready.
    To(NodeId),
    /// Not known yet, or not ready yet; looking or connecting is under way.
    NotYet,
    /// Nowhere.
    Never(KafkaError),
}

/// What one item remembers of looking for its broker.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Search {
    /// Only metadata of a later round than this counts: what was there before was wrong.
    pub(super) after_round: Option<u64>,
    /// The round in which the partition was missing for the first time.
    missing_since: Option<u64>,
}

impl Route {
    /// Finds the broker.
    pub(super) fn find(&self, search: &mut Search, base: &mut Base, now: Now) -> Leads {
        if search.after_round.is_some_and(|round| base.metadata.rounds() <= round) {
            base.metadata.refresh();
            return Leads::NotYet;
        }
        let node = match self {
            Self::Any => return base.net.least_loaded(now).map_or(Leads::NotYet, Leads::To),
            Self::Coordinator(key) => {
                let refusal = base.coordinators.take_refusal(key);
                if let Some(refusal) = refusal.filter(|error| !self.tries_again(error.code)) {
                    return Leads::Never(refusal);
                }
                return base
                    .coordinator(key, Line::Coordinator, now)
                    .map_or(Leads::NotYet, Leads::To);
            }
            Self::Controller => base
                .metadata
                .controller()
                .filter(|id| base.metadata.brokers().iter().any(|broker| broker.id == *id)),
            Self::Node(id) => {
                let known = base.metadata.brokers().iter().any(|broker| broker.id == *id);
                if !known && base.metadata.rounds() > 0 {
                    return Leads::Never(KafkaError::with(
                        BROKER_NOT_AVAILABLE,
                        Some(&format!("the cluster has no broker {id}")),
                    ));
                }
                Some(*id).filter(|_| known)
            }
            Self::Leader(partition) => match leader(partition, search, base) {
                Ok(leader) => leader,
                Err(error) => return Leads::Never(error),
            },
        };
        match node {
            Some(node) if base.net.ready(node, now) => Leads::To(node),
            Some(_) => Leads::NotYet,
            None => {
                base.metadata.refresh();
                Leads::NotYet
            }
        }
    }

    /// What is known about the way was wrong or leads to nobody: looks for it anew.
    pub(super) fn doubt(&self, base: &mut Base) {
        if let Self::Coordinator(key) = self {
            base.coordinators.forget(key);
        }
        base.metadata.refresh();
    }

    /// Whether the same request may succeed later, or elsewhere. Kafka's `RetriableException`s as
    /// far as its own admin client tries again on them; what is wrong with the thing asked about,
    /// such as a topic that does not exist, is an answer.
    pub(super) fn tries_again(&self, code: i32) -> bool {
        let Ok(kafka) = i16::try_from(code) else { return false };
        if matches!(code, code::TRANSPORT | code::TIMED_OUT)
            || matches!(
                kafka,
                LEADER_NOT_AVAILABLE
                    | BROKER_NOT_AVAILABLE
                    | NETWORK_EXCEPTION
                    | COORDINATOR_LOAD_IN_PROGRESS
                    | COORDINATOR_NOT_AVAILABLE
                    | NOT_CONTROLLER
                    | THROTTLING_QUOTA_EXCEEDED
            )
        {
            return true;
        }
        match self {
            Self::Any | Self::Controller | Self::Node(_) => false,
            Self::Leader(_) => matches!(
                kafka,
                UNKNOWN_TOPIC_OR_PARTITION
                    | NOT_LEADER_OR_FOLLOWER
                    | REPLICA_NOT_AVAILABLE
                    | KAFKA_STORAGE_ERROR
                    | FENCED_LEADER_EPOCH
                    | UNKNOWN_LEADER_EPOCH
                    | OFFSET_NOT_AVAILABLE
            ),
            Self::Coordinator(_) => matches!(kafka, NOT_COORDINATOR | CONCURRENT_TRANSACTIONS),
        }
    }

    /// Whether after an error of that code the way itself has to be looked for anew.
    pub(super) fn leads_wrong(&self, code: i32) -> bool {
        if matches!(code, code::TRANSPORT | code::TIMED_OUT) {
            return true;
        }
        let Ok(code) = i16::try_from(code) else { return false };
        match self {
            Self::Any | Self::Node(_) => false,
            Self::Controller => code == NOT_CONTROLLER,
            Self::Leader(_) => matches!(
                code,
                UNKNOWN_TOPIC_OR_PARTITION
                    | LEADER_NOT_AVAILABLE
                    | NOT_LEADER_OR_FOLLOWER
                    | REPLICA_NOT_AVAILABLE
                    | KAFKA_STORAGE_ERROR
                    | FENCED_LEADER_EPOCH
                    | UNKNOWN_LEADER_EPOCH
            ),
            Self::Coordinator(_) => {
                matches!(code, COORDINATOR_NOT_AVAILABLE | NOT_COORDINATOR)
            }
        }
    }

    /// Whether the way is found by metadata, so that a wrong one waits for the next answer.
    pub(super) fn by_metadata(&self) -> bool {
        matches!(self, Self::Controller | Self::Leader(_))
    }
}

/// The leader of a partition; `None` while there is none.
///
/// # Errors
/// The topic may not be seen, or it or the partition does not exist.
fn leader(
    partition: &TopicPartition,
    search: &mut Search,
    base: &mut Base,
) -> Result<Option<NodeId>, KafkaError> {
    let missing = match base.metadata.error(&partition.topic) {
        Some(error) if error.code == i32::from(UNKNOWN_TOPIC_OR_PARTITION) => true,
        Some(error) if error.code == i32::from(LEADER_NOT_AVAILABLE) => return Ok(None),
        Some(error) if !error.is_retriable() => return Err(error.clone()),
        Some(_) => return Ok(None),
        None => match base.metadata.topic(&partition.topic) {
            // Not asked for yet.
            None => return Ok(None),
            Some(_) => base.metadata.partition(partition).is_none(),
        },
    };
    if !missing {
        return Ok(base.metadata.leader(partition).map(|(node, _)| node));
    }
    let round = base.metadata.rounds();
    let since = *search.missing_since.get_or_insert(round);
    if round >= since + ROUNDS_TO_BELIEVE - 1 {
        return Err(KafkaError::of(UNKNOWN_TOPIC_OR_PARTITION));
    }
    Ok(None)
}
