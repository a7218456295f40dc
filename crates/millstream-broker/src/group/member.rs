//! A member of a group.

use std::time::Duration;

use bytes::{Buf, Bytes};

use super::{Opaque, Ticket};

/// How a request names a member: its id, and its instance id if it is a static one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MemberKey<'a> {
    pub(crate) id: &'a str,
    pub(crate) instance: Option<&'a str>,
}

/// A member.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) id: String,
    /// Set for a static member (KIP-345): it keeps its place over a restart.
    pub(crate) instance: Option<String>,
    pub(crate) client_id: String,
    pub(crate) client_host: String,
    pub(crate) session_timeout: Duration,
    pub(crate) rebalance_timeout: Duration,
    /// Strategies it supports, the preferred one first, with what it says to the leader.
    pub(crate) protocols: Vec<(String, Opaque)>,
    pub(crate) assignment: Opaque,
    /// The JoinGroup and the SyncGroup that wait for an answer.
    pub(crate) join_ticket: Option<Ticket>,
    pub(crate) sync_ticket: Option<Ticket>,
    pub(crate) session_deadline: Duration,
}

impl Member {
    /// Pushes the session's end away.
    pub(crate) fn is_alive_at(&mut self, now: Duration) {
        self.session_deadline = now + self.session_timeout;
    }

    /// When it is given up; never while the broker itself lets it wait.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        let waits = self.join_ticket.is_some() || self.sync_ticket.is_some();
        (!waits).then_some(self.session_deadline)
    }

    /// What it says about a strategy.
    pub(crate) fn metadata_of(&self, protocol: &str) -> Option<&Opaque> {
        self.protocols.iter().find(|(name, _)| name == protocol).map(|(_, metadata)| metadata)
    }
}

/// Whether a consumer's subscription names a topic. Bytes that are not a subscription have none.
pub(super) fn subscription_has(metadata: &Bytes, topic: &str) -> bool {
    let mut bytes = &metadata[..];
    if bytes.remaining() < 6 {
        return false;
    }
    bytes.advance(2);
    for _ in 0..bytes.get_i32() {
        if bytes.remaining() < 2 {
            return false;
        }
        let length = bytes.get_i16();
        let Some((name, rest)) =
            usize::try_from(length).ok().and_then(|length| bytes.split_at_checked(length))
        else {
            return false;
        };
        if name == topic.as_bytes() {
            return true;
        }
        bytes = rest;
    }
    false
}
