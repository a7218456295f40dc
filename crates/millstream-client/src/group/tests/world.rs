//! Programs, a broker, and a network in between that delays, drops and parts, by a seed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use millstream_types::TopicPartition;

use super::cluster::{Cluster, Ticket};
use super::user::Program;
use crate::group::Subscription;
use crate::network::{Action, ConnectionId, Input};
use crate::random::Random;
use crate::settings::{Assignor, GroupSettings};
use crate::testing::frames::{Arrived, Seeded};
use crate::time::{Now, earlier};

enum Event {
    /// Something reaches a program.
    Input(usize, Input),
    /// A request reaches the broker.
    Request(usize, ConnectionId, Bytes),
    Step(usize),
    Poll(usize),
    Cluster,
}

/// A connection as the broker has it: one request at a time.
#[derive(Default)]
struct Line {
    waiting: VecDeque<Arrived>,
    busy: bool,
    /// Something was lost on it, so nothing comes through any more.
    hangs: bool,
    /// Nothing overtakes on a connection.
    last_up: Duration,
    last_down: Duration,
}

pub(super) struct World {
    pub(super) now: Duration,
    pub(super) cluster: Cluster,
    pub(super) programs: Vec<Option<Program>>,
    pub(super) random: Seeded,
    /// Longest delay of the network, in milliseconds.
    pub(super) delay: u64,
    /// Whose packets do not arrive, until when.
    pub(super) parted: BTreeMap<usize, Duration>,
    lines: BTreeMap<(usize, ConnectionId), Line>,
    events: BTreeMap<(Duration, u64), Event>,
    /// When each program's next step is due.
    due: BTreeMap<usize, Duration>,
    order: u64,
    /// Partitions that were taken over.
    pub(super) takeovers: usize,
}

pub(super) fn settings(assignors: &[Assignor]) -> GroupSettings {
    GroupSettings {
        group_id: "g".into(),
        instance_id: None,
        assignors: assignors.to_vec(),
        session_timeout: Duration::from_secs(6),
        heartbeat_interval: Duration::from_secs(1),
        max_poll_interval: Duration::from_secs(8),
        broker_assigns: false,
        remote_assignor: None,
        auto_commit_interval: None,
    }
}

impl World {
    pub(super) fn new(topics: &[(&str, i32)], seed: u64) -> Self {
        let mut world = Self {
            now: Duration::from_secs(1),
            cluster: Cluster::new(topics),
            programs: Vec::new(),
            random: Seeded(seed),
            delay: 5,
            parted: BTreeMap::new(),
            lines: BTreeMap::new(),
            events: BTreeMap::new(),
            due: BTreeMap::new(),
            order: 0,
            takeovers: 0,
        };
        world.at(world.now, Event::Cluster);
        world
    }

    pub(super) fn clock(&self) -> Now {
        Now { mono: self.now, wall: 0 }
    }

    fn at(&mut self, at: Duration, event: Event) {
        self.order += 1;
        self.events.insert((at, self.order), event);
    }

    fn due_at(&mut self, index: usize, at: Duration) {
        if self.due.get(&index).is_none_or(|due| at < *due) {
            self.due.insert(index, at);
            self.at(at, Event::Step(index));
        }
    }

    /// Starts a program that subscribes.
    pub(super) fn start(&mut self, settings: GroupSettings, topics: &[&str]) -> usize {
        let index = self.programs.len();
        let mut program = Program::new(settings, self.random.next_u64());
        let subscription = Subscription::parse(topics).unwrap();
        let wanted = (!topics.is_empty()).then_some(subscription);
        program.group.subscribe(wanted, &mut program.base, self.clock());
        self.programs.push(Some(program));
        self.due_at(index, self.now);
        self.at(self.now, Event::Poll(index));
        index
    }

    pub(super) fn program(&mut self, index: usize) -> &mut Program {
        self.programs[index].as_mut().unwrap()
    }

