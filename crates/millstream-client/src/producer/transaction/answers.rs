//! What coordinators answer, and what follows from it.

use std::time::Duration;

use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, EndTxnRequest, InitProducerIdRequest,
    TxnOffsetCommitRequest,
};

use super::{Phase, Stage, Step, Verdict};
use crate::coordinators::CoordinatorKey;
use crate::error::{KafkaError, Remedy, code};
use crate::network::Completion;
use crate::producer::codes::UNKNOWN_TOPIC_OR_PARTITION;
use crate::producer::ids::id_of;
use crate::producer::machine::ProducerCore;
use crate::time::Now;

/// How long the end of the transaction before may take; asked again after this.
const CONCURRENT_WAIT: Duration = Duration::from_millis(20);

const OPERATION_NOT_ATTEMPTED: i32 = 55;

/// What an error means in a step of a transaction, as Kafka's `TransactionManager` has it.
fn verdict(step: Step, error: &KafkaError) -> Verdict {
    let retry = |find| Verdict::Retry { find, concurrent: false };
    match error.code {
        code::TRANSPORT | code::TIMED_OUT | code::BAD_MESSAGE | code::AUTHENTICATION => retry(true),
        // Loading; a time-out; a moved or missing coordinator.
        14 | 7 => retry(false),
        15 | 16 => retry(true),
        51 => Verdict::Retry { find: false, concurrent: true },
        UNKNOWN_TOPIC_OR_PARTITION => retry(false),
        // TRANSACTION_ABORTABLE (KIP-1050).
        120 => Verdict::Abort { renew: false },
        // INVALID_PRODUCER_EPOCH, PRODUCER_FENCED, INVALID_TXN_STATE, and missing rights.
        47 | 90 | 48 | 31 | 53 => Verdict::Fatal,
        // UNKNOWN_PRODUCER_ID, INVALID_PRODUCER_ID_MAPPING: what the coordinator knew has expired.
        59 | 49 if step != Step::Init => Verdict::Abort { renew: true },
        // The group's own: who commits is no more a member, or may not.
        22 | 25 | 27 | 30 | 82 | 24 | 110 | 113 => Verdict::Abort { renew: false },
        29 | OPERATION_NOT_ATTEMPTED => Verdict::Abort { renew: false },
        _ => match (error.remedy(), step) {
            (Remedy::Retry, _) => retry(false),
            (Remedy::Refresh, _) => retry(true),
            (Remedy::Abort, _) | (_, Step::AddPartitions) => Verdict::Abort { renew: false },
            (Remedy::Fatal | Remedy::Refused, _) => Verdict::Fatal,
        },
    }
}

impl ProducerCore {
    pub(in crate::producer) fn transaction_answered(
        &mut self,
        step: Step,
        completion: Completion,
        now: Now,
    ) {
        if let Some(transaction) = &mut self.transaction {
            transaction.busy = false;
        }
        match self.read_answer(step, completion, now) {
            Ok(()) => self.step_done(step, now),
            Err(error) => self.transaction_refused(step, error, now),
        }
    }

