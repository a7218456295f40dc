//! A group's form on disk, so that a restart of the broker does not disturb its members.
//!
//! Version 2: whether a rebalance was under way, protocol type, generation, time since when it is
//! empty, strategy, leader; then per member id, instance, client id and host, session and rebalance
//! time-outs in milliseconds, strategies with metadata, assignment. Version 1 has not the first.
//!
//! A group is stored when it has become stable or empty, and (unlike Kafka's) when its members are
//! told of a new generation: a static member that has come back has a new id from then on, and
//! would be told after a restart that another one has its place.

use std::time::Duration;

use bytes::Bytes;

use super::{Group, GroupState, Member};
use crate::journal::{Fields, put_bytes, put_option};

const VERSION: u8 = 2;

impl Group {
    /// Encodes what survives a restart.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let rebalances = [GroupState::PreparingRebalance, GroupState::CompletingRebalance];
        let mut out = vec![VERSION, u8::from(rebalances.contains(&self.state))];
        put_option(&mut out, self.protocol_type.as_deref());
        out.extend_from_slice(&self.generation.to_be_bytes());
        out.extend_from_slice(&self.empty_since_ms.to_be_bytes());
        put_option(&mut out, self.protocol.as_deref());
        put_option(&mut out, self.leader.as_deref());
        out.extend_from_slice(&(self.members.len() as i32).to_be_bytes());
        for member in &self.members {
            put_bytes(&mut out, member.id.as_bytes());
            put_option(&mut out, member.instance.as_deref());
            put_bytes(&mut out, member.client_id.as_bytes());
            put_bytes(&mut out, member.client_host.as_bytes());
            for timeout in [member.session_timeout, member.rebalance_timeout] {
                out.extend_from_slice(&(timeout.as_millis() as i64).to_be_bytes());
            }
            out.extend_from_slice(&(member.protocols.len() as i32).to_be_bytes());
            for (name, metadata) in &member.protocols {
                put_bytes(&mut out, name.as_bytes());
                put_bytes(&mut out, metadata);
            }
            put_bytes(&mut out, &member.assignment);
        }
        out
    }

    /// Reads what [`encode`](Self::encode) wrote; sessions begin anew at `now`. `None` if the
    /// bytes are not that.
    pub(crate) fn decode(bytes: &[u8], now: Duration) -> Option<Self> {
        let mut fields = Fields(bytes);
        let rebalances = match fields.fixed()? {
            [1] => false,
            [VERSION] => fields.fixed()? == [1],
            _ => return None,
        };
        let mut group = Self::new(0);
        group.protocol_type = fields.option()?;
        group.generation = fields.i32()?;
        group.empty_since_ms = fields.i64()?;
        group.protocol = fields.option()?;
        group.leader = fields.option()?;
        for _ in 0..fields.i32()? {
            let id = fields.string()?;
            let instance = fields.option()?;
            let client_id = fields.string()?;
            let client_host = fields.string()?;
            let session_timeout = Duration::from_millis(fields.i64()?.try_into().ok()?);
            let rebalance_timeout = Duration::from_millis(fields.i64()?.try_into().ok()?);
            let mut protocols = Vec::new();
            for _ in 0..fields.i32()? {
                protocols.push((fields.string()?, Bytes::copy_from_slice(fields.bytes()?)));
            }
            let assignment = Bytes::copy_from_slice(fields.bytes()?);
            let session_deadline = now + session_timeout;
            group.members.push(Member {
                id,
                instance,
                client_id,
                client_host,
                session_timeout,
                rebalance_timeout,
                protocols,
                assignment,
                join_ticket: None,
                sync_ticket: None,
                session_deadline,
            });
        }
        if !group.members.is_empty() {
            group.state = GroupState::Stable;
            if rebalances {
                // Whoever was about to be given something joins again.
                group.prepare_rebalance(now, Duration::ZERO);
            }
        }
        Some(group)
    }
}
