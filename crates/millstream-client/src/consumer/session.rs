//! Fetch sessions from the client's side (KIP-227): what the broker knows already is not said
//! again.

use std::collections::HashMap;

use millstream_types::TopicPartition;
use uuid::Uuid;

/// A partition as a fetch asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) topic_id: Uuid,
    /// Reading and jump of the partition: a broker tells nothing of a partition that is at its end
    /// and was before, so what begins anew elsewhere begins a new session.
    pub(super) place: (u64, u32),
    pub(super) offset: i64,
    pub(super) leader_epoch: i32,
    pub(super) last_epoch: i32,
    pub(super) max_bytes: i32,
}

/// Names a partition in a session.
pub(super) type Key = TopicPartition;

/// What to put into the next fetch.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) session_id: i32,
    pub(super) epoch: i32,
    /// Partitions to name: all of them in a full request, the changed ones in an incremental one.
    pub(super) named: Vec<(Key, Asked)>,
    /// With the topic id that the broker knows them by.
    pub(super) forgotten: Vec<(Key, Uuid)>,
}

/// One node's session.
#[derive(Debug, Default)]
pub(super) struct Session {
    id: i32,
    /// 0: the next request is a full one that opens a session.
    epoch: i32,
    /// As the broker knows them.
    known: HashMap<Key, Asked>,
    /// As they will be known if the request that is out arrives.
    next: HashMap<Key, Asked>,
}

impl Session {
    /// Decides what the next fetch names, given all partitions that it is about.
    pub(super) fn request(&mut self, wanted: &[(Key, Asked)]) -> Request {
        self.next = wanted.iter().cloned().collect();
        let anew = |(key, asked): &(Key, Asked)| {
            self.known.get(key).is_some_and(|known| known.place != asked.place)
        };
        if wanted.iter().any(anew) {
            self.renew();
        }
        if self.epoch == 0 {
            let named = wanted.to_vec();
            return Request { session_id: self.id, epoch: 0, named, forgotten: Vec::new() };
        }
        let changed = |(key, asked): &&(Key, Asked)| self.known.get(key) != Some(asked);
        let named = wanted.iter().filter(changed).cloned().collect();
        // A topic that was made anew under the same name is another one to the broker.
        let gone = |(key, asked): &(&Key, &Asked)| {
            self.next.get(*key).is_none_or(|next| next.topic_id != asked.topic_id)
        };
        let forgotten =
            self.known.iter().filter(gone).map(|(key, asked)| (key.clone(), asked.topic_id));
        let mut forgotten: Vec<_> = forgotten.collect();
        forgotten.sort_unstable();
        Request { session_id: self.id, epoch: self.epoch, named, forgotten }
    }

    /// The response has come; `id` is what it says, 0 where the broker keeps no session.
    pub(super) fn answered(&mut self, id: i32) {
        if id == 0 {
            self.reset();
            return;
        }
        self.id = id;
        self.epoch = if self.epoch == i32::MAX { 1 } else { self.epoch + 1 };
        self.known = std::mem::take(&mut self.next);
    }

    /// It is not known what the broker has: the next request ends the session and begins another.
    pub(super) fn renew(&mut self) {
        self.epoch = 0;
        self.known.clear();
    }

    /// The broker has no session of ours: begin anew.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(offset: i64) -> Asked {
        Asked {
            topic_id: Uuid::nil(),
            place: (1, 0),
            offset,
            leader_epoch: 0,
            last_epoch: -1,
            max_bytes: 1,
        }
    }

    fn key(partition: i32) -> Key {
        Key::new("t", partition)
    }

    fn numbers<T>(named: &[(Key, T)]) -> Vec<i32> {
        named.iter().map(|(key, _)| key.partition).collect()
    }

    #[test]
    fn only_changes_are_named() {
        let mut session = Session::default();
        let all = [(key(1), asked(0)), (key(2), asked(0)), (key(3), asked(0))];
        let first = session.request(&all);
        assert_eq!((first.session_id, first.epoch, first.named.len()), (0, 0, 3));
        session.answered(7);
        let second = session.request(&[(key(1), asked(5)), (key(2), asked(0))]);
        assert_eq!((second.session_id, second.epoch), (7, 1));
        assert_eq!((numbers(&second.named), numbers(&second.forgotten)), (vec![1], vec![3]));
        session.answered(7);
        let third = session.request(&[(key(1), asked(5)), (key(2), asked(0)), (key(3), asked(0))]);
        assert_eq!((third.epoch, numbers(&third.named), third.forgotten), (2, vec![3], vec![]));
    }

    #[test]
    fn a_broker_without_sessions_gets_everything_each_time() {
        let mut session = Session::default();
        for _ in 0..2 {
            let request = session.request(&[(key(1), asked(0))]);
            assert_eq!((request.session_id, request.epoch, request.named.len()), (0, 0, 1));
            session.answered(0);
        }
    }

    #[test]
    fn a_topic_made_anew_is_forgotten_by_its_old_id() {
        let mut session = Session::default();
        let old = Asked { topic_id: Uuid::from_u128(1), ..asked(9) };
        session.request(&[(key(1), old)]);
        session.answered(7);
        let new = Asked { topic_id: Uuid::from_u128(2), ..asked(0) };
        let request = session.request(&[(key(1), new)]);
        assert_eq!(numbers(&request.named), [1]);
        assert_eq!(request.forgotten, [(key(1), Uuid::from_u128(1))]);
    }

    #[test]
    fn after_a_failure_it_begins_anew() {
        let mut session = Session::default();
        session.request(&[(key(1), asked(0))]);
        session.answered(7);
        session.request(&[(key(1), asked(1))]);
        session.reset();
        assert_eq!(numbers(&session.request(&[(key(1), asked(1))]).named), [1]);
    }
}
