//! One record's way through the operators: depth first, by recursion.

use std::sync::Arc;

use millstream_types::Timestamp;
use millstream_value::{Call, Failure, Host, RecordContext, StateAccess};

use crate::hooks::{Hooks, Row};
use crate::operators::RepartitionTime;
use crate::output::{Leaf, Output, OutputRecord};
use crate::record::Record;
use crate::state::Stores;
use crate::topology::{Node, NodeId, StoreIndex, Topology};
use crate::windows::Scratch;
use crate::{RecordError, Stage, TaskError};

/// What changes while a task runs, apart from its queues and positions.
#[derive(Default)]
pub(crate) struct TaskState {
    pub(crate) stores: Stores,
    pub(crate) windows: Scratch,
    pub(crate) buffers: Buffers,
    /// For repartition sinks, by the number of their topic.
    pub(crate) repartition: Vec<RepartitionTime>,
}

/// Where outputs are serialized: kept, so that an output allocates nothing.
#[derive(Default)]
pub(crate) struct Buffers {
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
    pub(crate) headers: Vec<u8>,
}

/// Gives the record at hand once more, as it was read.
pub(crate) type Reread<'a> = dyn Fn() -> Option<Record> + 'a;

/// Everything an operator may use while a record runs.
pub(crate) struct Run<'a> {
    pub(crate) topology: &'a Topology,
    pub(crate) partition: i32,
    pub(crate) state: &'a mut TaskState,
    pub(crate) context: &'a RecordContext,
    pub(crate) output: &'a mut dyn Output,
    pub(crate) wants_leaves: bool,
    pub(crate) hooks: &'a mut dyn Hooks,
    pub(crate) host: &'a dyn Host,
    pub(crate) reread: &'a Reread<'a>,
    /// How far all upstream partitions have come (`upstream.rs`).
    pub(crate) low: Timestamp,
    /// Records that reached the end of a branch.
    pub(crate) outputs: u64,
    /// The operator that failed.
    pub(crate) failed_at: Option<NodeId>,
    /// A failure that the callbacks were asked about and did not suppress: it ends the run as it
    /// is, and nobody is asked again on its way up.
    pub(crate) verdict: Option<TaskError>,
}

impl<'a> Run<'a> {
    /// Runs a node and everything behind it.
    pub(crate) fn enter(&mut self, id: NodeId, record: &mut Record) -> Result<(), Failure> {
        let topology = self.topology;
        let node = &topology.nodes[id.at()];
        let outcome = node.operator.run(node, record, self);
        if outcome.is_err() && self.failed_at.is_none() {
            // The innermost comes first.
            self.failed_at = Some(id);
        }
        outcome
    }

    /// Hands a record to the nodes behind `node`.
    pub(crate) fn forward(&mut self, node: &Node, record: &mut Record) -> Result<(), Failure> {
        match &node.children[..] {
            [] => {
                self.leaf(record);
                Ok(())
            }
            children => self.branch(children, record),
        }
    }

    /// The first child gets the record itself, each further one a copy that was taken before
    /// any child ran (D-04). A copy that is copied again was not touched in between.
    fn branch(&mut self, children: &[NodeId], record: &mut Record) -> Result<(), Failure> {
        match children {
            [] => Ok(()),
            [only] => self.enter(*only, record),
            [first, rest @ ..] => {
                let mut copy = record.branch()?;
                self.enter(*first, record)?;
                self.branch(rest, &mut copy)
            }
        }
    }

    fn leaf(&mut self, record: &mut Record) {
        self.outputs += 1;
        if self.wants_leaves {
            self.output.leaf(Leaf {
                value: &mut record.value,
                key: &mut record.key,
                timestamp: record.timestamp,
                headers: &record.headers,
                context: self.context,
            });
        }
    }

    /// The arguments of a user function; with the state of the record's key, if there is a store.
    pub(crate) fn call<'r>(
        &self,
        record: &'r mut Record,
        store: Option<StoreIndex>,
    ) -> Result<Call<'r>, Failure>
    where
        'a: 'r,
    {
        let state = match store {
            Some(store) => Some(self.state_of(store, record)?),
            None => None,
        };
        Ok(Call {
            value: &mut record.value,
            key: &mut record.key,
            timestamp: record.timestamp,
            headers: &mut record.headers,
            state,
            context: self.context,
        })
    }

    fn state_of(
        &self,
        store: StoreIndex,
        record: &Record,
    ) -> Result<Box<dyn StateAccess>, Failure> {
        self.state.stores.state(store, &record.key, record.timestamp)
    }

    /// Hands a serialized record to the producer; a refusal goes through
    /// [`Run::producer_failure`].
    pub(crate) fn produce(
        &mut self,
        operator: &Arc<str>,
        record: OutputRecord<'_>,
    ) -> Result<(), Failure> {
        match self.output.produce(record) {
            Ok(()) => Ok(()),
            Err(refusal) => {
                let message = format!(
                    "the record for \"{}\" was not taken: {}",
                    record.topic, refusal.message
                );
                let failure = Failure::new(millstream_value::FailureKind::Producer, message);
                self.producer_failure(operator, failure)
            }
        }
    }

    /// Asks what to do about a failed result of an operator that has several at once (E-02), so
    /// that one of them does not take the others along. `Ok`: it is left out, and the next one
    /// is due. `Err` must be handed up without doing anything more.
    #[cold]
    pub(crate) fn processing_failure(
        &mut self,
        node: &Node,
        failure: Failure,
    ) -> Result<(), Failure> {
        if self.verdict.is_some() || failure.kind == millstream_value::FailureKind::Interrupt {
            return Err(failure);
        }
        let operator = match self.failed_at.take() {
            Some(inner) => &self.topology.nodes[inner.at()].name,
            None => &node.name,
        };
        let mut error = RecordError {
            stage: Stage::Process,
            failure,
            topic_partition: self.context.topic_partition.clone(),
            offset: self.context.offset,
            operator: Arc::clone(operator),
        };
        let row = Row { record: (self.reread)(), context: self.context };
        let said = self.hooks.on_processing_error(&mut error, row);
        let (verdict, text) = match said {
            Ok(true) => return Ok(()),
            Ok(false) => {
                let text = error.failure.message.clone();
                (TaskError::Record(Box::new(error)), text)
            }
            Err(raised) => {
                let text = raised.message.clone();
                (TaskError::Hook(raised), text)
            }
        };
        self.verdict = Some(verdict);
        Err(Failure::new(millstream_value::FailureKind::Host, text))
    }

    /// Asks what to do about an output that could not be serialized or produced (E-03). `Ok`: it
    /// is left out, and the record goes on.
    pub(crate) fn producer_failure(
        &mut self,
        operator: &Arc<str>,
        failure: Failure,
    ) -> Result<(), Failure> {
        if failure.kind == millstream_value::FailureKind::Interrupt {
            return Err(failure);
        }
        let mut error = RecordError {
            stage: Stage::Produce,
            failure,
            topic_partition: self.context.topic_partition.clone(),
            offset: self.context.offset,
            operator: Arc::clone(operator),
        };
        let row = Row { record: (self.reread)(), context: self.context };
        match self.hooks.on_producer_error(&mut error, row)? {
            true => Ok(()),
            false => Err(error.failure),
        }
    }
}
