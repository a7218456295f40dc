//! What may be declared, and what the finished topology says of itself.

use std::sync::Arc;

use millstream_engine::topics::TopicConfig;
use millstream_engine::{
    Aggregation, Aggregations, AssignSource, FunctionSpec, InternalTopicKind, NodeId, SourceSpec,
    StoreKind, SubTopologyId, TaskId, TopologyBuilder, TopologyError, WindowDefinition, WindowSpec,
};
use millstream_value::{Expr, Value};

use crate::support::{expanding, function, group_by_column, json_sink, json_source};

fn echo(name: &str) -> FunctionSpec {
    FunctionSpec::new(function(name, |call| Ok(call.value.share())))
}

fn sum() -> WindowSpec {
    WindowSpec::tumbling(60_000, 0, Aggregations::Shortcut(Aggregation::Sum(None)))
}

fn demo() -> TopologyBuilder {
    let mut builder = TopologyBuilder::new("g");
    let orders = builder.source(json_source("orders", 3)).expect("a source");
    let node = builder.filter_expr(orders, Expr::not_null(Expr::column("user"))).expect("a filter");
    let node = builder.group_by(node, group_by_column("user")).expect("a group-by");
    let node = builder.window(node, sum()).expect("a window");
    builder.to_topic(node, json_sink("sums")).expect("a sink");
    builder
        .apply(orders, FunctionSpec::stateful(function("seen", |_| Ok(Value::Null))))
        .expect("a function");
    builder
}

/// T-20, T-21, T-23, D-41: sub-topologies, internal topics, stores, in text and as data. The
/// text is what operators are told apart by between versions of a program.
#[test]
fn t_20_describe_and_internal_topics() {
    let topology = demo().build().expect("a topology");
    assert_eq!(
        topology.describe(),
        r#"sub-topology 0
  source "orders" (3 partitions)
    filter (not (value['user'] is None))
      group_by "user" -> "repartition__g--orders--user"
    apply seen
  store "default" of "orders" (user state, changelog "changelog__g--orders--default")
sub-topology 1
  repartition source "repartition__g--orders--user" (3 partitions)
    window "tumbling_window_60000_sum" (value/Sum; Final by Key, grace 0 ms)
      to_topic "sums"
  store "tumbling_window_60000_sum" of "repartition__g--orders--user" (window, changelog "changelog__g--repartition.orders.user--tumbling_window_60000_sum")
"#
    );
    let names: Vec<_> = topology.internal_topics().iter().map(|t| (&*t.name, t.kind)).collect();
    assert_eq!(
        names,
        [
            ("repartition__g--orders--user", InternalTopicKind::Repartition),
            (
                "changelog__g--repartition.orders.user--tumbling_window_60000_sum",
                InternalTopicKind::Changelog
            ),
            ("changelog__g--orders--default", InternalTopicKind::Changelog),
        ]
    );
    let repartition = &topology.internal_topics()[0].config;
    assert_eq!(repartition.partitions, 3);
    assert_eq!(repartition.settings["retention.ms"], "-1");
    assert_eq!(topology.internal_topics()[1].config.settings["cleanup.policy"], "compact");
    assert_eq!(
        topology.task_of("repartition__g--orders--user", 2),
        Some(TaskId { sub_topology: SubTopologyId(1), partition: 2 })
    );
    let task = TaskId { sub_topology: SubTopologyId(0), partition: 1 };
    let stores: Vec<_> = topology.stores_of(task).map(|s| (&*s.name, s.kind)).collect();
    assert_eq!(stores, [("default", StoreKind::User)]);
    assert!(!topology.sub_topologies()[0].needs_host);
}

/// The fingerprint is that of the program, and changes with it.
#[test]
fn fingerprint() {
    let topology = demo().build().expect("a topology");
    assert_eq!(topology.fingerprint(), demo().build().expect("a topology").fingerprint());
    let mut other = demo();
    let node = other.source(json_source("users", 1)).expect("a source");
    other.print(node, true, false).expect("a node");
    assert_ne!(topology.fingerprint(), other.build().expect("a topology").fingerprint());
}