    /// Takes over what an answer brings.
    fn read_answer(
        &mut self,
        step: Step,
        completion: Completion,
        now: Now,
    ) -> Result<(), KafkaError> {
        let node = completion.node;
        let net = &mut self.base.net;
        let body = completion.result?;
        let (throttle, codes, id) = match step {
            Step::Init => {
                let r = body.decode_from::<InitProducerIdRequest>(node, net, now)?;
                let id = id_of(r.producer_id, r.producer_epoch);
                if r.error_code == 0 && id.is_none() {
                    return Err(KafkaError::of(code::BAD_MESSAGE));
                }
                (r.throttle_time_ms, vec![r.error_code], id)
            }
            Step::AddPartitions => {
                let r = body.decode_from::<AddPartitionsToTxnRequest>(node, net, now)?;
                let codes = r.results_by_topic_v3_and_below.iter().flat_map(|topic| {
                    topic.results_by_partition.iter().map(|result| result.partition_error_code)
                });
                (r.throttle_time_ms, codes.collect(), None)
            }
            Step::AddOffsets => {
                let r = body.decode_from::<AddOffsetsToTxnRequest>(node, net, now)?;
                (r.throttle_time_ms, vec![r.error_code], None)
            }
            Step::CommitOffsets => {
                let r = body.decode_from::<TxnOffsetCommitRequest>(node, net, now)?;
                let partitions = r.topics.iter().flat_map(|topic| &topic.partitions);
                (r.throttle_time_ms, partitions.map(|p| p.error_code).collect(), None)
            }
            Step::Commit | Step::Abort => {
                let r = body.decode_from::<EndTxnRequest>(node, net, now)?;
                let id = id_of(r.producer_id, r.producer_epoch);
                (r.throttle_time_ms, vec![r.error_code], id)
            }
        };
        net.throttle(node, throttle, now);
        // The worst of several counts; a part that was not tried says nothing by itself.
        let rank = |code: &i16| match verdict(step, &KafkaError::of(*code)) {
            _ if i32::from(*code) == OPERATION_NOT_ATTEMPTED => 1,
            Verdict::Retry { .. } => 2,
            Verdict::Abort { .. } => 3,
            Verdict::Fatal => 4,
        };
        if let Some(code) = codes.into_iter().filter(|code| *code != 0).max_by_key(rank) {
            return Err(KafkaError::of(code));
        }
        match step {
            Step::Init => self.ids.current = id,
            // Only version 2 of transactions brings one; before, the fields are not there.
            Step::Commit | Step::Abort => {
                if let Some(id) = id.filter(|_| self.transaction.as_ref().is_some_and(|t| t.v2)) {
                    self.ids.current = Some(id);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn step_done(&mut self, step: Step, now: Now) {
        let Some(transaction) = &mut self.transaction else { return };
        transaction.backoff.succeeded();
        match step {
            Step::Init => {
                if transaction.stage == Stage::Renewing {
                    // The new epoch resolves what was open.
                    if let Some(current) = self.ids.current {
                        for lane in self.topics.iter_mut().flat_map(|topic| &mut topic.lanes) {
                            lane.settle(current);
                        }
                    }
                    transaction.renew = false;
                }
                transaction.stage = Stage::Ready;
                self.reports.phase(Phase::Ready);
                if let Some(request) = transaction.request.take() {
                    self.done(request, Ok(()));
                }
            }
            Step::AddPartitions => transaction.added.append(&mut transaction.announcing),
            Step::AddOffsets => {
                if let Some(offsets) = transaction.offsets.front_mut() {
                    offsets.announced = true;
                }
            }
            Step::CommitOffsets => {
                if let Some(offsets) = transaction.offsets.pop_front() {
                    self.done(offsets.request, Ok(()));
                }
            }
            Step::Commit | Step::Abort => {
                if let Some(current) = self.ids.current {
                    for lane in self.topics.iter_mut().flat_map(|topic| &mut topic.lanes) {
                        lane.settle(current);
                    }
                }
                self.ended(now);
            }
        }
    }

    /// A step has failed.
    pub(super) fn transaction_refused(&mut self, step: Step, error: KafkaError, now: Now) {
        let Some(transaction) = &mut self.transaction else { return };
        transaction.pending.append(&mut transaction.announcing);
        match verdict(step, &error) {
            Verdict::Retry { find, concurrent } => {
                if find {
                    let key = match (step, transaction.offsets.front()) {
                        (Step::CommitOffsets, Some(offsets)) => {
                            CoordinatorKey::Group(offsets.group.group_id.clone())
                        }
                        _ => transaction.key.clone(),
                    };
                    self.base.coordinators.forget(&key);
                }
                let wait = match concurrent {
                    true => CONCURRENT_WAIT,
                    false => transaction.backoff.failed(self.base.net.random()),
                };
                transaction.retry_at = now.after(wait);
            }
            Verdict::Abort { renew } => {
                if step == Step::Abort {
                    // There is nothing left to abort; only the epoch is in doubt.
                    transaction.renew |= renew;
                    self.ended(now);
                } else {
                    self.must_abort(error, renew);
                }
            }
            Verdict::Fatal => self.fail_for_good(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEPS: [Step; 6] = [
        Step::Init,
        Step::AddPartitions,
        Step::AddOffsets,
        Step::CommitOffsets,
        Step::Commit,
        Step::Abort,
    ];

    /// The groups of KIP-1050 in every step: what may succeed later is tried again and nothing else
    /// is, an abortable error aborts, and who was fenced is out.
    #[test]
    fn errors_are_sorted_into_retry_abort_and_fatal() {
        for step in STEPS {
            for code in 1..=133 {
                let error = KafkaError::of(code);
                let found = verdict(step, &error);
                let retries = matches!(found, Verdict::Retry { .. });
                assert_eq!(retries, error.is_retriable(), "{step:?}: {error}");
                match code {
                    120 => assert!(matches!(found, Verdict::Abort { .. }), "{step:?}: {error}"),
                    47 | 90 | 53 | 48 => {
                        assert!(matches!(found, Verdict::Fatal), "{step:?}: {error}")
                    }
                    // The group's refusals leave the producer as it is.
                    22 | 25 | 30 | 82 if step == Step::CommitOffsets => {
                        assert!(matches!(found, Verdict::Abort { renew: false }), "{error}");
                    }
                    29 if step == Step::AddPartitions => {
                        assert!(matches!(found, Verdict::Abort { renew: false }), "{error}");
                    }
                    _ => {}
                }
            }
        }
    }
}
