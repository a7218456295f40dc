//! Three brokers, of which the one that matters at the moment is killed.

use std::process::{Child, Command};
use std::time::Duration;

use millstream_client::admin::Admin as OwnAdmin;
use millstream_client::producer::{
    GroupMetadata, Partition, ProduceRecord, Producer as OwnProducer, ProducerEvent as OwnEvent,
    TransactionOffset, TransactionRequest,
};
use millstream_client::{Remedy, settings};
use millstream_kafka::{PartitionStart, Properties, StartOffset};
use millstream_types::HeadersView;

use crate::numbers::*;
use crate::support::*;

/// A cluster that loses one broker at a time.
struct Nodes {
    brokers: String,
    kill: String,
    start: String,
}

/// `None`: the test is to be left out, and it was said.
fn nodes() -> Option<Nodes> {
    let brokers = env("MILLSTREAM_TEST_BROKERS")?;
    let told = |name| std::env::var(name).ok();
    let commands = told("MILLSTREAM_TEST_NODE_KILL").zip(told("MILLSTREAM_TEST_NODE_START"));
    let Some((kill, start)) = commands else {
        not_applicable("there is one broker, and nobody to take its place");
        return None;
    };
    // A test that failed may have left one dead.
    shell(&env("MILLSTREAM_TEST_BROKER_START")?);
    Some(Nodes { brokers, kill, start })
}

/// Whether the kill is done; panics if it failed.
fn is_dead(kill: &mut Child) -> bool {
    kill.try_wait().unwrap().inspect(|status| assert!(status.success(), "{status}")).is_some()
}

impl Nodes {
    fn begin_kill(&self, node: i32) -> Child {
        Command::new("sh").arg("-c").arg(format!("{} {node}", self.kill)).spawn().unwrap()
    }

    /// Starts the broker and waits until every partition of `topic` has all of its copies.
    fn restore(&self, node: i32, topic: &str) {
        shell(&format!("{} {node}", self.start));
        until("all copies to be in sync", || {
            let found = admin(&self.brokers).describe_topics(&[topic], LIMIT).unwrap().remove(0);
            found.unwrap().partitions.iter().all(|found| found.in_sync.len() == 3).then_some(())
        });
    }

    fn leader(&self, topic: &str) -> i32 {
        until("a leader", || {
            let found = admin(&self.brokers).describe_topics(&[topic], LIMIT).unwrap().remove(0);
            found.ok()?.partitions[0].leader
        })
    }

    fn coordinator(&self, group: &str) -> i32 {
        until("the coordinator", || {
            let found = admin(&self.brokers).describe_groups(&[group], LIMIT).unwrap().remove(0);
            found.ok()?.coordinator
        })
    }
}

/// With all copies to acknowledge and five requests in flight: nothing lost, doubled or reordered,
/// neither for the producer nor for a consumer that reads on. `MILLSTREAM_TEST_REPEATS` leaders
/// die one after the other.
#[test]
fn the_leader_dies_while_producing() {
    let Some(nodes) = nodes() else { return };
    let name = topic(&nodes.brokers, "leader", 1);
    let mut producer = busy_producer(&nodes.brokers);
    let mut consumer = busy_consumer(&nodes.brokers, None);
    let start = PartitionStart::new(tp(&name, 0), StartOffset::Beginning);
    consumer.assign(&[start]).unwrap();
    let handle = producer.topic(&name).unwrap();
    let (mut next, mut read) = (0, 0);
    let mut events = Vec::new();
    for _ in 0..repeats(1) {
        let victim = nodes.leader(&name);
        let mut kill = nodes.begin_kill(victim);
        // Before, while and after it dies.
        let mut after = 0;
        until("records behind the kill", || {
            produce(&mut *producer, handle, &mut next, 20);
            producer.flush(Duration::from_millis(2), &mut events);
            while producer.in_flight() > 400 {
                producer.flush(Duration::from_millis(20), &mut events);
            }
            after += u32::from(is_dead(&mut kill));
            (after >= 20).then_some(())
        });
        flush(&mut *producer);
        assert_delivered(&events);
        assert_ne!(nodes.leader(&name), victim);
        expect_numbers(&mut *consumer, &name, read..next);
        read = next;
        nodes.restore(victim, &name);
    }
    assert_numbers(&mut *busy_consumer(&nodes.brokers, None), &name, next);
}

/// The coordinator of a group dies while the group commits: what was acknowledged is kept, and
/// commits go on with another one.
#[test]
fn the_coordinator_dies_while_committing() {
    let Some(nodes) = nodes() else { return };
    let name = topic(&nodes.brokers, "coordinator", 1);
    let group = unique("coordinator-group");
    let partition = tp(&name, 0);
    let mut consumer = busy_consumer(&nodes.brokers, Some(&group));
    consumer.assign(&[PartitionStart::new(partition.clone(), StartOffset::At(0))]).unwrap();
    let mut offset = 0;
    for _ in 0..repeats(1) {
        offset += 1;
        assert_eq!(commit(&mut *consumer, &partition, offset), Ok(()));
        let victim = nodes.coordinator(&group);
        let mut kill = nodes.begin_kill(victim);
        let mut acknowledged = offset;
        until("the coordinator to be dead", || {
            offset += 1;
            if commit(&mut *consumer, &partition, offset).is_ok() {
                acknowledged = offset;
            }
            is_dead(&mut kill).then_some(())
        });
        // Before any further commit could make up for one that was lost.
        let committed = until("what is committed", || {
            consumer.committed(std::slice::from_ref(&partition), LIMIT).ok()
        });
        let kept = committed[0].expect("one was acknowledged");
        assert!((acknowledged..=offset).contains(&kept), "{kept} of {acknowledged}..={offset}");
        assert_ne!(nodes.coordinator(&group), victim);
        until("a commit behind the kill", || {
            offset += 1;
            commit(&mut *consumer, &partition, offset).ok()
        });
        let committed = consumer.committed(std::slice::from_ref(&partition), LIMIT);
        assert_eq!(committed, Ok(vec![Some(offset)]));
        nodes.restore(victim, &name);
    }
    assert!(consumer.close(LIMIT));
}

