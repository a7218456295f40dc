//! What a consumer tells of itself.

use std::time::Duration;

use serde_json::{Value, json};

use super::brokers::{World, from, settings, tp};
use super::groups::group;
use crate::consumer::{Bounds, ConsumerEvent, StartOffset};
use crate::settings::{ConnectionSettings, ConsumerSettings};

fn world(settings: ConsumerSettings) -> World {
    let connection = ConnectionSettings {
        statistics_interval: Some(Duration::from_secs(10)),
        ..ConnectionSettings::default()
    };
    World::with(connection, settings, Bounds::default(), 2, 1)
}

/// The statistics since the last time.
fn told(world: &mut World) -> Vec<Value> {
    let told = world.events.drain(..).filter_map(|event| match event {
        ConsumerEvent::Statistics(json) => Some(serde_json::from_str(&json).unwrap()),
        _ => None,
    });
    told.collect()
}

fn picked(told: &Value, fields: &[&str]) -> Vec<Value> {
    fields.iter().map(|field| told[field].clone()).collect()
}

#[test]
fn offsets_amounts_and_brokers_are_told_at_the_interval() {
    let mut world = world(settings());
    world.state().partition(0).write(6, None);
    world.consumer.assign(&[from(0, StartOffset::At(2)), from(1, StartOffset::At(0))]).unwrap();
    world.run_ms(25_000);
    let all = told(&mut world);
    assert_eq!(all.len(), 2, "{all:?}");
    let last = &all[1];
    assert_eq!(
        picked(last, &["type", "rxmsgs", "cgrp"]),
        [json!("consumer"), json!(4), Value::Null]
    );
    let partitions = &last["topics"]["t"]["partitions"];
    let fields =
        ["fetch_state", "next_offset", "app_offset", "hi_offset", "consumer_lag", "rxmsgs"];
    let expected = [json!("active"), json!(6), json!(6), json!(6), json!(-1), json!(4)];
    assert_eq!(picked(&partitions["0"], &fields), expected, "{last}");
    assert_eq!(partitions["0"]["committed_offset"], -1001);
    assert_eq!(partitions["1"]["rxmsgs"], 0);
    let leader = partitions["0"]["leader"].as_i64().unwrap();
    let broker = &last["brokers"][format!("b:{}/{leader}", 9000 + leader)];
    assert_eq!(picked(broker, &["state", "source"]), [json!("UP"), json!("learned")], "{last}");
    assert_eq!(broker["toppars"]["t-0"], json!({ "topic": "t", "partition": 0 }));
    assert!(broker["req"]["Fetch"].as_u64().unwrap() > 1 && broker["rtt"]["cnt"] != 0, "{broker}");
    // Written, fetched, and not handed out.
    world.consumer.hold_records(true);
    world.state().partition(0).write(3, None);
    world.run_ms(10_000);
    let held = told(&mut world).remove(0);
    let partition = &held["topics"]["t"]["partitions"]["0"];
    assert_eq!(picked(partition, &["app_offset", "hi_offset"]), [json!(6), json!(9)], "{held}");
    assert!(partition["fetchq_size"].as_u64().unwrap() > 0);
}

#[test]
fn a_group_tells_of_its_member_and_of_what_is_committed() {
    let mut world = world(group(None));
    world.state().partition(0).write(6, None);
    world.consumer.subscribe(&["t".to_owned()]).unwrap();
    while !world.events.iter().any(|event| matches!(event, ConsumerEvent::Assigned(_))) {
        world.run_ms(100);
    }
    world.consumer.ack_assigned(&[from(0, StartOffset::Beginning)]).unwrap();
    world.run_ms(1_000);
    world.consumer.commit(&[(tp(0), 4)]).unwrap();
    world.run_ms(10_000);
    let last = told(&mut world).pop().unwrap();
    let fields = ["state", "join_state", "rebalance_cnt", "assignment_size"];
    let expected = [json!("up"), json!("steady"), json!(1), json!(2)];
    assert_eq!(picked(&last["cgrp"], &fields), expected, "{last}");
    let partition = &last["topics"]["t"]["partitions"]["0"];
    let lag = picked(partition, &["committed_offset", "consumer_lag"]);
    assert_eq!(lag, [json!(4), json!(2)], "{last}");
}

/// `docs/statistics.md` names each field that is told.
#[test]
fn the_page_has_every_field() {
    let page = include_str!("../../../../../docs/statistics.md");
    let mut world = world(group(None));
    world.consumer.assign(&[from(0, StartOffset::At(0))]).unwrap();
    world.run_ms(10_500);
    let all = told(&mut world).remove(0);
    let partition = &all["topics"]["t"]["partitions"]["0"];
    let broker = all["brokers"].as_object().unwrap().values().next().unwrap();
    for told in [&all, &all["topics"]["t"], partition, broker, &broker["rtt"], &all["cgrp"]] {
        for field in told.as_object().unwrap().keys() {
            assert!(page.contains(&format!("`{field}`")), "{field} is not in docs/statistics.md");
        }
    }
}
