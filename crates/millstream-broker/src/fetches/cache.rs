//! The cache of fetch sessions, bounded by `max.incremental.fetch.session.cache.slots`. Who may
//! take whose place is Kafka's rule (KIP-227):
//!
//! * a session that was not used for [`EVICTION`] makes room for any other;
//! * a session that is older than that makes room for a larger one, the smallest first;
//! * else the new client gets no session and goes on naming all its partitions.
//!
//! The end of a connection ends no session: clients come back on another one.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use super::session::Session;

/// `min.incremental.fetch.session.eviction.ms`, which Kafka does not let anybody change.
const EVICTION: Duration = Duration::from_millis(120_000);
/// Partitions of all sessions together. Kafka bounds the sessions only; but what a session holds
/// a request decides, and it may name any number of partitions that do not exist.
pub(super) const PARTITIONS_MAX: usize = 500_000;

/// All sessions.
#[derive(Debug, Default)]
pub(super) struct Cache {
    sessions: HashMap<i32, Session>,
    last_used: BTreeSet<(Duration, i32)>,
    /// Those old enough to make room for a larger one: (size, id).
    evictable: BTreeSet<(usize, i32)>,
    partitions: usize,
}

impl Cache {
    pub(super) fn get(&self, id: i32) -> Option<&Session> {
        self.sessions.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: i32) -> Option<&mut Session> {
        self.sessions.get_mut(&id)
    }

    pub(super) fn all_mut(&mut self) -> impl Iterator<Item = &mut Session> {
        self.sessions.values_mut()
    }

    pub(super) fn contains(&self, id: i32) -> bool {
        self.sessions.contains_key(&id)
    }

    /// Whether a session of `size` partitions may come in, and whose place it takes.
    pub(super) fn room(&self, size: usize, slots: usize, now: Duration) -> Room {
        if self.partitions + size > PARTITIONS_MAX {
            return Room::None;
        }
        if self.sessions.len() < slots {
            return Room::Free;
        }
        match self.last_used.first() {
            None => return Room::None,
            Some((used, id)) if now.saturating_sub(*used) > EVICTION => return Room::Of(*id),
            Some(_) => {}
        }
        match self.evictable.first() {
            Some((smallest, id)) if size > *smallest => Room::Of(*id),
            _ => Room::None,
        }
    }

    pub(super) fn insert(&mut self, id: i32, session: Session, now: Duration) {
        self.sessions.insert(id, session);
        self.touch(id, now);
    }

    pub(super) fn remove(&mut self, id: i32) -> Option<Session> {
        let session = self.sessions.remove(&id)?;
        self.last_used.remove(&(session.last_used, id));
        self.evictable.remove(&(session.size, id));
        self.partitions -= session.size;
        Some(session)
    }

    /// A session is used, or has changed its size.
    pub(super) fn touch(&mut self, id: i32, now: Duration) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        self.last_used.remove(&(session.last_used, id));
        self.evictable.remove(&(session.size, id));
        self.partitions = self.partitions - session.size + session.len();
        session.last_used = now;
        session.size = session.len();
        self.last_used.insert((now, id));
        if now.saturating_sub(session.created) > EVICTION {
            self.evictable.insert((session.size, id));
        }
    }

    /// Whether the sessions hold more than they may all together.
    pub(super) fn is_overfull(&self) -> bool {
        self.partitions > PARTITIONS_MAX
    }
}

/// Where a new session goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    Free,
    /// In place of that session.
    Of(i32),
    None,
}
