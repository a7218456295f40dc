//! What brokers answer to Produce requests, batch by batch.

use std::collections::HashMap;

use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::{ProduceRequest, ProduceResponse};
use millstream_types::TopicPartition;

use super::NO_OFFSET;
use super::batch::Batch;
use super::machine::{InFlight, ProducerCore};
use super::tracked::Written;
use crate::error::{KafkaError, Remedy, code};
use crate::network::{Completion, Failure};
use crate::settings::Acks;
use crate::time::Now;

const MESSAGE_TOO_LARGE: i16 = 10;
const OUT_OF_ORDER_SEQUENCE_NUMBER: i16 = 45;
const DUPLICATE_SEQUENCE_NUMBER: i16 = 46;
const UNKNOWN_PRODUCER_ID: i16 = 59;

/// What became of a batch.
enum Outcome {
    /// Written; the offset of its first record, and the time that the broker gave the records: -1
    /// where there is none to tell.
    Written {
        base_offset: i64,
        append_time: i64,
    },
    /// Another try may succeed.
    Retry {
        error: KafkaError,
        /// The broker may have written it all the same.
        maybe_written: bool,
        /// What is known about leaders is old.
        refresh: bool,
    },
    /// Too large as it is.
    TooLarge(KafkaError),
    /// The sequence number is not the one that the broker waits for.
    OutOfOrder(KafkaError),
    /// The broker knows nothing of the producer (any more).
    Forgotten {
        error: KafkaError,
        log_start: i64,
    },
    Refused(KafkaError),
}

/// Written, and nothing is known of where.
const UNTOLD: Outcome = Outcome::Written { base_offset: NO_OFFSET, append_time: -1 };

/// What a broker's answer about a batch means, as Kafka's `Sender` has it.
fn outcome(response: &PartitionProduceResponse) -> Outcome {
    let code = response.error_code;
    let said = response.error_message.as_deref();
    let error = || KafkaError::with(code, said);
    let retry = |maybe_written, refresh| Outcome::Retry { error: error(), maybe_written, refresh };
    match code {
        0 => Outcome::Written {
            base_offset: response.base_offset,
            append_time: response.log_append_time_ms,
        },
        DUPLICATE_SEQUENCE_NUMBER => UNTOLD,
        MESSAGE_TOO_LARGE => Outcome::TooLarge(error()),
        OUT_OF_ORDER_SEQUENCE_NUMBER => Outcome::OutOfOrder(error()),
        UNKNOWN_PRODUCER_ID => {
            Outcome::Forgotten { error: error(), log_start: response.log_start_offset }
        }
        // Not the leader; moved; the topic is another one by now (KIP-516).
        3 | 5 | 6 | 9 | 100 | 103 => retry(false, true),
        // Written by the leader, not known by how many others; the disk has failed.
        7 | 20 | 56 => retry(true, true),
        13 => retry(true, true),
        // Corrupt on the way; too few replicas; the transaction's coordinator is not there yet.
        2 | 19 | 14 | 15 | 16 | 51 | 89 => retry(false, false),
        _ => match error().remedy() {
            Remedy::Retry => retry(false, false),
            Remedy::Refresh => retry(false, true),
            Remedy::Abort | Remedy::Fatal | Remedy::Refused => Outcome::Refused(error()),
        },
    }
}

/// Errors that end a producer's life when a broker says so to a batch: missing rights, a second
/// producer of the same transactional id. INVALID_PRODUCER_EPOCH is not one of them: the
/// coordinator decides, when the transaction is aborted (KIP-588).
fn is_fatal(code: i32, transactional: bool) -> bool {
    matches!(code, 31 | 53 | 90) || (transactional && matches!(code, 49))
}

impl ProducerCore {
    pub(super) fn produce_answered(&mut self, number: u64, completion: Completion, now: Now) {
        let Some(sent) = self.requests.remove(&number) else { return };
        let node = completion.node;
        if let Some(out) = self.out.get_mut(&node) {
            *out -= 1;
        }
        let acks = self.settings.acks;
        let net = &mut self.base.net;
        let answer = completion.result.and_then(|body| match acks {
            // What has come is the answer to the request behind it.
            Acks::None => Ok(None),
            _ => body.decode_from::<ProduceRequest>(node, net, now).map(Some),
        });
        match answer {
            Err(failure) => {
                self.base.metadata.refresh();
                for in_flight in sent.batches {
                    self.settle(in_flight, lost(&failure), now);
                }
            }
            Ok(None) => {
                for in_flight in sent.batches {
                    self.settle(in_flight, UNTOLD, now);
                }
            }
            Ok(Some(response)) => {
                self.base.net.throttle(node, response.throttle_time_ms, now);
                let mut answers = self.by_partition(response);
                for in_flight in sent.batches {
                    let lane = (in_flight.topic, in_flight.partition);
                    let outcome = answers.remove(&lane).unwrap_or_else(|| Outcome::Retry {
                        error: KafkaError::of(code::BAD_MESSAGE),
                        maybe_written: true,
                        refresh: true,
                    });
                    self.settle(in_flight, outcome, now);
                }
            }
        }
    }

