//! Transactions (KIP-98, KIP-447, KIP-890): where one stands, and what the coordinator is asked
//! next.
//!
//! ```text
//!  New ─► Starting ─► Ready ─► Open ─► Committing ─► Ready
//!                       ▲       │ └──► Aborting ──┬─► Ready
//!                       │    Failed ─────▲        └─► Renewing (a new epoch, KIP-360) ─► Ready
//! ```
//!
//! One request to a coordinator is out at a time. Where the cluster has finalised
//! `transaction.version` 2, partitions and offsets need no announcement, and each end of a
//! transaction brings a new epoch (KIP-890).

mod answers;
mod steps;

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use millstream_types::{Offset, TopicPartition};

use super::machine::ProducerCore;
use super::{TransactionError, TransactionRequest};
use crate::coordinators::CoordinatorKey;
use crate::error::{KafkaError, Remedy, code};
use crate::random::Backoff;
use crate::settings::ConnectionSettings;
use crate::time::Now;

/// Who has read what is committed with a transaction: the consumer's place in its group, so that
/// the broker can refuse a member that was replaced (KIP-447).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMetadata {
    /// `group.id`.
    pub group_id: String,
    /// The generation, or the member's epoch (KIP-848); -1 outside of a generation.
    pub generation_id: i32,
    /// The member's id; empty outside of a generation.
    pub member_id: String,
    /// `group.instance.id`.
    pub group_instance_id: Option<String>,
}

/// A position to commit with a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionOffset {
    /// The partition that was read.
    pub partition: TopicPartition,
    /// The next record to read.
    pub offset: Offset,
    /// Leader epoch of the last record that was read, if known (KIP-320).
    pub leader_epoch: Option<i32>,
    /// A note of the application.
    pub metadata: Option<String>,
}

/// What the front end asks of the machine.
#[derive(Debug)]
pub(super) enum Command {
    Probe,
    Purge,
    Init(TransactionRequest),
    Begin,
    Offsets(TransactionRequest, GroupMetadata, Vec<TransactionOffset>),
    Commit(TransactionRequest),
    Abort(TransactionRequest),
}

impl Command {
    /// The request that is answered by an event, if it is one.
    fn request(&self) -> Option<TransactionRequest> {
        match self {
            Self::Probe | Self::Purge | Self::Begin => None,
            Self::Init(request)
            | Self::Offsets(request, ..)
            | Self::Commit(request)
            | Self::Abort(request) => Some(*request),
        }
    }

    /// Whether it ends a transaction.
    pub(super) fn is_end(&self) -> bool {
        matches!(self, Self::Commit(_) | Self::Abort(_))
    }
}

/// Where a transaction stands, as the front end needs to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The producer has no transactions.
    Without,
    New,
    Starting,
    Ready,
    Open,
    /// It is being committed or aborted.
    Ending,
    /// It has to be aborted, for this reason.
    Failed(KafkaError),
    /// The producer is of no more use, for this reason.
    Fatal(KafkaError),
}

impl Phase {
    pub(super) fn initial(transactional: bool) -> Self {
        if transactional { Self::New } else { Self::Without }
    }

    /// Why nothing can be produced.
    pub(super) fn refusal(&self) -> Option<KafkaError> {
        let state = |text| Some(KafkaError { code: code::STATE, text: String::from(text) });
        match self {
            Self::Without | Self::Open => None,
            Self::New => state("call init_transactions, then begin_transaction, before producing"),
            Self::Starting => {
                state("init_transactions is not done yet; wait for TransactionDone, then begin")
            }
            Self::Ready => state("call begin_transaction before producing"),
            Self::Ending => state(
                "the transaction is being ended; wait for TransactionDone, then begin another",
            ),
            Self::Failed(error) => Some(KafkaError {
                code: code::STATE,
                text: format!("the transaction has failed and must be aborted: {error}"),
            }),
            Self::Fatal(error) => Some(KafkaError {
                code: code::FATAL,
                text: format!("the producer has failed for good: {error}"),
            }),
        }
    }
}

/// What a coordinator is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Init,
    AddPartitions,
    AddOffsets,
    CommitOffsets,
    Commit,
    Abort,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    New,
    Starting,
    Ready,
    Open,
    Committing,
    /// It must be aborted.
    Failed,
    Aborting,
    /// Aborted; a new epoch is needed.
    Renewing,
}

/// Offsets on their way into the transaction.
struct Offsets {
    request: TransactionRequest,
    group: GroupMetadata,
    offsets: Vec<TransactionOffset>,
    announced: bool,
}

/// What to do about an answer of a coordinator.
enum Verdict {
    Retry {
        find: bool,
        concurrent: bool,
    },
    /// `renew`: what the broker knows of the producer is in doubt; a new epoch is needed.
    Abort {
        renew: bool,
    },
    Fatal,
}

pub(super) struct Transaction {
    key: CoordinatorKey,
    id: String,
    stage: Stage,
    /// `transaction.version` 2 is finalised.
    v2: bool,
    /// Partitions to be announced, and those that were.
    pending: BTreeSet<(u32, u32)>,
    added: BTreeSet<(u32, u32)>,
    announcing: BTreeSet<(u32, u32)>,
    offsets: VecDeque<Offsets>,
    /// The coordinator has or may have something of this transaction.
    started: bool,
    renew: bool,
    busy: bool,
    retry_at: Duration,
    backoff: Backoff,
    /// The request that the stage is about.
    request: Option<TransactionRequest>,
}

