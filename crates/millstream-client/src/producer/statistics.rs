//! What a producer tells of itself.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::batch::Batch;
use super::machine::{InFlight, ProducerCore, TopicLanes};
use super::queue::Queue;
use super::transaction::Phase;
use crate::network::NodeId;
use crate::statistics::{add_partition, fields, micros};
use crate::time::Now;

/// Records and bytes.
type Amount = (u64, u64);

fn amount<'a>(batches: impl Iterator<Item = &'a Batch>) -> Amount {
    batches.fold((0, 0), |(records, bytes), batch| {
        (records + u64::from(batch.records), bytes + batch.wire_size() as u64)
    })
}

/// What the front end's queue says. Copied out of it, for `produce` waits while it is locked.
struct Front {
    /// Records and bytes of the open batch, by topic and partition.
    open: Vec<Vec<(usize, usize)>>,
    /// Records of a topic whose partitions are not known.
    unassigned: Vec<usize>,
    amounts: (u64, usize, usize),
    transaction: &'static str,
    may_produce: bool,
}

impl Front {
    fn of(queue: &Queue, topics: &[TopicLanes]) -> Self {
        let numbered = || (0u32..).zip(topics);
        let open_of = |(index, topic): (u32, &TopicLanes)| {
            (0..topic.lanes.len()).map(|lane| queue.open_in(index, lane as u32)).collect()
        };
        Self {
            open: numbered().map(open_of).collect(),
            unassigned: numbered().map(|(index, _)| queue.waiting_in(index)).collect(),
            amounts: queue.amounts(),
            transaction: state_name(&queue.phase),
            may_produce: queue.refusal.is_none(),
        }
    }
}

impl ProducerCore {
    /// A batch goes out, of so many bytes.
    pub(super) fn count_sent(&mut self, node: NodeId, sent: &InFlight, bytes: usize, now: Now) {
        if self.base.settings.statistics_interval.is_none() {
            return;
        }
        let InFlight { topic, partition, batch, .. } = sent;
        let records = u64::from(batch.records);
        let lanes = &mut self.topics[*topic as usize];
        let total = &mut lanes.lanes[*partition as usize].sent;
        *total = (total.0 + records, total.1 + bytes as u64);
        lanes.batches.0.add(bytes as u64);
        lanes.batches.1.add(records);
        if batch.attempts == 0 {
            self.base.net.waited(node, micros(now.mono.saturating_sub(batch.created)));
        }
    }

    /// All of it as JSON; windows begin anew.
    pub(super) fn statistics(&mut self, now: Now) -> String {
        let mut all = self.base.statistics("producer", now);
        let mut out: HashMap<(u32, u32), u64> = HashMap::new();
        for sent in self.requests.values().flat_map(|request| &request.batches) {
            *out.entry((sent.topic, sent.partition)).or_default() += u64::from(sent.batch.records);
        }
        let front = Front::of(&self.shared.lock(), &self.topics);
        let mut total = (0, 0);
        for (index, topic) in self.topics.iter_mut().enumerate() {
            let index = index as u32;
            for (partition, lane) in topic.lanes.iter().enumerate() {
                let number = partition as u32;
                let (waiting, sent) = (amount(lane.pending.iter()), lane.sent);
                let (open, open_bytes) = front.open[index as usize][partition];
                let leader = lane.leader.map(|(node, _)| node);
                total = (total.0 + sent.0, total.1 + sent.1);
                let told = json!({
                    "partition": partition,
                    "broker": leader.unwrap_or(-1),
                    "leader": leader.unwrap_or(-1),
                    "desired": false,
                    "unknown": false,
                    "msgq_cnt": open,
                    "msgq_bytes": open_bytes,
                    "xmit_msgq_cnt": waiting.0,
                    "xmit_msgq_bytes": waiting.1,
                    "txmsgs": sent.0,
                    "txbytes": sent.1,
                    "msgs_inflight": out.get(&(index, number)).unwrap_or(&0),
                });
                add_partition(&mut all, &topic.name, partition as i32, leader, told);
            }
            // Records of a topic whose partitions are not known are librdkafka's partition -1.
            let unassigned = front.unassigned[index as usize];
            if unassigned > 0 {
                let told = json!({ "partition": -1, "unknown": true, "msgq_cnt": unassigned });
                add_partition(&mut all, &topic.name, -1, None, told);
            }
            if let Some(told) =
                all.get_mut("topics").and_then(|topics| topics.get_mut(&*topic.name))
            {
                told["batchsize"] = topic.batches.0.take();
                told["batchcnt"] = topic.batches.1.take();
            }
        }
        let (records, bytes, replies) = front.amounts;
        all.append(&mut fields(json!({
            "replyq": replies,
            "msg_cnt": records,
            "msg_size": bytes,
            "msg_max": self.settings.queue_max_records,
            "msg_size_max": self.settings.queue_max_bytes,
            "txmsgs": total.0,
            "txmsg_bytes": total.1,
        })));
        if self.settings.idempotent {
            let id = self.ids.current;
            all.insert(
                "eos".into(),
                json!({
                    "idemp_state": if id.is_some() { "Assigned" } else { "Init" },
                    "txn_state": front.transaction,
                    "txn_may_enq": front.may_produce,
                    "producer_id": id.map_or(-1, |id| id.id),
                    "producer_epoch": id.map_or(-1, |id| id.epoch),
                }),
            );
        }
        Value::Object(all).to_string()
    }
}

/// As librdkafka calls it.
fn state_name(phase: &Phase) -> &'static str {
    match phase {
        Phase::Without | Phase::New => "Init",
        Phase::Starting => "WaitPID",
        Phase::Ready => "Ready",
        Phase::Open => "InTransaction",
        // Which of the two, the machine decides when it comes to it.
        Phase::Ending => "EndTransaction",
        Phase::Failed(_) => "AbortableError",
        Phase::Fatal(_) => "FatalError",
    }
}
