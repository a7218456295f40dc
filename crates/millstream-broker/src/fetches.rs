//! Fetch requests that wait for data: woken by the append that gives them enough, or by their
//! deadline; never by polling. And fetch sessions ([`session`]), which are told of every change of
//! their logs by the same calls.

mod cache;
mod session;

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::FetchRequest;
use uuid::Uuid;

use crate::broker::Context;
use crate::group::Ticket;
use crate::topics::NAME_MAX;
use cache::{Cache, Room};
use session::Session;
pub(crate) use session::{Found, Slot, TopicKey, Wanted};

/// A fetch with all that is needed to answer it later.
#[derive(Clone, Debug)]
pub(crate) struct Fetch {
    pub(crate) context: Context,
    pub(crate) request: FetchRequest,
    pub(crate) source: Source,
}

/// Where it stands which partitions a fetch is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// In the request; the answer opens no session.
    Request,
    /// In the request; the answer opens a session if there is room for one.
    OpensSession,
    /// In a session. The epoch is the one its next request must have.
    Session { id: i32, next_epoch: i32 },
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
    /// Who wants to know of changes of a partition.
    watching: HashMap<(Uuid, i32), Vec<Watcher>>,
    deadlines: BTreeSet<(Duration, Ticket)>,
    ready: Vec<Ticket>,
    sessions: Cache,
}

/// Who wants to know of changes of a partition: a request that waits, for as long as it does; or a
/// session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Watcher {
    Request(Ticket),
    Session(i32, Slot),
}

impl Fetches {
    /// Lets a fetch wait until `missing` more bytes are in its partitions, or `deadline`. The
    /// partitions of a session are watched already, and need not be given.
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
            self.watching.entry(*partition).or_default().push(Watcher::Request(ticket));
        }
        if let Source::Session { id, .. } = fetch.source
            && let Some(session) = self.sessions.get_mut(id)
        {
            session.waiting.push(ticket);
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
        let Some(watchers) = self.watching.get(&(topic, partition)) else { return };
        for watcher in watchers {
            let tickets = match watcher {
                Watcher::Request(ticket) => std::slice::from_ref(ticket),
                Watcher::Session(id, slot) => {
                    let session = self.sessions.get_mut(*id).expect("a session that watches lives");
                    session.stir(*slot);
                    &session.waiting
                }
            };
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
        for (topic, partition) in &waiting.partitions {
            self.unwatch(*topic, *partition, Watcher::Request(ticket));
        }
        if let Source::Session { id, .. } = waiting.fetch.source
            && let Some(session) = self.sessions.get_mut(id)
        {
            session.waiting.retain(|other| *other != ticket);
        }
        Some(waiting.fetch)
    }

    fn unwatch(&mut self, topic: Uuid, partition: i32, watcher: Watcher) {
        if let Some(watchers) = self.watching.get_mut(&(topic, partition)) {
            watchers.retain(|other| *other != watcher);
            if watchers.is_empty() {
                self.watching.remove(&(topic, partition));
            }
        }
    }
}

/// Sessions.
impl Fetches {
    /// Finds out where the partitions of a request stand, and brings its session up to date. A
    /// request that names them all ends the session it names.
    ///
    /// # Errors
    /// `FetchSessionIdNotFound`, `InvalidFetchSessionEpoch`, `FetchSessionTopicIdError`: the client
    /// then names all its partitions in the next request.
    pub(crate) fn source_of(
        &mut self,
        request: &FetchRequest,
        uses_topic_ids: bool,
        now: Duration,
    ) -> Result<Source, ResponseError> {
        let id = request.session_id;
        // There is no such topic, and a session would keep the name, however long.
        let too_long = request.topics.iter().any(|topic| topic.topic.len() > NAME_MAX);
        match request.session_epoch {
            INITIAL_EPOCH => {
                self.end_session(id);
                return Ok(if too_long { Source::Request } else { Source::OpensSession });
            }
            FINAL_EPOCH => {
                self.end_session(id);
                return Ok(Source::Request);
            }
            _ => {}
        }
        let session = self.sessions.get_mut(id).ok_or(ResponseError::FetchSessionIdNotFound)?;
        if session.epoch != request.session_epoch {
            return Err(ResponseError::InvalidFetchSessionEpoch);
        }
        if session.uses_topic_ids != uses_topic_ids {
            return Err(ResponseError::FetchSessionTopicIdError);
        }
        if too_long {
            self.end_session(id);
            return Err(ResponseError::FetchSessionIdNotFound);
        }
        let unwatched = session.update(request);
        session.epoch = next_epoch(session.epoch);
        let (next_epoch, is_empty) = (session.epoch, session.len() == 0);
        for (topic, partition, slot) in unwatched {
            self.unwatch(topic, partition, Watcher::Session(id, slot));
        }
        self.sessions.touch(id, now);
        if is_empty {
            self.end_session(id);
            return Ok(Source::Request);
        }
        if self.sessions.is_overfull() {
            self.end_session(id);
            return Err(ResponseError::FetchSessionIdNotFound);
        }
        Ok(Source::Session { id, next_epoch })
    }