impl Transaction {
    pub(super) fn new(id: String, settings: &ConnectionSettings) -> Self {
        Self {
            key: CoordinatorKey::Transaction(id.clone()),
            id,
            stage: Stage::New,
            v2: false,
            pending: BTreeSet::new(),
            added: BTreeSet::new(),
            announcing: BTreeSet::new(),
            offsets: VecDeque::new(),
            started: false,
            renew: false,
            busy: false,
            retry_at: Duration::ZERO,
            backoff: Backoff::new(settings.retry_backoff, settings.retry_backoff_max),
            request: None,
        }
    }

    /// A batch of this partition waits.
    pub(super) fn note(&mut self, topic: u32, partition: u32) {
        let lane = (topic, partition);
        if self.is_running()
            && !self.v2
            && !self.added.contains(&lane)
            && !self.announcing.contains(&lane)
        {
            self.pending.insert(lane);
        }
    }

    fn is_running(&self) -> bool {
        matches!(self.stage, Stage::Open | Stage::Committing)
    }

    /// Whether batches of this partition may be sent. If so, `sending` follows.
    pub(super) fn allows(&self, topic: u32, partition: u32) -> bool {
        self.is_running() && (self.v2 || self.added.contains(&(topic, partition)))
    }

    /// Something of this transaction goes to a broker.
    pub(super) fn sending(&mut self) {
        self.started = true;
    }

    pub(super) fn is_v2(&self) -> bool {
        self.v2
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// What was produced can no more be delivered.
    pub(super) fn has_failed(&self) -> bool {
        !self.is_running()
    }

    pub(super) fn next_deadline(&self, now: Now) -> Option<Duration> {
        (!self.busy && self.retry_at > now.mono).then_some(self.retry_at)
    }

    fn clear(&mut self) {
        self.pending.clear();
        self.added.clear();
        self.announcing.clear();
        self.started = false;
    }
}

impl ProducerCore {
    pub(super) fn obey_transaction(&mut self, command: Command, now: Now) {
        if let Some(error) = &self.fatal {
            // The front end has set a phase of its own since.
            self.reports.phase(Phase::Fatal(error.clone()));
            if let Some(request) = command.request() {
                self.refuse(request);
            }
            return;
        }
        let Some(transaction) = &mut self.transaction else { return };
        transaction.retry_at = now.mono.min(transaction.retry_at);
        match command {
            Command::Probe | Command::Purge => {}
            Command::Init(request) => {
                transaction.stage = Stage::Starting;
                transaction.request = Some(request);
            }
            Command::Begin => {
                transaction.stage = Stage::Open;
                transaction.clear();
            }
            Command::Offsets(request, group, offsets) => {
                if transaction.stage != Stage::Open {
                    self.refuse(request);
                } else if offsets.is_empty() {
                    self.done(request, Ok(()));
                } else {
                    let offsets = Offsets { request, group, offsets, announced: false };
                    transaction.offsets.push_back(offsets);
                }
            }
            Command::Commit(request) => {
                if transaction.stage == Stage::Open {
                    transaction.stage = Stage::Committing;
                    transaction.request = Some(request);
                } else {
                    self.refuse(request);
                }
            }
            Command::Abort(request) => {
                transaction.stage = Stage::Aborting;
                transaction.request = Some(request);
                let error = KafkaError {
                    code: code::PURGED_FROM_QUEUE,
                    text: "the transaction was aborted before the record was sent".into(),
                };
                self.fail_offsets(&error, Remedy::Abort);
                self.give_up_pending(&error);
            }
        }
    }

    /// The transaction had failed when the request was made; the front end did not know yet.
    fn refuse(&mut self, request: TransactionRequest) {
        let (error, remedy) = match &self.fatal {
            Some(error) => (error.clone(), Remedy::Fatal),
            None => {
                let text = "the transaction has failed before; abort it".into();
                let error = KafkaError { code: code::STATE, text };
                self.reports.phase(Phase::Failed(error.clone()));
                (error, Remedy::Abort)
            }
        };
        self.done(request, Err(TransactionError { error, remedy }));
    }

    fn fail_offsets(&mut self, error: &KafkaError, remedy: Remedy) {
        let Some(transaction) = &mut self.transaction else { return };
        for offsets in std::mem::take(&mut transaction.offsets) {
            let failure = TransactionError { error: error.clone(), remedy };
            self.done(offsets.request, Err(failure));
        }
    }

    /// Answers everything that was asked about the transaction.
    pub(super) fn fail_requests(&mut self, error: &KafkaError, remedy: Remedy) {
        self.fail_offsets(error, remedy);
        if let Some(request) = self.transaction.as_mut().and_then(|t| t.request.take()) {
            self.done(request, Err(TransactionError { error: error.clone(), remedy }));
        }
    }

    /// The transaction has failed: what waits is given up, and it must be aborted.
    pub(super) fn must_abort(&mut self, error: KafkaError, renew: bool) {
        let Some(transaction) = &mut self.transaction else { return };
        transaction.renew |= renew;
        if self.fatal.is_some() || !transaction.is_running() {
            return;
        }
        transaction.stage = Stage::Failed;
        self.reports.phase(Phase::Failed(error.clone()));
        self.fail_requests(&error, Remedy::Abort);
        self.give_up_pending(&error);
    }

    /// Why batches that are closed now can never be sent.
    pub(super) fn hopeless(&self) -> Option<KafkaError> {
        if let Some(error) = &self.fatal {
            return Some(error.clone());
        }
        let failed = self.transaction.as_ref().is_some_and(Transaction::has_failed);
        failed.then(|| KafkaError {
            code: code::PURGED_FROM_QUEUE,
            text: "the transaction has failed before the record was sent".into(),
        })
    }
}
