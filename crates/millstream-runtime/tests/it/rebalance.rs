//! A second process of the same program shares the partitions; when it goes, the first one takes
//! over with the state restored.

use std::time::Duration;

use millstream_kafka::Clients;
use millstream_runtime::{StopHandle, StopReason};

use crate::cluster::{Cluster, Place, check_counts, on_both_brokers};

const RECORDS: i64 = 3_000;
const KEYS: i64 = 8;

on_both_brokers!(two_processes_share_and_one_takes_over);

fn two_processes_share_and_one_takes_over(place: &Place) {
    let cluster = Cluster::start(place);
    let (first, second) = (StopHandle::new(), StopHandle::new());
    let spawn = |stop: StopHandle, state: &'static str| {
        let (storage, config) = (cluster.storage(state), cluster.config());
        let cluster = &cluster;
        move || cluster.run_with(config, &Clients, storage, stop, Duration::ZERO)
    };
    std::thread::scope(|scope| {
        let _ends_on_panic = (StopOnDrop(first.clone()), StopOnDrop(second.clone()));
        let one = scope.spawn(spawn(first.clone(), "one"));
        cluster.feed(0, RECORDS, KEYS);
        let two = scope.spawn(spawn(second.clone(), "two"));
        // Both have joined once the second has made something.
        wait("an output for each of the first records", || {
            cluster.outputs().values().map(Vec::len).sum::<usize>() as i64 >= RECORDS
        });
        let mut fed = RECORDS;
        wait("a partition of the second process", || {
            cluster.feed(fed, fed + KEYS, KEYS);
            fed += KEYS;
            second_share(&cluster) > 0
        });
        cluster.feed(fed, fed + RECORDS, KEYS);
        fed += RECORDS;
        second.stop();
        let report = two.join().expect("no panic").expect("a clean end");
        assert_eq!(report.reason, StopReason::Requested);
        cluster.feed(fed, fed + RECORDS, KEYS);
        fed += RECORDS;
        let done = |cluster: &Cluster| {
            let outputs = cluster.outputs();
            let counted: i64 = outputs.values().filter_map(|counts| counts.iter().max()).sum();
            counted >= fed
        };
        wait("the first process to count what the second left", || done(&cluster));
        first.stop();
        one.join().expect("no panic").expect("a clean end");
        check_counts(&cluster.outputs(), fed, KEYS);
    });
}

/// A failed assertion must end the threads, or the test would wait for them for ever.
struct StopOnDrop(StopHandle);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// Partitions that the group's second member reads.
fn second_share(cluster: &Cluster) -> usize {
    use millstream_kafka::ClientFactory;
    let mut admin = Clients.admin(&cluster.admin()).expect("an admin client");
    let groups =
        admin.describe_groups(&[&cluster.group], crate::cluster::TIMEOUT).expect("an answer");
    let members = groups.into_iter().next().expect("one group").expect("the group").members;
    if members.len() < 2 { 0 } else { members[1].partitions.len() }
}

#[expect(clippy::disallowed_methods, reason = "the test waits for other threads")]
fn wait(what: &str, mut until: impl FnMut() -> bool) {
    let started = std::time::Instant::now();
    while !until() {
        assert!(started.elapsed() < Duration::from_secs(60), "waited a minute in vain for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
