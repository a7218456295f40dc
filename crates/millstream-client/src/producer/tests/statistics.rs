//! What a producer tells of itself.

use std::time::Duration;

use kafka_protocol::messages::ApiKey;
use serde_json::Value;

use super::cluster::{Cluster, Fate, connection_settings};
use crate::producer::{Producer, ProducerEvent};
use crate::settings::{ConnectionSettings, ProducerSettings};

const INTERVAL: Duration = Duration::from_secs(10);

fn cluster(settings: &ProducerSettings) -> Cluster {
    let connection =
        ConnectionSettings { statistics_interval: Some(INTERVAL), ..connection_settings() };
    Cluster::with(&connection, settings, 3, 1)
}

/// The statistics since the last time.
fn told(cluster: &mut Cluster) -> Vec<Value> {
    let told = cluster.events.drain(..).filter_map(|event| match event {
        ProducerEvent::Statistics(json) => Some(serde_json::from_str(&json).unwrap()),
        _ => None,
    });
    told.collect()
}

#[test]
fn they_come_at_their_interval_and_add_up() {
    let mut cluster = cluster(&ProducerSettings::default());
    cluster.run_for(Duration::from_secs(1));
    for number in 0..30 {
        cluster.produce((number % 2) as i32, number).unwrap();
    }
    cluster.run_for(Duration::from_secs(35));
    let all = told(&mut cluster);
    assert_eq!(all.len(), 3, "{all:?}");
    let last = &all[2];
    assert_eq!(last["type"], "producer");
    assert_eq!(last["name"], "millstream#producer-1");
    assert_eq!((&last["msg_cnt"], &last["txmsgs"]), (&0.into(), &30.into()));
    assert!(all.iter().zip(&all[1..]).all(|(a, b)| a["age"].as_u64() < b["age"].as_u64()));
    let sum = |objects: &Value, name: &str| -> u64 {
        objects.as_object().unwrap().values().map(|one| one[name].as_u64().unwrap()).sum()
    };
    let partitions = &last["topics"]["t"]["partitions"];
    assert_eq!((sum(partitions, "txmsgs"), partitions.as_object().unwrap().len()), (30, 3));
    assert_eq!(sum(partitions, "txbytes"), last["txmsg_bytes"].as_u64().unwrap());
    for (of_all, of_one) in [("tx", "tx"), ("tx_bytes", "txbytes"), ("rx_bytes", "rxbytes")] {
        assert_eq!(sum(&last["brokers"], of_one), last[of_all].as_u64().unwrap(), "{of_one}");
    }
    // A window begins anew, a counter does not.
    let count = |told: &Value| told["topics"]["t"]["batchcnt"]["cnt"].as_u64().unwrap();
    assert_eq!((count(&all[0]), count(last)), (2, 0));
}

/// Records that wait, records that are out, and none any more.
#[test]
fn what_waits_and_what_is_out_is_told() {
    let settings = ProducerSettings { linger: Duration::from_secs(15), ..Default::default() };
    let mut cluster = cluster(&settings);
    cluster.rule = Box::new(|asked, _| match asked.key {
        ApiKey::Produce => Fate::Answered(10_000),
        _ => Fate::Answered(5),
    });
    cluster.topic();
    cluster.run_for(Duration::from_secs(1));
    for number in 0..4 {
        cluster.produce(1, number).unwrap();
    }
    cluster.run_for(Duration::from_secs(10));
    let waiting = told(&mut cluster).remove(0);
    let partition = &waiting["topics"]["t"]["partitions"]["1"];
    assert_eq!((&partition["msgq_cnt"], &waiting["msg_cnt"]), (&4.into(), &4.into()));
    assert_eq!((&partition["leader"], &waiting["txmsgs"]), (&2.into(), &0.into()));
    cluster.run_for(Duration::from_secs(10));
    let out = told(&mut cluster).remove(0);
    let partition = &out["topics"]["t"]["partitions"]["1"];
    assert_eq!((&partition["msgs_inflight"], &partition["txmsgs"]), (&4.into(), &4.into()));
    assert_eq!(partition["msgq_cnt"], 0);
    assert_eq!(out["topics"]["t"]["batchcnt"]["sum"], 4);
    let leader = &out["brokers"]["b2:9002/2"];
    assert_eq!((&leader["state"], &leader["waitresp_cnt"]), (&"UP".into(), &1.into()), "{out}");
    assert_eq!(leader["req"]["Produce"], 1);
    // It has lingered for 15 s of virtual time.
    assert!((15_000_000..15_010_000).contains(&leader["int_latency"]["min"].as_u64().unwrap()));
    assert_eq!(leader["toppars"]["t-1"]["partition"], 1);
    cluster.run_for(Duration::from_secs(10));
    let done = told(&mut cluster).remove(0);
    assert_eq!((&done["msg_cnt"], &done["msg_size"]), (&0.into(), &0.into()));
    let rtt = &done["brokers"]["b2:9002/2"]["rtt"];
    let took = rtt["max"].as_u64().unwrap();
    assert!(rtt["cnt"] == 1 && (10_000_000..10_010_000).contains(&took), "{done}");
    assert_eq!(done["eos"]["producer_id"], cluster.producer_id.0);
}

#[test]
fn what_nobody_fetches_gives_way_and_without_an_interval_nothing_comes() {
    let mut cluster = cluster(&ProducerSettings::default());
    let machine = cluster.producer.machine();
    for _ in 0..5 {
        cluster.clock.advance(INTERVAL);
        machine.lock().unwrap().advance(cluster.now());
    }
    cluster.step();
    assert_eq!(told(&mut cluster).len(), 1);
    let mut silent = Cluster::new(&ProducerSettings::default(), 1, 1);
    silent.produce(0, 0).unwrap();
    silent.run_for(Duration::from_secs(3600));
    assert_eq!(told(&mut silent), [] as [Value; 0]);
}

/// As librdkafka's are, clients of a process are told apart; no broker is needed for that.
#[test]
fn clients_of_a_process_have_names_of_their_own() {
    let connection = ConnectionSettings {
        bootstrap: vec![("127.0.0.1".into(), 1)],
        statistics_interval: Some(Duration::from_millis(1)),
        ..ConnectionSettings::default()
    };
    let name = || {
        let mut producer = Producer::start(&connection, &ProducerSettings::default()).unwrap();
        let (mut events, mut reports) = (Vec::new(), Vec::new());
        for _ in 0..6000 {
            producer.poll_reports(Duration::from_millis(10), &mut reports).unwrap();
            producer.poll(&mut events);
            for event in events.drain(..) {
                if let ProducerEvent::Statistics(json) = event {
                    let told: Value = serde_json::from_str(&json).unwrap();
                    return told["name"].as_str().unwrap().to_owned();
                }
            }
        }
        panic!("no statistics come");
    };
    let (first, second) = (name(), name());
    assert!(first.starts_with("millstream#producer-") && first != second, "{first}, {second}");
}