/// A program may run, declare more, and run again.
#[test]
fn building_twice() {
    let mut builder = demo();
    let before = builder.build().expect("a topology");
    let node = builder.source(json_source("users", 1)).expect("a source");
    builder.to_topic(node, json_sink("copy")).expect("a sink");
    let after = builder.build().expect("a topology");
    assert_eq!(before.sub_topologies().len(), 2);
    assert_eq!(after.sub_topologies().len(), 3);
    assert!(after.describe().starts_with(before.describe()));
    let nothing = TopologyBuilder::new("g").build();
    assert!(matches!(nothing, Err(TopologyError::InvalidOperation(_))));
}

/// D-42: with one partition the record is re-keyed on the spot, under a stream id of its own.
#[test]
fn d_42_group_by_in_place() {
    let mut builder = TopologyBuilder::new("g");
    let orders = builder.source(json_source("orders", 1)).expect("a source");
    let node = builder.group_by(orders, group_by_column("user")).expect("a group-by");
    assert_eq!(builder.stream_id(node), Ok("orders--groupby--user"));
    builder.window(node, sum()).expect("a window");
    let names: Vec<_> = builder.internal_topics().iter().map(|t| t.name.to_string()).collect();
    assert_eq!(names, ["changelog__g--orders--groupby--user--tumbling_window_60000_sum"]);
    assert_eq!(builder.build().expect("a topology").sub_topologies().len(), 1);
}

/// D-43, D-40.
#[test]
fn d_43_limits_of_group_by() {
    for partitions in [1, 3] {
        let mut builder = TopologyBuilder::new("g");
        let orders = builder.source(json_source("orders", partitions)).expect("a source");
        let node = builder.group_by(orders, group_by_column("user")).expect("a group-by");
        let nested = builder.group_by(node, group_by_column("city")).expect_err("grouped");
        assert_eq!(nested.exception_name(), "GroupByNestingLimit");
        let filtered = builder.filter(orders, echo("f")).expect("a filter");
        let twice = builder.group_by(filtered, group_by_column("user")).expect_err("same name");
        assert_eq!(twice.exception_name(), "GroupByDuplicate");
        let empty = builder.group_by(orders, group_by_column("")).expect_err("no name");
        assert_eq!(empty.exception_name(), "ValueError");
        builder.group_by(filtered, group_by_column("city")).expect("another name");
    }
}

/// E-13: one dataframe per topic.
#[test]
fn e_13_duplicate_sources() {
    let mut builder = TopologyBuilder::new("g");
    builder.source(json_source("orders", 1)).expect("a source");
    let twice = builder.source(json_source("orders", 1)).expect_err("the same topic");
    assert_eq!(twice.exception_name(), "StreamingDataFrameDuplicate");
}

/// T-25, D-24, W-11, T-21: state over several topics needs equal partition counts; a stateless
/// concat does not.
#[test]
fn t_25_co_partitioning() {
    let mut builder = TopologyBuilder::new("g");
    let b = builder.source(json_source("b", 2)).expect("a source");
    let a = builder.source(json_source("a", 3)).expect("a source");
    let both = builder.concat(&[b, a]).expect("a stream");
    assert_eq!(builder.stream_id(both), Ok("a--b"));
    builder.filter(both, echo("f")).expect("stateless");
    let stateful = FunctionSpec::stateful(function("s", |_| Ok(Value::Null)));
    let error = builder.apply(both, stateful).expect_err("counts differ");
    assert_eq!(error.exception_name(), "TopicPartitionsMismatch");
    assert!(error.to_string().contains("\"b\" (2), \"a\" (3)"), "{error}");
    assert!(builder.window(both, sum()).is_err());
    // One topic of them alone may.
    builder.window(a, sum()).expect("a window");
    let topology = builder.build().expect("a topology");
    assert_eq!(topology.sub_topologies().len(), 1);
    assert_eq!(topology.sub_topologies()[0].partitions, 3);
    assert_eq!(topology.stores()[0].partitions, 3);
}

