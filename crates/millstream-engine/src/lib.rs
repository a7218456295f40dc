//! The engine: what a topology is, and what happens to a record in it.
//!
//! * [`TopologyBuilder`] takes declarations and refuses wrong ones; [`Topology`] is the finished,
//!   immutable graph, cut into [`SubTopology`]s at its repartition topics.
//! * [`Task`] runs one sub-topology on one partition number: it queues record batches and runs
//!   one consumed record at a time, depth first, to the end of all branches. All mutable state is
//!   in it.
//! * [`Output`] takes what comes out, [`Hooks`] what should be told or asked. Time comes in with
//!   records, and as wall-clock time with [`Task::tick`]; nothing here reads a clock.
//! * `operators/` and `windows/` hold one file per operator, window and aggregation, whose heads
//!   settle their semantics.
//!
//! ```text
//!  push(batch) ─► queues ─► step: deserialize ─► operators ─► Output::produce / leaf
//!                                                   │
//!                                                   └─► stores ─► with_stores: checkpoint
//!  discard ◄── back to the last checkpoint: stores, times, positions, queues
//! ```

mod error;
mod functions;
mod hooks;
mod keys;
mod operators;
mod output;
mod record;
mod run;
mod spec;
mod state;
mod task;
pub mod topics;
mod topology;
mod upstream;
mod windows;

pub use error::{RecordError, Stage, TaskError, TopologyError};
pub use functions::{
    HeadersFunction, Late, LateCallback, TimestampExtractor, TopicChooser, WindowTrigger,
};
pub use hooks::{Hooks, LogHooks, Row};
pub use operators::IDLE_AFTER_MS;
pub use output::{Leaf, Output, OutputRecord, ProduceFailure};
pub use record::Record;
pub use spec::{
    Aggregations, AssignSource, ClosingStrategy, Emission, FunctionSpec, GroupByKey, GroupBySpec,
    SinkSpec, SinkTarget, SinkTopic, SourceSpec, WindowDefinition, WindowSpec,
};
pub use state::TaskStore;
pub use task::{Injected, Position, Ran, Step, Task};
pub use topology::{
    InternalTopic, InternalTopicKind, NodeId, SinkTopicId, Source, StoreIndex, StoreKind,
    StoreMedium, StoreSpec, SubTopology, SubTopologyId, TaskId, Topology, TopologyBuilder,
};
pub use windows::{Aggregation, Aggregator, Collector};