    /// Opens a session for what a client was just told. Returns its id, or 0 if there is no room.
    pub(crate) fn open_session(
        &mut self,
        told: Vec<(TopicKey, Wanted, Found)>,
        uses_topic_ids: bool,
        slots: usize,
        now: Duration,
        mut random: impl FnMut() -> u64,
    ) -> i32 {
        match self.sessions.room(told.len(), slots, now) {
            Room::Free => {}
            Room::Of(other) => self.end_session(other),
            Room::None => return NO_SESSION,
        }
        let id = loop {
            let id = (random() >> 33) as i32;
            if id != NO_SESSION && !self.sessions.contains(id) {
                break id;
            }
        };
        self.sessions.insert(id, Session::new(uses_topic_ids, now), now);
        let session = self.sessions.get_mut(id).expect("put in above");
        let want = |(topic, wanted, found)| (session.want(topic, wanted), wanted.partition, found);
        let told: Vec<(Slot, i32, Found)> = told.into_iter().map(want).collect();
        for (slot, partition, found) in told {
            self.look(id, slot, partition, &found);
            self.told(id, slot, &found);
        }
        self.sessions.touch(id, now);
        id
    }

    /// The partitions of a session that may have something to say; `None` if there is no such
    /// session any more.
    pub(crate) fn to_look_at(&self, id: i32) -> Option<Vec<(Slot, TopicKey, Wanted)>> {
        self.sessions.get(id).map(Session::to_look_at)
    }

    /// Takes note of what a look at a partition has found. Returns whether the client must be told.
    pub(crate) fn look(&mut self, id: i32, slot: Slot, partition: i32, found: &Found) -> bool {
        let Some(session) = self.sessions.get_mut(id) else { return false };
        let (news, watch) = session.looked_at(slot, found);
        let watcher = Watcher::Session(id, slot);
        if let Some(topic) = watch.stop {
            self.unwatch(topic, partition, watcher);
        }
        if let Some(topic) = watch.start {
            self.watching.entry((topic, partition)).or_default().push(watcher);
        }
        news
    }

    /// The client of a session is told what was found in a partition.
    pub(crate) fn told(&mut self, id: i32, slot: Slot, found: &Found) {
        if let Some(session) = self.sessions.get_mut(id) {
            session.told(slot, found);
        }
    }

    /// Whether no other request of the session has come since.
    pub(crate) fn is_newest(&self, id: i32, next_epoch: i32) -> bool {
        self.sessions.get(id).is_some_and(|session| session.epoch == next_epoch)
    }

    /// Who may read what has changed: all sessions look at all their partitions again, for a client
    /// whose right is gone must be told even if its logs rest. Requests that wait are not woken;
    /// they find out when they are answered.
    pub(crate) fn rights_changed(&mut self) {
        self.sessions.all_mut().for_each(Session::stir_all);
    }

    /// Requests that wait in the session are answered: with an error, since it is gone.
    fn end_session(&mut self, id: i32) {
        let Some(session) = self.sessions.remove(id) else { return };
        for (topic, partition, slot) in session.watched() {
            self.unwatch(topic, partition, Watcher::Session(id, slot));
        }
        self.ready.extend(session.waiting);
    }
}

/// The id of no session.
pub(crate) const NO_SESSION: i32 = 0;
/// The request opens a session.
const INITIAL_EPOCH: i32 = 0;
/// The request ends its session, or wants none.
const FINAL_EPOCH: i32 = -1;

fn next_epoch(epoch: i32) -> i32 {
    epoch.checked_add(1).unwrap_or(1)
}

#[cfg(test)]
mod tests;
