//! What a record costs in the engine alone, without a client: `cargo run --release --example
//! step_cost -p millstream-engine [-- part of a name]`. Prints nanoseconds per record, the best of
//! several rounds.

use std::sync::Arc;
use std::time::Instant;

use millstream_engine::topics::TopicConfig;
use millstream_engine::{
    Aggregation, Aggregations, AssignSource, LogHooks, Output, OutputRecord, ProduceFailure,
    SinkSpec, SinkTarget, SinkTopic, SourceSpec, SubTopologyId, Task, TaskId, Topology,
    TopologyBuilder, WindowSpec,
};
use millstream_formats::{deserializer_by_name, serializer_by_name};
use millstream_state::{CacheSettings, MemoryBackend, MemoryBudget};
use millstream_types::{BatchBuilder, RecordBatch, TimestampType, TopicPartition};
use millstream_value::{BinaryOp, Expr, InlineHost};

/// Records of a batch: about what one fetch brings, so that it is in the processor's cache as it
/// is after a fetch.
const RECORDS: usize = 5_000;
const ROUNDS: usize = 200;
const KEYS: usize = 1_000;

/// Counts what comes out; a producer would copy it.
#[derive(Default)]
struct Counting {
    records: u64,
    bytes: u64,
}

impl Output for Counting {
    fn produce(&mut self, record: OutputRecord<'_>) -> Result<(), ProduceFailure> {
        self.records += 1;
        self.bytes += record.value.map_or(0, |value| value.len() as u64);
        Ok(())
    }
}

fn source() -> SourceSpec {
    SourceSpec {
        topic: "in".to_owned(),
        config: TopicConfig::new(1),
        key_deserializer: deserializer_by_name("bytes").expect("a format"),
        value_deserializer: deserializer_by_name("json").expect("a format"),
        timestamp_extractor: None,
    }
}

fn sink() -> SinkSpec {
    SinkSpec {
        target: SinkTarget::Topic(Arc::new(SinkTopic {
            name: "out".into(),
            key_serializer: serializer_by_name("bytes").expect("a format"),
            value_serializer: serializer_by_name("json").expect("a format"),
        })),
        key: None,
    }
}

fn pass() -> Topology {
    let mut builder = TopologyBuilder::new("bench");
    let node = builder.source(source()).expect("a source");
    builder.to_topic(node, sink()).expect("a sink");
    builder.build().expect("a topology")
}

fn filter_and_assign() -> Topology {
    let mut builder = TopologyBuilder::new("bench");
    let node = builder.source(source()).expect("a source");
    let keep = Expr::binary(BinaryOp::Gt, Expr::column("price"), Expr::constant(-1));
    let node = builder.filter_expr(node, keep).expect("a filter");
    let total = Expr::binary(BinaryOp::Mul, Expr::column("price"), Expr::column("quantity"));
    let node = builder.assign(node, "total", AssignSource::Expr(total)).expect("an assignment");
    builder.to_topic(node, sink()).expect("a sink");
    builder.build().expect("a topology")
}

fn tumbling(list: &[(&str, Aggregation)]) -> Topology {
    let mut builder = TopologyBuilder::new("bench");
    let node = builder.source(source()).expect("a source");
    let aggregations = match list {
        [(_, only)] => Aggregations::Shortcut(only.clone()),
        list => {
            Aggregations::Columns(list.iter().map(|(n, a)| ((*n).to_owned(), a.clone())).collect())
        }
    };
    builder.window(node, WindowSpec::tumbling(60_000, 0, aggregations)).expect("a window");
    builder.build().expect("a topology")
}

fn batch(from: usize) -> RecordBatch {
    let mut batch = BatchBuilder::new(TopicPartition::new("in", 0));
    for at in from..from + RECORDS {
        let key = format!("customer-{:05}", at % KEYS);
        let value = format!(
            r#"{{"order_id": {at}, "customer": "{key}", "price": {}.5, "quantity": {}, "city": "New York", "status": "shipped", "note": "leave at the door, please ring twice"}}"#,
            at % 90,
            at % 7
        );
        batch.push(
            at as i64,
            at as i64 * 5,
            TimestampType::CreateTime,
            -1,
            Some(key.as_bytes()),
            Some(value.as_bytes()),
            [],
        );
    }
    batch.finish()
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn measure(name: &str, topology: Topology) {
    if std::env::args().nth(1).is_some_and(|only| !name.contains(&only)) {
        return;
    }
    let topology = Arc::new(topology);
    let id = TaskId { sub_topology: SubTopologyId(0), partition: 0 };
    let cache = CacheSettings { budget: MemoryBudget::new(256 << 20), hash_seed: 1 };
    let stores = topology
        .stores_of(id)
        .map(|store| store.open(0, Arc::new(MemoryBackend::new()), &cache).expect("it is empty"))
        .collect();
    let mut task = Task::new(Arc::clone(&topology), id, stores, Arc::new(InlineHost));
    let mut output = Counting::default();
    let mut best = f64::MAX;
    for round in 0..ROUNDS {
        task.push(batch(round * RECORDS));
        let start = Instant::now();
        task.run_until(&mut output, &mut LogHooks, &mut |_, _| true).expect("no record fails");
        best = best.min(start.elapsed().as_nanos() as f64 / RECORDS as f64);
        task.checkpointed();
    }
    println!(
        "{name:<40} {best:6.0} ns/record   ({} outputs, {} bytes)",
        output.records, output.bytes
    );
}

fn main() {
    let price = || Some("price".to_owned());
    measure("to_topic", pass());
    measure("filter + assign + to_topic", filter_and_assign());
    measure("tumbling count", tumbling(&[("n", Aggregation::Count(None))]));
    measure("tumbling sum of a JSON column", tumbling(&[("sum", Aggregation::Sum(price()))]));
    measure(
        "tumbling count, mean, max",
        tumbling(&[
            ("n", Aggregation::Count(None)),
            ("mean", Aggregation::Mean(price())),
            ("max", Aggregation::Max(price())),
        ]),
    );
}
