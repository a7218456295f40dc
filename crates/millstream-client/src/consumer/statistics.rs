//! What a consumer tells of itself.

use std::collections::HashMap;

use millstream_types::{Offset, TopicPartition};
use serde_json::{Value, json};

use super::core::ConsumerCore;
use super::slot::{Phase, Slot};
use crate::statistics::{INVALID_OFFSET, add_partition, fields};
use crate::time::Now;

/// Records of one partition that were handed out, and the bytes they were fetched in.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Received {
    records: u64,
    bytes: u64,
}

impl Received {
    pub(super) fn add(&mut self, records: usize, bytes: usize) {
        self.records += records as u64;
        self.bytes += bytes as u64;
    }
}

/// As librdkafka calls it.
fn state_name(slot: &Slot) -> &'static str {
    match slot.phase {
        _ if slot.revoking => "stopping",
        Phase::WantsCommitted | Phase::AsksCommitted | Phase::WantsOffset(_) => "offset-query",
        Phase::AsksOffset(_) => "offset-wait",
        Phase::WantsEpoch | Phase::AsksEpoch(_) => "validate-epoch-wait",
        Phase::Fetching => "active",
        Phase::Nowhere => "none",
    }
}

impl ConsumerCore {
    /// All of it as JSON; windows begin anew. `positions`: behind what was handed out.
    pub(super) fn statistics(
        &mut self,
        positions: &HashMap<TopicPartition, Offset>,
        received: &HashMap<TopicPartition, Received>,
        now: Now,
    ) -> String {
        let mut all = self.base.statistics("consumer", now);
        let read_committed = self.settings.read_committed;
        for slot in &self.slots {
            let TopicPartition { topic, partition } = &slot.partition;
            let leader = self.base.metadata.leader(&slot.partition).map(|(node, _)| node);
            let known = |offset: Offset| if offset >= 0 { offset } else { INVALID_OFFSET };
            let position = positions.get(&slot.partition).copied();
            let end = slot.end(read_committed);
            // As librdkafka has it: what was handed out and not committed counts as lag.
            let committed = slot.committed.filter(|committed| (0..=end).contains(committed));
            let lag = committed.map_or(-1, |committed| end - committed);
            let so_far = received.get(&slot.partition).copied().unwrap_or_default();
            let told = json!({
                "partition": partition,
                "broker": slot.preferred.map(|(node, _)| node).or(leader).unwrap_or(-1),
                "leader": leader.unwrap_or(-1),
                "desired": true,
                "unknown": self.base.metadata.partition(&slot.partition).is_none(),
                "fetchq_size": slot.buffered,
                "fetch_state": state_name(slot),
                "next_offset": if slot.phase == Phase::Fetching { slot.offset } else { INVALID_OFFSET },
                "app_offset": position.unwrap_or(INVALID_OFFSET),
                "committed_offset": slot.committed.unwrap_or(INVALID_OFFSET),
                "eof_offset": slot.reported_end.unwrap_or(INVALID_OFFSET),
                "lo_offset": known(slot.log_start),
                "hi_offset": known(slot.high_watermark),
                "ls_offset": known(slot.last_stable),
                "consumer_lag": lag,
                "leader_epoch": slot.agreed_epoch,
                "rxmsgs": so_far.records,
                "rxbytes": so_far.bytes,
            });
            add_partition(&mut all, topic, *partition, leader, told);
        }
        let sum = |of: fn(&Received) -> u64| received.values().map(of).sum::<u64>();
        all.append(&mut fields(json!({
            "replyq": self.events.len(),
            "rxmsgs": sum(|of| of.records),
            "rxmsg_bytes": sum(|of| of.bytes),
        })));
        if let Some(group) = &self.group {
            let (count, last) = self.rebalances;
            let joined = group.member_id().is_some();
            let age = last.map_or(0, |last| now.mono.saturating_sub(last).as_millis() as u64);
            let join_state = match joined {
                _ if self.assigned.is_some() => "wait-assign-call",
                _ if self.has_open_revocation() => "wait-unassign-call",
                true => "steady",
                false => "init",
            };
            all.insert(
                "cgrp".into(),
                json!({
                    "state": if joined { "up" } else { "init" },
                    "join_state": join_state,
                    "rebalance_age": age,
                    "rebalance_cnt": count,
                    "assignment_size": self.slots.iter().filter(|slot| !slot.revoking).count(),
                }),
            );
        }
        Value::Object(all).to_string()
    }
}