/// Waits for the answer to a request about a transaction. True: done; false: it is to be aborted.
fn answered(producer: &mut OwnProducer, request: TransactionRequest) -> bool {
    let mut events = Vec::new();
    let result = until("an answer", || {
        producer.flush(Duration::from_millis(10), &mut events);
        producer.poll(&mut events);
        events.drain(..).find_map(|event| match event {
            OwnEvent::TransactionDone { request: done, result } if done == request => Some(result),
            OwnEvent::Fatal(error) => panic!("{error}"),
            _ => None,
        })
    });
    match result {
        Err(error) if error.remedy == Remedy::Fatal => panic!("{error}"),
        other => other.is_ok(),
    }
}

/// The coordinator of a transaction dies inside of it, before the offsets are sent and the commit:
/// every number is committed once, with the offset that goes with it.
#[test]
fn the_coordinator_dies_inside_a_transaction() {
    let Some(nodes) = nodes() else { return };
    if is_librdkafka() {
        return not_applicable("our producer on librdkafka offers no transactions");
    }
    let name = topic(&nodes.brokers, "transaction", 1);
    let (id, group) = (unique("transaction-id"), unique("transaction-group"));
    let extra = [
        ("bootstrap.servers", nodes.brokers.as_str()),
        ("transactional.id", &id),
        ("linger.ms", "1"),
    ];
    let read = settings::producer(extra).unwrap();
    let mut producer = OwnProducer::start(&read.connection, &read.own).unwrap();
    let handle = producer.topic(&name).unwrap();
    let started = producer.init_transactions().unwrap();
    assert!(answered(&mut producer, started));
    let mut transaction = |numbers: std::ops::Range<u32>, meanwhile: &mut dyn FnMut()| {
        producer.begin_transaction().unwrap();
        for number in numbers.clone() {
            let text = number.to_string();
            let record = ProduceRecord {
                topic: handle,
                partition: Partition::At(0),
                key: None,
                value: Some(text.as_bytes()),
                headers: HeadersView::default(),
                timestamp: None,
            };
            producer.produce(&record).unwrap();
        }
        producer.flush(Duration::from_millis(100), &mut Vec::new());
        meanwhile();
        let offset = TransactionOffset {
            partition: tp(&name, 0),
            offset: i64::from(numbers.end),
            leader_epoch: None,
            metadata: None,
        };
        let member = GroupMetadata {
            group_id: group.clone(),
            generation_id: -1,
            member_id: String::new(),
            group_instance_id: None,
        };
        let done = producer.send_offsets(vec![offset], member).and_then(|request| {
            if !answered(&mut producer, request) {
                return Ok(false);
            }
            let request = producer.commit_transaction()?;
            Ok(answered(&mut producer, request))
        });
        // A transaction that has failed refuses to go on, and is aborted as well.
        let done = done.unwrap_or(false);
        if !done {
            let request = producer.abort_transaction().unwrap();
            assert!(answered(&mut producer, request));
        }
        done
    };
    let coordinator = || {
        let find = settings::admin([("bootstrap.servers", &nodes.brokers)]).unwrap();
        let mut admin = OwnAdmin::start(&find.connection).unwrap();
        until("the coordinator", || {
            let found = admin.describe_transactions(&[&id], LIMIT).ok()?.remove(0);
            Some(found.ok()?.coordinator)
        })
    };
    let mut next = 0;
    for _ in 0..repeats(1) {
        assert!(transaction(next..next + 20, &mut || ()));
        next += 20;
        let victim = coordinator();
        let done = transaction(next..next + 20, &mut || {
            let mut kill = nodes.begin_kill(victim);
            assert!(kill.wait().unwrap().success());
        });
        next += if done { 20 } else { 0 };
        until("a transaction behind the kill", || {
            transaction(next..next + 20, &mut || ()).then_some(())
        });
        next += 20;
        assert_ne!(coordinator(), victim);
        nodes.restore(victim, &name);
    }
    let extra = Properties::from([("isolation.level", "read_committed")]);
    let config = consumer_config(&nodes.brokers, Some(&group), &extra);
    let mut consumer = clients().consumer(&config).unwrap();
    assert_numbers(&mut *consumer, &name, next);
    let committed = consumer.committed(&[tp(&name, 0)], LIMIT);
    assert_eq!(committed, Ok(vec![Some(i64::from(next))]));
    assert!(consumer.close(LIMIT));
}
