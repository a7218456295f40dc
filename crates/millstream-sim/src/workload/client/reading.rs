//! The client's consumer without a group: reads all partitions from their start, pauses, and begins
//! anew now and then.

use std::collections::BTreeSet;

use millstream_client::consumer::{ConsumerEvent, PartitionStart, StartOffset};

use super::reader::{Reader, named};
use crate::actor::Me;
use crate::ledger::Partition;
use crate::workload::{Shared, admin};

/// Reads until the run is closing and everything was read.
pub(crate) async fn run(me: Me, shared: Shared, committed: bool) {
    if !admin::ready(&me, &shared).await {
        return;
    }
    let settings = Reader::settings(&me, committed);
    let mut reader = Reader::open(&me, &shared, settings);
    let starts: Vec<PartitionStart> = shared
        .partitions
        .iter()
        .map(|partition| PartitionStart::new(named(*partition), StartOffset::Beginning))
        .collect();
    reader.consumer.assign(&starts).expect("it has no group");
    for partition in shared.partitions.iter() {
        begin(&mut reader, &me, &shared, *partition, 0);
    }
    let mut at_end: BTreeSet<Partition> = BTreeSet::new();
    loop {
        let closing = shared.is_closing();
        if closing && at_end.len() == shared.partitions.len() {
            return;
        }
        let events = reader.wait(&me, &shared, 1, 600).await;
        for (partition, _) in reader.records.drain(..) {
            at_end.remove(&partition);
        }
        for event in events {
            match event {
                ConsumerEvent::PartitionEnd(partition, _) => {
                    at_end.extend(shared.find(&partition));
                }
                ConsumerEvent::Error { error, fatal: true } => {
                    me.host().violation(format!("the consumer is of no more use: {error}"));
                }
                event => me.host().trace(format_args!("{event:?}")),
            }
        }
        if reader.is_paused() && (closing || me.chance(100_000)) {
            reader.resume();
        }
        if closing {
            continue;
        }
        if me.chance(60_000) {
            let last = shared.partitions.len() as u64 - 1;
            let partition = shared.partitions[me.between(0, last) as usize];
            let position = reader.consumer.position(&named(partition)).unwrap_or(0);
            let to = me.between(0, position.max(0) as u64) as i64;
            let start = if to == 0 { StartOffset::Beginning } else { StartOffset::At(to) };
            reader.consumer.seek(&named(partition), start).expect("it is assigned");
            begin(&mut reader, &me, &shared, partition, to);
            at_end.remove(&partition);
        }
        if !reader.is_paused() && me.chance(60_000) {
            let some = shared.partitions.iter().filter(|_| me.chance(500_000));
            reader.pause(some.map(|partition| named(*partition)).collect());
        }
    }
}

fn begin(reader: &mut Reader, me: &Me, shared: &Shared, partition: Partition, from: i64) {
    let mut ledger = shared.ledger.borrow_mut();
    let reading = ledger.begin_reading(&me.host().name(), partition, reader.committed, from);
    ledger.starts_at(reading, from);
    reader.readings.insert(partition, reading);
}