/// ST-41: the default store once, however many functions use it.
#[test]
fn st_41_one_default_store() {
    let mut builder = TopologyBuilder::new("g").without_changelogs();
    let source = builder.source(json_source("t", 2)).expect("a source");
    for name in ["one", "two"] {
        let stateful = FunctionSpec::stateful(function(name, |_| Ok(Value::Null)));
        builder.update(source, stateful).expect("a function");
    }
    builder.register_store(source).expect("no-op");
    let topology = builder.build().expect("a topology");
    assert_eq!(topology.stores().len(), 1);
    assert_eq!(topology.stores()[0].changelog_topic, None, "A-08");
    assert!(topology.internal_topics().is_empty());
}

/// D-33, D-34, D-35: what may be used as a filter or a column.
#[test]
fn d_35_chains() {
    let mut builder = TopologyBuilder::new("g");
    let sdf = builder.source(json_source("t", 1)).expect("a source");
    let chain = builder.apply(sdf, echo("a")).expect("a node");
    let chain = builder.apply(chain, echo("b")).expect("a node");
    let sdf2 = builder.assign_chain(sdf, "x", chain).expect("apply nodes only");
    let again = builder.assign_chain(sdf, "x", chain).expect_err("used");
    assert_eq!(again.exception_name(), "InvalidOperation");
    assert!(builder.apply(chain, echo("c")).is_err(), "it ends there");

    let stale = builder.apply(sdf, echo("old")).expect("a node");
    let error = builder.filter_chain(sdf2, stale).expect_err("made before the assignment");
    assert_eq!(error.exception_name(), "InvalidOperation");
    let itself = builder.filter_chain(sdf2, sdf2).expect_err("itself");
    assert_eq!(itself.exception_name(), "InvalidOperation");

    let update = builder.update(sdf2, echo("u")).expect("a node");
    let update = builder.apply(update, echo("v")).expect("a node");
    let error = builder.filter_chain(sdf2, update).expect_err("update inside");
    assert_eq!(error.exception_name(), "ValueError");
    assert!(error.to_string().contains("update functions are not allowed"), "{error}");

    let expand = FunctionSpec::new(expanding("e", |_, _| Ok(())));
    let expanded = builder.expand(sdf2, expand).expect("a node");
    assert_eq!(
        builder.filter_chain(sdf2, expanded).expect_err("expand").exception_name(),
        "ValueError"
    );

    let branched = builder.apply(sdf2, echo("w")).expect("a node");
    builder.filter(branched, echo("x")).expect("a branch");
    let error = builder.filter_chain(sdf2, branched).expect_err("branched");
    assert_eq!(error.exception_name(), "InvalidOperation");
}

/// W-02 to W-07, in this version.
#[test]
fn other_windows_are_not_supported_yet() {
    let mut builder = TopologyBuilder::new("g");
    let sdf = builder.source(json_source("t", 1)).expect("a source");
    let definition = WindowDefinition::Session { inactivity_gap_ms: 5, grace_ms: 0 };
    let error = builder.window(sdf, WindowSpec { definition, ..sum() }).expect_err("not yet");
    assert_eq!(error.to_string(), "a session window is not supported yet");
}

/// Numbers that never were nodes, and topics without partitions.
#[test]
fn wrong_arguments() {
    let mut builder = TopologyBuilder::new("g");
    let constant = AssignSource::Constant(Value::Null);
    assert!(builder.assign(NodeId::from_index(7), "x", constant).is_err());
    let none = SourceSpec { config: TopicConfig::new(0), ..json_source("t", 1) };
    assert!(matches!(builder.source(none), Err(TopologyError::Value(_))));
    let sdf = builder.source(json_source("t", 1)).expect("a source");
    assert!(matches!(builder.fill(sdf, Vec::new()), Err(TopologyError::Value(_))), "D-38");
}

/// Equal operators are told apart, and a name does not depend on its neighbours.
#[test]
fn operator_names() {
    let mut builder = TopologyBuilder::new("g");
    let sdf = builder.source(json_source("t", 1)).expect("a source");
    let one = builder.apply(sdf, echo("<lambda>")).expect("a node");
    let two = builder.filter(one, echo("f")).expect("a node");
    builder.apply(two, echo("<lambda>")).expect("a node");
    let topology = Arc::new(builder.build().expect("a topology"));
    let text = topology.describe();
    assert!(text.contains("apply <lambda>\n") && text.contains("apply <lambda> (2)\n"), "{text}");
}