    /// Ends a program as a crash does.
    pub(super) fn kill(&mut self, index: usize) {
        self.programs[index] = None;
        self.lines.retain(|(program, _), _| *program != index);
    }

    pub(super) fn wake(&mut self, index: usize) {
        self.due_at(index, self.now);
    }

    /// Ends a program's connections.
    pub(super) fn cut(&mut self, index: usize) {
        let gone: Vec<_> =
            self.lines.keys().filter(|(program, _)| *program == index).copied().collect();
        for (program, connection) in gone {
            self.lines.remove(&(program, connection));
            let reason = "reset".to_owned();
            let closed = Input::Closed { connection, reason, tls: false };
            self.at(self.now, Event::Input(program, closed));
        }
    }

    fn arrives(&mut self) -> Duration {
        self.now + Duration::from_micros(self.random.below(self.delay * 1000 + 1))
    }

    fn comes_through(&mut self, index: usize, input: &Input) -> bool {
        let parted = self.is_parted(index);
        let (Input::Connected { connection } | Input::Frame { connection, .. }) = input else {
            return true;
        };
        let Some(line) = self.lines.get_mut(&(index, *connection)) else { return false };
        line.hangs |= parted;
        !line.hangs
    }

    fn is_parted(&self, index: usize) -> bool {
        self.parted.get(&index).is_some_and(|until| *until > self.now)
    }

    fn step(&mut self, index: usize, inputs: Vec<Input>) {
        let now = self.clock();
        let Some(program) = &mut self.programs[index] else { return };
        program.step(inputs, now);
        let deadline = earlier(program.group.next_deadline(now), program.base.next_deadline(now));
        let mut actions = Vec::new();
        while let Some(action) = program.base.net.action() {
            actions.push(action);
        }
        if let Some(at) = deadline {
            self.due_at(index, at.max(self.now + Duration::from_millis(1)));
        }
        for action in actions {
            match action {
                Action::Connect { connection, .. } => {
                    if !self.is_parted(index) {
                        self.lines.insert((index, connection), Line::default());
                        let at = self.arrives();
                        self.lines.get_mut(&(index, connection)).unwrap().last_down = at;
                        self.at(at, Event::Input(index, Input::Connected { connection }));
                    }
                }
                Action::Send { connection, bytes } => {
                    let at = self.arrives();
                    let Some(line) = self.lines.get_mut(&(index, connection)) else { continue };
                    line.last_up = line.last_up.max(at);
                    let at = line.last_up;
                    self.at(at, Event::Request(index, connection, bytes));
                }
                Action::Close { connection } => {
                    self.lines.remove(&(index, connection));
                }
                Action::FetchToken => unreachable!("no endpoint was given"),
            }
        }
    }

    /// The broker goes on with a connection.
    fn serve(&mut self, index: usize, connection: ConnectionId) {
        let Some(line) = self.lines.get_mut(&(index, connection)) else { return };
        if line.busy {
            return;
        }
        let Some(request) = line.waiting.pop_front() else { return };
        line.busy = true;
        let ticket = Ticket { connection: (index, connection.0), request };
        self.cluster.handle(ticket, self.now);
        self.deliver();
    }

    fn deliver(&mut self) {
        let mut served = Vec::new();
        for ((index, connection), frame) in std::mem::take(&mut self.cluster.answers) {
            let connection = ConnectionId(connection);
            let at = self.arrives();
            let parted = self.is_parted(index);
            let Some(line) = self.lines.get_mut(&(index, connection)) else { continue };
            line.busy = false;
            served.push((index, connection));
            line.hangs |= parted;
            if line.hangs {
                continue;
            }
            line.last_down = line.last_down.max(at);
            let at = line.last_down;
            self.at(at, Event::Input(index, Input::Frame { connection, frame }));
        }
        for (index, connection) in served {
            self.serve(index, connection);
        }
    }

