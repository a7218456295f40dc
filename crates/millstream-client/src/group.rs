//! Membership of a consumer group, and its committed offsets, without sockets.
//!
//! One rebalance is one conversation with the owner: [`GroupEvent::Assigned`] waits for
//! [`Group::ack_assigned`], [`GroupEvent::Revoked`] and [`GroupEvent::Lost`] for
//! [`Group::ack_revoked`]. An answer is for the event that was taken last, so the owner takes an
//! event only when it can hand it on. While a conversation is open the member's heartbeats go on.

mod subscription;

use std::time::Duration;

use millstream_types::{Offset, TopicPartition};

pub(crate) use self::subscription::Subscription;
use crate::base::Base;
use crate::error::KafkaError;
use crate::network::Completion;
use crate::settings::GroupSettings;
use crate::time::Now;

/// Whose response it is.
#[derive(Clone, Debug)]
pub(crate) enum GroupTag {}

/// An offset that the group remembers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Committed {
    /// Where reading goes on.
    pub(crate) offset: Offset,
    /// Epoch of the leader that served the record before, for the detection of lost records
    /// (KIP-320).
    pub(crate) leader_epoch: Option<i32>,
    /// What the committer added; empty if nothing.
    pub(crate) metadata: String,
}

/// What the producer sends with the offsets of a transaction (KIP-447).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GroupMetadata {
    pub(crate) group_id: String,
    /// -1 if not a member.
    pub(crate) generation: i32,
    /// Empty if not a member.
    pub(crate) member_id: String,
    pub(crate) instance_id: Option<String>,
}

/// What [`Group::event`] reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum GroupEvent {
    /// These partitions are ours, in addition to those that are ours already; may be empty.
    /// Waits for [`Group::ack_assigned`].
    Assigned(Vec<TopicPartition>),
    /// These are wanted back. Waits for [`Group::ack_revoked`].
    Revoked(Vec<TopicPartition>),
    /// These may be someone else's already. Waits for [`Group::ack_revoked`]; takes the place of
    /// an `Assigned` or `Revoked` that is not answered yet.
    Lost(Vec<TopicPartition>),
    /// Answers [`Group::commit`].
    Committed { id: u64, partitions: Vec<(TopicPartition, Offset, Result<(), KafkaError>)> },
    /// Answers [`Group::fetch_committed`], in the order asked.
    Fetched { id: u64, result: Result<Vec<(TopicPartition, Option<Committed>)>, KafkaError> },
    /// Something is wrong; with `true` the member is of no more use.
    Error(KafkaError, bool),
    /// [`Group::close`] is done.
    Left,
}

/// A member of a group, or someone who keeps offsets with it.
pub(crate) struct Group {
    settings: GroupSettings,
}

/// Interface for the owner.
impl Group {
    pub(crate) fn new(settings: GroupSettings, rack: &str, read_committed: bool) -> Self {
        let _ = (rack, read_committed);
        Self { settings }
    }
    pub(crate) fn subscribe(&mut self, _: Option<Subscription>, _: &mut Base, _: Now) {}
    pub(crate) fn ack_assigned(&mut self, _: Now) {}
    pub(crate) fn ack_revoked(&mut self, _: Now) {}
    pub(crate) fn polled(&mut self, _: Now) {}
    pub(crate) fn commit(&mut self, _: Vec<(TopicPartition, Offset, Option<i32>)>, _: Now) -> u64 {
        0
    }
    pub(crate) fn fetch_committed(&mut self, _: Vec<TopicPartition>, _: Now) -> u64 {
        0
    }
    pub(crate) fn close(&mut self, _: Now) {}
    pub(crate) fn advance(&mut self, _: &mut Base, _: Now) {}
    pub(crate) fn completed(&mut self, _: GroupTag, _: Completion, _: &mut Base, _: Now) {}
    pub(crate) fn event(&mut self) -> Option<GroupEvent> {
        None
    }
    pub(crate) fn next_deadline(&self, _: Now) -> Option<Duration> {
        None
    }
    pub(crate) fn is_eager(&self) -> bool {
        true
    }
    pub(crate) fn member_id(&self) -> Option<&str> {
        None
    }
    pub(crate) fn owned(&self) -> &[TopicPartition] {
        &[]
    }
    pub(crate) fn metadata_for_transactions(&self) -> GroupMetadata {
        GroupMetadata {
            group_id: self.settings.group_id.clone(),
            generation: -1,
            member_id: String::new(),
            instance_id: self.settings.instance_id.clone(),
        }
    }
}
