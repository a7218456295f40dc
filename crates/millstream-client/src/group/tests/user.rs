//! A program that consumes: polls, takes its time, commits what it has read.

use std::collections::BTreeMap;
use std::time::Duration;

use millstream_types::TopicPartition;

use crate::base::Base;
use crate::error::KafkaError;
use crate::group::{Group, GroupEvent};
use crate::network::Input;
use crate::random::Random;
use crate::settings::{ConnectionSettings, GroupSettings};
use crate::tag::Tag;
use crate::testing::frames::Seeded;
use crate::time::Now;

/// What it is doing about the last event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Busy {
    No,
    /// Asked for the offsets of what it was given.
    Fetching(u64),
    /// Committed what it gives up.
    Committing(Vec<TopicPartition>, u64),
    /// Answers at that time.
    AnswersAssigned(Duration),
    AnswersRevoked(Vec<TopicPartition>, Duration),
}

pub(super) struct Program {
    pub(super) group: Group,
    pub(super) base: Base,
    random: Seeded,
    /// What it takes for its own, with its position where it knows it.
    pub(super) positions: BTreeMap<TopicPartition, Option<i64>>,
    pub(super) busy: Busy,
    /// Does not poll until then.
    pub(super) stalled_until: Duration,
    pub(super) log: Vec<GroupEvent>,
    pub(super) left: bool,
    /// Longest time that it takes to answer, in milliseconds.
    pub(super) slowness: u64,
    /// Whether a fatal error is part of the story.
    pub(super) may_fail: bool,
    /// What it is given at the moment of the event: for whoever watches.
    pub(super) taken_over: Vec<TopicPartition>,
}

impl Program {
    pub(super) fn new(settings: GroupSettings, seed: u64) -> Self {
        let connection = ConnectionSettings {
            bootstrap: vec![("broker".into(), 9092)],
            request_timeout: Duration::from_secs(5),
            connection_setup_timeout: Duration::from_secs(2),
            reconnect_backoff_max: Duration::from_millis(500),
            metadata_max_age: Duration::from_secs(3),
            ..ConnectionSettings::default()
        };
        Self {
            group: Group::new(settings, "", true),
            base: Base::new(connection.into(), None, Box::new(Seeded(seed))),
            random: Seeded(!seed),
            positions: BTreeMap::new(),
            busy: Busy::No,
            stalled_until: Duration::ZERO,
            log: Vec::new(),
            left: false,
            slowness: 30,
            may_fail: false,
            taken_over: Vec::new(),
        }
    }

    /// One step of the machine.
    pub(super) fn step(&mut self, inputs: Vec<Input>, now: Now) {
        for input in inputs {
            self.base.net.input(input, now);
        }
        self.base.begin(now);
        while let Some(completion) = self.base.completion(now) {
            let Tag::Group(tag) = completion.tag.clone() else { panic!("nobody else asks") };
            self.group.completed(tag, completion, &mut self.base, now);
        }
        self.group.advance(&mut self.base, now);
        self.base.finish(now);
    }

    fn pause(&mut self, now: Now) -> Duration {
        now.after(Duration::from_millis(self.random.below(self.slowness + 1)))
    }

    fn commit(&mut self, of: impl Fn(&TopicPartition) -> bool) -> u64 {
        let offsets = self
            .positions
            .iter()
            .filter(|(partition, _)| of(partition))
            .filter_map(|(partition, position)| Some((partition.clone(), (*position)?, Some(1))))
            .collect();
        self.group.commit(offsets)
    }

    /// One turn of the program's loop.
    pub(super) fn poll(&mut self, now: Now) {
        if self.stalled_until > now.mono {
            return;
        }
        self.group.polled(now);
        while let Some(event) = self.group.event() {
            self.log.push(event.clone());
            self.take(event, now);
        }
        match self.busy.clone() {
            Busy::AnswersAssigned(at) if at <= now.mono => {
                self.busy = Busy::No;
                self.group.ack_assigned();
            }
            Busy::AnswersRevoked(partitions, at) if at <= now.mono => {
                self.busy = Busy::No;
                self.positions.retain(|partition, _| !partitions.contains(partition));
                self.group.ack_revoked();
            }
            _ => {}
        }
        for position in self.positions.values_mut().flatten() {
            *position += self.random.below(3) as i64;
        }
        if self.busy == Busy::No && !self.positions.is_empty() && self.random.below(20) == 0 {
            self.commit(|_| true);
        }
    }

    fn take(&mut self, event: GroupEvent, now: Now) {
        match event {
            GroupEvent::Assigned(partitions) => {
                assert_eq!(self.busy, Busy::No, "one conversation at a time");
                for partition in &partitions {
                    let before = self.positions.insert(partition.clone(), None);
                    assert_eq!(before, None, "{partition} is assigned twice");
                }
                self.taken_over.extend(partitions.iter().cloned());
                self.busy = Busy::Fetching(self.group.fetch_committed(partitions));
            }
            GroupEvent::Revoked(partitions) => {
                assert_eq!(self.busy, Busy::No, "one conversation at a time");
                assert!(partitions.iter().all(|p| self.positions.contains_key(p)));
                let id = self.commit(|partition| partitions.contains(partition));
                self.busy = match self.random.below(4) {
                    // Some do not wait for the answer.
                    0 => Busy::AnswersRevoked(partitions, self.pause(now)),
                    _ => Busy::Committing(partitions, id),
                };
            }
            GroupEvent::Lost(partitions) => {
                let all: Vec<TopicPartition> = self.positions.keys().cloned().collect();
                assert_eq!(partitions, all, "all that it has is lost");
                self.busy = Busy::AnswersRevoked(partitions, self.pause(now));
            }
            GroupEvent::Committed { id, .. } => {
                if let Busy::Committing(partitions, own) = self.busy.clone()
                    && own == id
                {
                    self.busy = Busy::AnswersRevoked(partitions, self.pause(now));
                }
            }
            GroupEvent::Fetched { id, result } => {
                if self.busy == Busy::Fetching(id) {
                    for (partition, committed) in result.expect("fetching is tried again") {
                        let at = committed.map_or(0, |committed| committed.offset);
                        self.positions.insert(partition, Some(at));
                    }
                    self.busy = Busy::AnswersAssigned(self.pause(now));
                }
            }
            GroupEvent::Error(KafkaError { code, .. }, fatal) => {
                assert!(!fatal || self.may_fail, "error {code} ends the program");
            }
            GroupEvent::Left => self.left = true,
        }
    }
}