    /// Lets this much time pass.
    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(entry) = self.events.first_entry() {
            if entry.key().0 > end {
                break;
            }
            let ((at, _), event) = entry.remove_entry();
            self.now = self.now.max(at);
            match event {
                Event::Input(index, input) => {
                    // What is lost on a parted line is lost; the line hangs.
                    if matches!(input, Input::Closed { .. }) || self.comes_through(index, &input) {
                        self.step(index, vec![input]);
                    }
                }
                Event::Request(index, connection, bytes) => {
                    let parted = self.is_parted(index);
                    if let Some(line) = self.lines.get_mut(&(index, connection)) {
                        line.hangs |= parted;
                        if line.hangs {
                            continue;
                        }
                        line.waiting.push_back(Arrived::read(bytes));
                        self.serve(index, connection);
                    }
                }
                Event::Step(index) => {
                    if self.due.get(&index) == Some(&at) {
                        self.due.remove(&index);
                        self.step(index, Vec::new());
                    }
                }
                Event::Poll(index) => {
                    let now = self.clock();
                    if let Some(program) = &mut self.programs[index] {
                        program.poll(now);
                        self.note_takeovers(index);
                        self.step(index, Vec::new());
                        self.at(self.now + Duration::from_millis(50), Event::Poll(index));
                        self.check_owners();
                    }
                }
                Event::Cluster => {
                    self.cluster.tick(self.now);
                    self.deliver();
                    self.at(self.now + Duration::from_millis(50), Event::Cluster);
                    self.check_owners();
                }
            }
        }
        self.now = end;
    }

    fn is_known(&self, program: &Program) -> bool {
        program
            .group
            .member_id()
            .is_some_and(|id| self.cluster.coordinator.knows(id) || self.cluster.server.knows(id))
    }

    fn note_takeovers(&mut self, index: usize) {
        let program = self.programs[index].as_mut().unwrap();
        let taken = std::mem::take(&mut program.taken_over);
        if self.is_known(self.programs[index].as_ref().unwrap()) {
            self.takeovers += taken.len();
            for partition in taken {
                self.cluster.coordinator.readers.insert(partition, index);
            }
        }
    }

    /// Of the members that the coordinator takes for members no two have the same partition.
    fn check_owners(&self) {
        let mut owners: BTreeMap<&TopicPartition, usize> = BTreeMap::new();
        for (index, program) in self.programs.iter().enumerate() {
            let Some(program) = program.as_ref().filter(|program| self.is_known(program)) else {
                continue;
            };
            for partition in program.positions.keys() {
                if let Some(other) = owners.insert(partition, index) {
                    panic!("{:?}: {partition} belongs to programs {other} and {index}", self.now);
                }
            }
        }
    }

    /// What the programs have, by program, if nobody is busy with a rebalance.
    pub(super) fn shares(&self) -> BTreeMap<usize, BTreeSet<TopicPartition>> {
        self.programs
            .iter()
            .enumerate()
            .filter_map(|(index, program)| {
                Some((index, program.as_ref()?.positions.keys().cloned().collect()))
            })
            .collect()
    }

    /// Every partition of these topics has one owner, and each knows where it stands.
    pub(super) fn check_settled(&self, topics: &[&str]) {
        let mut have: Vec<TopicPartition> = Vec::new();
        for program in self.programs.iter().flatten() {
            assert!(program.positions.values().all(Option::is_some), "a position is not known");
            assert_eq!(
                program.group.owned(),
                program.positions.keys().cloned().collect::<Vec<_>>()
            );
            have.extend(program.positions.keys().cloned());
        }
        have.sort();
        let want: Vec<TopicPartition> = topics
            .iter()
            .flat_map(|topic| {
                (0..self.cluster.topics[*topic]).map(|number| TopicPartition::new(*topic, number))
            })
            .collect();
        assert_eq!(have, want);
    }
}
