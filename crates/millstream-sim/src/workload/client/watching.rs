//! The client's smallest machine: asks for the leaders until the run is closing, and must know them
//! all when it ends.

use std::sync::{Arc, Mutex};

use millstream_client::Watcher;
use millstream_types::TopicPartition;

use super::connection;
use crate::actor::Me;
use crate::machine::now;
use crate::workload::Shared;

pub(crate) async fn run(me: Me, shared: Shared) {
    let topics: std::collections::BTreeSet<Arc<str>> =
        shared.partitions.iter().map(|(topic, _)| Arc::from(*topic)).collect();
    let random = Box::new(me.fork());
    let watcher = Watcher::new(Arc::new(connection()), topics, random);
    let watcher = Arc::new(Mutex::new(watcher));
    let _driven = me.drive(watcher.clone());
    let mut closing_since = None;
    let knows_all = || {
        if !shared.is_closing() {
            return None;
        }
        let watcher = watcher.lock().expect("nobody else panics");
        // Whatever it has learned before, it must learn anew now that all is well.
        let since = *closing_since.get_or_insert(watcher.rounds());
        let leader = |(topic, number): &(&'static str, i32)| {
            watcher.leader(&TopicPartition::new(*topic, *number))
        };
        let knows_all = shared.partitions.iter().all(|partition| leader(partition).is_some());
        (watcher.rounds() > since && watcher.is_up(now(me.host())) && knows_all).then_some(())
    };
    me.look(None, knows_all).await;
}