    /// Takes a response apart, and learns the leaders that it names (KIP-951).
    fn by_partition(&mut self, response: ProduceResponse) -> HashMap<(u32, u32), Outcome> {
        for node in &response.node_endpoints {
            if let Ok(port) = u16::try_from(node.port) {
                self.base.net.learn_node(node.node_id.0, &node.host, port);
            }
        }
        let mut answers = HashMap::new();
        for topic in response.responses {
            let is = |known: &super::machine::TopicLanes| match topic.topic_id.is_nil() {
                true => *known.name == *topic.name.as_str(),
                false => known.id == topic.topic_id,
            };
            let Some(index) = self.topics.iter().position(is) else { continue };
            for partition in topic.partition_responses {
                let Ok(number) = u32::try_from(partition.index) else { continue };
                let leader = &partition.current_leader;
                if leader.leader_id.0 >= 0
                    && let Some(lane) = self.topics[index].lanes.get_mut(number as usize)
                    && lane.leader.is_none_or(|(_, epoch)| leader.leader_epoch > epoch)
                {
                    let (node, epoch) = (leader.leader_id.0, leader.leader_epoch);
                    // The lane sees it at once, everybody else through the metadata.
                    lane.learn_leader(node, epoch);
                    let topic = self.topics[index].name.clone();
                    let partition = TopicPartition { topic, partition: number as i32 };
                    self.base.metadata.learn_leader(&partition, node, epoch);
                }
                answers.insert((index as u32, number), outcome(&partition));
            }
        }
        answers
    }

    /// A batch has come back.
    fn settle(&mut self, in_flight: InFlight, outcome: Outcome, now: Now) {
        let InFlight { topic, partition, mut batch, abandoned } = in_flight;
        self.lane(topic, partition).came_back();
        if let Outcome::Written { base_offset, append_time } = outcome {
            let lane = self.lane(topic, partition);
            lane.acknowledged(&batch);
            let last = match base_offset {
                0.. => base_offset + i64::from(batch.records) - 1,
                _ => NO_OFFSET,
            };
            lane.last_offset = lane.last_offset.max(last);
            if !abandoned {
                let written = Written { last, append_time, at: now.mono };
                self.reports.delivered(topic, partition, batch, written);
            }
            return;
        }
        if abandoned {
            // Told long ago. That its numbers are open, the lane knows.
            return;
        }
        match outcome {
            Outcome::Written { .. } => {}
            Outcome::Retry { error, maybe_written, refresh } => {
                batch.maybe_written |= maybe_written;
                if refresh {
                    self.base.metadata.refresh();
                }
                self.retry(topic, partition, batch, error, now);
            }
            Outcome::TooLarge(error) => self.split(topic, partition, batch, error),
            Outcome::OutOfOrder(error) => {
                // Whatever happened before: this batch is not in the log.
                batch.maybe_written = false;
                let lane = self.lane(topic, partition);
                lane.misses(&batch);
                if lane.is_expected(&batch) {
                    lane.lost_track();
                    if self.transaction.is_some() {
                        self.refused(topic, partition, batch, error, true);
                        return;
                    }
                }
                self.retry(topic, partition, batch, error, now);
            }
            Outcome::Forgotten { error, log_start } => {
                batch.maybe_written = false;
                let transactional = self.transaction.is_some();
                let lane = self.lane(topic, partition);
                // Retention has taken the records that the broker knew the producer from.
                let aged = log_start > lane.last_offset;
                match transactional {
                    true if log_start >= 0 && aged => lane.restart(),
                    true if log_start >= 0 => {
                        self.refused(topic, partition, batch, error, true);
                        return;
                    }
                    true => {}
                    false => lane.lost_track(),
                }
                self.retry(topic, partition, batch, error, now);
            }
            Outcome::Refused(error) => self.refused(topic, partition, batch, error, false),
        }
    }

    /// Puts a batch back for another try, if there is to be one.
    fn retry(&mut self, topic: u32, partition: u32, mut batch: Batch, error: KafkaError, now: Now) {
        batch.attempts = batch.attempts.saturating_add(1);
        if let Some(reason) = self.hopeless() {
            self.give_up(topic, partition, batch, Some(reason));
            return;
        }
        if batch.attempts > self.settings.retries {
            self.give_up(topic, partition, batch, Some(error));
            return;
        }
        tracing::debug!(
            target: "millstream::kafka", topic = %self.topics[topic as usize].name, partition,
            attempts = batch.attempts, %error, "a batch is sent again"
        );
        batch.error = Some(error);
        let lane = &mut self.topics[topic as usize].lanes[partition as usize];
        lane.back_off(self.base.net.random(), now.mono);
        lane.put_back(batch);
        self.busy.insert((topic, partition));
    }

    /// Halves a batch that is too large; a record that is too large is given up.
    fn split(&mut self, topic: u32, partition: u32, batch: Batch, error: KafkaError) {
        if let Some(reason) = self.hopeless() {
            self.give_up(topic, partition, batch, Some(reason));
            return;
        }
        match batch.split() {
            Ok((first, second)) => {
                let lane = self.lane(topic, partition);
                lane.put_back(second);
                lane.put_back(first);
                self.busy.insert((topic, partition));
            }
            Err(batch) => self.refused(topic, partition, *batch, error, false),
        }
    }

    /// A batch will never be taken.
    fn refused(
        &mut self,
        topic: u32,
        partition: u32,
        batch: Batch,
        error: KafkaError,
        renew: bool,
    ) {
        let fatal = is_fatal(error.code, self.transaction.is_some());
        self.give_up(topic, partition, batch, Some(error.clone()));
        match fatal {
            true => self.fail_for_good(error),
            false => self.must_abort(error, renew),
        }
    }
}

/// The connection has ended before the answer came.
fn lost(failure: &Failure) -> Outcome {
    Outcome::Retry { error: KafkaError::from(failure.clone()), maybe_written: true, refresh: true }
}
