//! Fetch requests that wait for data: woken by the append that gives them enough, or by their
//! deadline; never by polling.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use kafka_protocol::messages::FetchRequest;
use uuid::Uuid;

use crate::broker::Context;
use crate::group::Ticket;

/// A fetch with all that is needed to answer it later.
#[derive(Clone, Debug)]
pub(crate) struct Fetch {
    pub(crate) context: Context,
    pub(crate) request: FetchRequest,
}

#[derive(Debug)]
struct Waiting {
    fetch: Fetch,
    /// It sees records of committed transactions only.
    committed_only: bool,
    deadline: Duration,
    /// Bytes that are still missing.
    missing: usize,
    partitions: Vec<(Uuid, i32)>,
}

/// All fetches that wait.
#[derive(Debug, Default)]
pub(crate) struct Fetches {
    waiting: HashMap<Ticket, Waiting>,
    /// Who waits for a partition.
    watching: HashMap<(Uuid, i32), Vec<Ticket>>,
    deadlines: BTreeSet<(Duration, Ticket)>,
    ready: Vec<Ticket>,
}

impl Fetches {
    /// Lets a fetch wait until `missing` more bytes are in its partitions, or `deadline`.
    pub(crate) fn wait(
        &mut self,
        fetch: Fetch,
        deadline: Duration,
        missing: usize,
        mut partitions: Vec<(Uuid, i32)>,
    ) {
        // A partition that is named twice must not count an append twice.
        partitions.sort_unstable();
        partitions.dedup();
        let ticket = fetch.context.ticket;
        for partition in &partitions {
            self.watching.entry(*partition).or_default().push(ticket);
        }
        self.deadlines.insert((deadline, ticket));
        let committed_only = fetch.request.isolation_level == 1;
        let waiting = Waiting { fetch, committed_only, deadline, missing, partitions };
        self.waiting.insert(ticket, waiting);
    }

    /// Bytes were appended to a partition that everybody may read.
    pub(crate) fn appended(&mut self, topic: Uuid, partition: i32, bytes: usize) {
        self.wake(topic, partition, bytes, |_| true);
    }

    /// Bytes were appended that readers of committed data do not see yet.
    pub(crate) fn appended_open(&mut self, topic: Uuid, partition: i32, bytes: usize) {
        self.wake(topic, partition, bytes, |waiting| !waiting.committed_only);
    }

    /// The last stable offset has moved: readers of committed data see more.
    pub(crate) fn stable_moved(&mut self, topic: Uuid, partition: i32) {
        self.wake(topic, partition, usize::MAX, |waiting| waiting.committed_only);
    }

    fn wake(
        &mut self,
        topic: Uuid,
        partition: i32,
        bytes: usize,
        concerns: impl Fn(&Waiting) -> bool,
    ) {
        let Some(tickets) = self.watching.get(&(topic, partition)) else { return };
        for ticket in tickets {
            let waiting = self.waiting.get_mut(ticket).expect("watchers wait");
            if !concerns(waiting) {
                continue;
            }
            let was_missing = waiting.missing > 0;
            waiting.missing = waiting.missing.saturating_sub(bytes);
            if was_missing && waiting.missing == 0 {
                self.ready.push(*ticket);
            }
        }
    }

    /// A partition has changed in another way (deleted, its start moved): its readers must see.
    pub(crate) fn moved(&mut self, topic: Uuid, partition: i32) {
        self.appended(topic, partition, usize::MAX);
    }

    /// A topic is gone.
    pub(crate) fn topic_deleted(&mut self, topic: Uuid) {
        let mut partitions: Vec<i32> = self
            .watching
            .keys()
            .filter(|(id, _)| *id == topic)
            .map(|(_, partition)| *partition)
            .collect();
        // The map's order differs from run to run; the answers' must not.
        partitions.sort_unstable();
        for partition in partitions {
            self.moved(topic, partition);
        }
    }

    /// Whoever sent the request is gone.
    pub(crate) fn cancel(&mut self, ticket: Ticket) {
        self.remove(ticket);
    }

    /// The earliest deadline.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Makes those ready whose deadline has come.
    pub(crate) fn expire(&mut self, now: Duration) {
        self.ready.extend(
            self.deadlines.iter().take_while(|(deadline, _)| *deadline <= now).map(|(_, t)| *t),
        );
    }

    /// Fetches to answer now.
    pub(crate) fn take_ready(&mut self) -> Vec<(Ticket, Fetch)> {
        let ready = std::mem::take(&mut self.ready);
        ready.into_iter().filter_map(|ticket| Some((ticket, self.remove(ticket)?))).collect()
    }

    fn remove(&mut self, ticket: Ticket) -> Option<Fetch> {
        let waiting = self.waiting.remove(&ticket)?;
        self.deadlines.remove(&(waiting.deadline, ticket));
        for partition in &waiting.partitions {
            if let Some(tickets) = self.watching.get_mut(partition) {
                tickets.retain(|other| *other != ticket);
                if tickets.is_empty() {
                    self.watching.remove(partition);
                }
            }
        }
        Some(waiting.fetch)
    }
}
